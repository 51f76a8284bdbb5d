"""What jobs answer where an analysis has no result of many inputs of its own, and what a search's files hold."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from plica.core.result import Result


@dataclass(frozen=True, repr=False)
class ManyResult(Result):
    """Results of an analysis of one input, for one input after the other.

    Attributes
    ----------
    analysis : str
        Name of the function.
    results : tuple of Result
        One per input, in the inputs' order.
    """

    analysis: str
    results: tuple[Result, ...]

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, index: int) -> Result:
        return self.results[index]

    def summary(self) -> str:
        """How many results of which standing."""
        counts = Counter(f"{r.standing}, {r.completeness}" for r in self.results)
        kinds = "; ".join(f"{n} {what}" for what, n in counts.most_common())
        return f"{self.analysis} of {len(self.results)} inputs" + (f": {kinds}" if kinds else "")


@dataclass(frozen=True, repr=False)
class ExpansionResult(Result):
    """What one part of a search's frontier gave; see `plica.jobs.explore`.

    Attributes
    ----------
    found : dict of str to ndarray
        What was found, as the search's `expand` names it.
    children : tuple of dict of str to ndarray
        Parts that are still to be expanded; rows of an array in files of job format 1, which no search reads again.
    """

    found: dict[str, np.ndarray]
    children: tuple[dict[str, np.ndarray], ...] | np.ndarray

    def summary(self) -> str:
        """How much was found and how much is left to expand."""
        sizes = ", ".join(f"{len(values)} {name}" for name, values in self.found.items())
        return f"{sizes or 'nothing'} found, {len(self.children)} to expand"
