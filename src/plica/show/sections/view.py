"""What every section of the page gives: a view for its template, and findings for the first screen."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from plica.core.result import Completeness, Standing
from plica.show.data import ReportData
from plica.show.finding import Finding


@dataclass(frozen=True)
class View:
    """What a section shows.

    Attributes
    ----------
    answer, lead : str
        The bold first sentence, and what follows it.
    standing, completeness
        Of everything in the section together; no badge where there is no standing.
    call : str
        The Python lines that give the same results.
    body : dict
        What its template draws.
    """

    answer: str
    lead: str
    standing: Standing | None
    completeness: Completeness
    call: str
    body: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """One question of the report.

    Attributes
    ----------
    slug, title : str
        Name in links, and heading.
    template : str
        File in ``templates`` that draws a view's body.
    view : callable
        Says what the section shows; None where there is nothing to say.
    findings : tuple of callable
        Each yields the findings of one sort; the first screen takes the worst of a sort.
    """

    slug: str
    title: str
    template: str
    view: Callable[[ReportData], View | None]
    findings: tuple[Callable[[ReportData], Iterator[Finding]], ...] = ()


def csv_uri(header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table as the address of a file inside the page."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([header, *rows])
    return "data:text/csv;base64," + base64.b64encode(out.getvalue().encode()).decode("ascii")
