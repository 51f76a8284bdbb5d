"""What region bounds answer: rows, each with a number, its conditions and its source."""

from __future__ import annotations

from dataclasses import dataclass

from flint import fmpz

from plica.core.result import Result
from plica.errors import ArgumentError

SHOWN = 15  # digits up to which a number is written out in a summary


@dataclass(frozen=True)
class RegionBound:
    """One bound.

    Attributes
    ----------
    name : str
        Theorem, equation or authors.
    side : {"lower", "upper", "rate"}
        "rate": an asymptotic statement, which has no number for one network.
    decimal : str or None
        The number in decimal digits (a saved file has no limit for them); None where the bound does not apply.
    of : str
        What is bounded.
    when : str
        Under which conditions.
    source : str
    note : str
        When it is attained, or why it does not apply.
    """

    name: str
    side: str
    decimal: str | None
    of: str
    when: str
    source: str
    note: str = ""

    @property
    def value(self) -> int | None:
        """The number; None where the bound does not apply."""
        return None if self.decimal is None else int(fmpz(self.decimal))

    def line(self) -> str:
        """The bound in a line of text."""
        sign = {"lower": ">=", "upper": "<=", "rate": "~"}[self.side]
        number = "does not apply" if self.decimal is None else short(self.decimal)
        number = "" if self.side == "rate" else f" {number}"
        return f"{sign}{number}  {self.name} ({self.when}){'. ' if self.note else ''}{self.note}"


def short(decimal: str) -> str:
    """A number in words of a summary: whole, or as a rounded-down power of ten."""
    if len(decimal) <= SHOWN:
        return f"{int(decimal):,}"
    return f"{decimal[0]}.{decimal[1:4]}e{len(decimal) - 1}"


@dataclass(frozen=True, repr=False)
class BoundsResult(Result):
    """Bounds for the number of linear regions of an architecture.

    Attributes
    ----------
    inputs : int
        Dimension n_0 of the input space.
    widths : tuple of int
        Units per layer of choices.
    kind : str
        "relu", "maxout" or "network" (layers of other kinds, or branches that meet).
    rank : int
        Affine functions per maxout unit; 2 for rectifiers.
    rows : tuple of RegionBound
    """

    inputs: int
    widths: tuple[int, ...]
    kind: str
    rank: int
    rows: tuple[RegionBound, ...]

    def _numbers(self, side: str) -> list[int]:
        return [row.value for row in self.rows if row.side == side and row.value is not None]

    @property
    def lower(self) -> int:
        """Best lower bound for the largest number of linear regions over all choices of the parameters."""
        return max(self._numbers("lower"), default=1)

    @property
    def upper(self) -> int:
        """Best upper bound, for every choice of the parameters."""
        return min(self._numbers("upper"))

    @property
    def exact(self) -> bool:
        """Whether the largest number is known."""
        return self.lower == self.upper

    def row(self, name: str, side: str | None = None) -> RegionBound:
        """The bound of a name (the first one of that side)."""
        for row in self.rows:
            if row.name == name and side in (None, row.side):
                return row
        raise ArgumentError(f"row: no bound {name!r}. There are: {', '.join(row.name for row in self.rows)}.")

    def summary(self) -> str:
        """One line per bound."""
        units = f"{self.kind}, {self.inputs} inputs, layers of {'-'.join(map(str, self.widths)) or 'nothing'}"
        units += f", rank {self.rank}" if self.kind == "maxout" else ""
        return "\n".join((units, *(f"  {row.line()}" for row in self.rows)))
