"""Linear conditions on one value of a network, with rational right-hand sides."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from plica.core.exact.columns import Columns


@dataclass(frozen=True, eq=False)
class Conditions:
    """{v : G v <= h, E v = e} for a flat value v; G and E are floats, h and e exact rationals.

    Attributes
    ----------
    value : str
        Name of the value.
    G, E : csr_array, shapes (m, units) and (p, units)
    h, e : tuple of Fraction
    """

    value: str
    G: sp.csr_array
    h: tuple[Fraction, ...]
    E: sp.csr_array
    e: tuple[Fraction, ...]

    def holds(self, v: Columns) -> bool:
        """Whether an exact value, one column, satisfies all of them."""
        return all(self.excess(v, k) <= 0 for k in range(len(self.h))) and all(
            self.gap(v, k) == 0 for k in range(len(self.e))
        )

    def excess(self, v: Columns, row: int) -> Fraction:
        """G v - h of one row."""
        return _dot(self.G, row, v) - self.h[row]

    def gap(self, v: Columns, row: int) -> Fraction:
        """E v - e of one row."""
        return _dot(self.E, row, v) - self.e[row]

    def floats(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Right-hand sides as floats, outward: upper ends of h, lower and upper ends of e."""
        return self._outward

    @cached_property
    def _outward(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return (
            np.array([upward(v) for v in self.h], dtype=np.float64),
            np.array([-upward(-v) for v in self.e], dtype=np.float64),
            np.array([upward(v) for v in self.e], dtype=np.float64),
        )

    def possible(self, below: np.ndarray, above: np.ndarray) -> bool:
        """Whether bounds of the value leave the conditions on single units a chance."""
        h, low, high = self.floats()
        for A, bottom, top in ((self.G, np.full(len(h), -np.inf), h), (self.E, low, high)):
            single = (np.diff(A.indptr) == 1) if A.shape[0] else np.zeros(0, dtype=bool)
            for i in np.flatnonzero(single):
                j, sign = A.indices[A.indptr[i]], A.data[A.indptr[i]]
                if abs(sign) != 1:
                    continue
                ends = (below[j], above[j]) if sign > 0 else (-above[j], -below[j])
                if ends[0] > top[i] or ends[1] < bottom[i]:
                    return False
        return True

    @cached_property
    def sizes(self) -> tuple[sp.csr_array, sp.csr_array]:
        """Sizes of the entries of G and E."""
        return sp.csr_array(abs(self.G)), sp.csr_array(abs(self.E))

    @cached_property
    def terms(self) -> int:
        """Most entries of a row."""
        return max(int(np.diff(A.indptr).max(initial=0)) for A in (self.G, self.E))

    @cached_property
    def halves(self) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], int]:
        """All as ``(up - down) v <= level``: positive part and negative part of the rows, dense, and levels rounded up.

        Also the most entries of a row.
        """
        h, low, high = self.floats()
        full = np.vstack([self.G.toarray(), self.E.toarray(), -self.E.toarray()])
        terms = int((full != 0).sum(1).max(initial=0))
        return (np.maximum(full, 0), np.maximum(-full, 0), np.concatenate([h, high, -low])), terms


def _dot(A: sp.csr_array, row: int, v: Columns) -> Fraction:
    span = slice(A.indptr[row], A.indptr[row + 1])
    terms = zip(A.data[span].tolist(), v.numerator[A.indices[span], 0], strict=True)
    return sum((Fraction(a) * int(b) for a, b in terms), Fraction(0)) * v.scale


def upward(value: Fraction) -> float:
    """Smallest float that is not below a rational."""
    near = float(value)
    return near if Fraction(near) >= value else float(np.nextafter(near, np.inf))


def intervals(value: str, low: list[Fraction | None], high: list[Fraction | None]) -> Conditions:
    """Conditions low <= v <= high, unit by unit; None where there is no bound, an equation where both agree."""
    units = len(low)
    rows: list[tuple[int, float, Fraction]] = []
    fixed: list[tuple[int, Fraction]] = []
    for i, (a, b) in enumerate(zip(low, high, strict=True)):
        if a is not None and a == b:
            fixed.append((i, a))
            continue
        rows += [] if b is None else [(i, 1.0, b)]
        rows += [] if a is None else [(i, -1.0, -a)]
    G = sp.csr_array(
        ([s for _, s, _ in rows], (range(len(rows)), [i for i, _, _ in rows])), shape=(len(rows), units), dtype=float
    )
    E = sp.csr_array((np.ones(len(fixed)), (range(len(fixed)), [i for i, _ in fixed])), shape=(len(fixed), units))
    return Conditions(value, G, tuple(r for _, _, r in rows), E, tuple(e for _, e in fixed))
