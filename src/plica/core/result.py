"""What every answer carries: how sure it is (standing) and how much of the question it covers (completeness)."""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np


class Standing(enum.StrEnum):
    """How an answer is known, strongest first.

    Only the first two may be called a bound, a proof, or "none".
    """

    CERTIFIED = "certified"  # checked in integers or rationals
    RIGOROUS = "rigorous"  # float arithmetic with a proven error bound
    NUMERICAL = "numerical"  # float arithmetic, no proven bound
    ESTIMATE = "estimate"  # sampled, or searched without a proof

    @property
    def is_proof(self) -> bool:
        """Whether the answer may be printed as proven."""
        return self in (Standing.CERTIFIED, Standing.RIGOROUS)


class Completeness(enum.StrEnum):
    """How much of the question an answer covers."""

    COMPLETE = "complete"
    BUDGET = "budget reached"
    INTERRUPTED = "interrupted"
    INFEASIBLE = "infeasible"


def weakest(standings: Any) -> Standing:
    """Return the weakest of some standings; an answer made of several is as sure as its weakest part."""
    order = list(Standing)
    return max((Standing(s) for s in standings), key=order.index, default=Standing.CERTIFIED)


@dataclass(frozen=True, repr=False)
class Result:
    """Base of all results: a frozen record of NumPy arrays, numbers and words.

    Attributes
    ----------
    standing : Standing
        How the answer is known.
    completeness : Completeness
        How much of the question it covers.
    header : dict
        Versions, hashes, options, seed and time of the run; see `plica.store.header`.
    """

    standing: Standing
    completeness: Completeness
    header: dict[str, Any]

    def summary(self) -> str:
        """One or more lines of plain text below the first line of the repr; subclasses say more."""
        return ""

    def __repr__(self) -> str:
        first = f"{type(self).__name__}: {self.standing}, {self.completeness}"
        body = self.summary()
        return f"{first}\n{body}" if body else first

    def _repr_html_(self) -> str:
        return str(_shown("plica.show.tables", "to_html")(self))

    def plot(self, **options: Any) -> Any:
        """Draw the result with matplotlib, where its type has a picture; see `plica.show.plot.plot`."""
        return _shown("plica.show.plot", "plot")(self, **options)

    def to_dataframe(self) -> Any:
        """The result's rows (inputs, layers, units) as a pandas DataFrame; see `plica.show.tables.to_dataframe`."""
        return _shown("plica.show.tables", "to_dataframe")(self)

    def to_csv(self) -> str:
        """The result's rows as CSV; see `plica.show.tables.to_csv`."""
        return str(_shown("plica.show.tables", "to_csv")(self))

    def to_latex(self) -> str:
        """The result's rows as a LaTeX tabular; see `plica.show.tables.to_latex`."""
        return str(_shown("plica.show.tables", "to_latex")(self))

    def to_dict(self) -> dict[str, Any]:
        """Everything in the result as plain Python values, fit for JSON."""
        return {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}


def _shown(module: str, name: str) -> Any:
    """A function of `plica.show`, by name: how results look is decided there, and results do not depend on it."""
    return getattr(import_module(module), name)


def _plain(value: Any) -> Any:
    """Turn a field into plain Python values."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, np.ndarray):
        return [_plain(v) for v in value.tolist()] if value.dtype == object else value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value
