"""Regions, all of them: what a budget has cut short is not compared with the paper."""

from __future__ import annotations

from typing import Any

import plica
from plica.analyses.regions.result import RegionCountResult, RegionsResult
from plica.core.network import Network
from plica.core.result import Completeness
from plica.errors import BudgetReached
from plica.experiments.figure import Setting


def number_of(net: Network, domain: Any, setting: Setting) -> int:
    """Number of activation regions.

    Raises
    ------
    BudgetReached
        When the count is not complete.
    """
    found = plica.count_regions(net, domain, progress=setting.progress)
    _check(found)
    return found.count


def all_regions(net: Network, domain: Any, setting: Setting, *, maps: bool = False) -> RegionsResult:
    """List of activation regions.

    Raises
    ------
    BudgetReached
        When the list is not complete.
    """
    found = plica.regions(net, domain, maps=maps, progress=setting.progress)
    _check(found)
    return found


def _check(found: RegionCountResult | RegionsResult) -> None:
    if found.completeness is not Completeness.COMPLETE:
        raise BudgetReached(f"The time ended at {found.count:,} regions; give more, max_seconds=.")
