"""Kind and dimension of {v : A v = 0, C v <= s} around v = 0, in exact rationals; slow, simple, and alone.

Nothing here comes from plica. Gaussian elimination and a Bland phase-1 simplex in Python's own integers; each
question is asked row by row through Farkas' lemma: a row b vanishes on the cone {z : B z <= 0} exactly when -b is a
nonnegative combination of the rows of B.
"""

from fractions import Fraction
from math import gcd, lcm

Rows = list[list[Fraction]]


def rational(rows) -> Rows:
    """Exact rational copies of numbers (floats are dyadic rationals)."""
    return [[Fraction(x) for x in map(_plain, row)] for row in rows]


def _plain(x):
    return x.item() if hasattr(x, "item") else x


def whole(row) -> list[int]:
    """A row of rationals times the least positive number that makes it a row of integers without a common factor."""
    common = lcm(*(x.denominator for x in row))
    return reduced([x.numerator * (common // x.denominator) for x in row])


def reduced(row: list[int]) -> list[int]:
    """A row of integers without its common factor."""
    factor = gcd(*row)
    return [x // factor for x in row] if factor > 1 else row


def eliminate(row: list[int], pivot: list[int], j: int) -> list[int]:
    """A positive multiple of the row less a multiple of the pivot row, which is positive at j, and 0 there."""
    lead, factor = pivot[j], row[j]
    return reduced([lead * x - factor * y for x, y in zip(row, pivot, strict=True)]) if factor else row


def echelon(rows: Rows) -> tuple[Rows, list[int]]:
    """Reduced row echelon form without its zero rows, and the pivot columns; integers inside."""
    work, pivots, done = [whole(row) for row in rows], [], 0
    for column in range(len(rows[0]) if rows else 0):
        found = next((i for i in range(done, len(work)) if work[i][column]), None)
        if found is None:
            continue
        work[done], work[found] = work[found], work[done]
        if work[done][column] < 0:
            work[done] = [-x for x in work[done]]
        work = [row if i == done else eliminate(row, work[done], column) for i, row in enumerate(work)]
        pivots.append(column)
        done += 1
    return [[Fraction(x, row[j]) for x in row] for row, j in zip(work[:done], pivots, strict=True)], pivots


def rank(rows: Rows) -> int:
    """Exact rank."""
    return len(echelon(rows)[1])


def null_space(rows: Rows, n: int) -> Rows:
    """A basis (as rows) of {v in Q^n : rows v = 0}."""
    reduced, pivots = echelon(rows)
    basis = []
    for free in (j for j in range(n) if j not in pivots):
        v = [Fraction(0)] * n
        v[free] = Fraction(1)
        for row, pivot in zip(reduced, pivots, strict=True):
            v[pivot] = -row[free]
        basis.append(v)
    return basis


def dot(a: list[Fraction], b: list[Fraction]) -> Fraction:
    """Scalar product."""
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))


def separate(columns: Rows, target: list[Fraction]) -> list[Fraction] | None:
    """None when target = sum y_j column_j with y >= 0, else z with column_j z <= 0 for all j and target z > 0.

    Phase 1 of the simplex method with Bland's rule; z is read from the reduced costs of the artificial columns. Every
    row is kept as integers, a positive multiple of itself; the last entry of the costs says which one.
    """
    d, p = len(target), len(columns)
    sign = [-1 if t < 0 else 1 for t in target]
    rows = [[sign[i] * c[i] for c in columns] for i in range(d)]
    table = [whole([*rows[i], *(int(i == j) for j in range(d)), sign[i] * target[i], 0]) for i in range(d)]
    total = [-sum((row[j] for row in rows), Fraction(0)) for j in range(p)]
    cost = whole([*total, *([0] * d), -sum((abs(t) for t in target), Fraction(0)), 1])
    basis = list(range(p, p + d))
    while (enter := next((j for j in range(p + d) if cost[j] < 0), None)) is not None:
        ratios = [(Fraction(row[-2], row[enter]), basis[i], i) for i, row in enumerate(table) if row[enter] > 0]
        leave = min(ratios)[2]
        pivot = table[leave]
        table = [row if i == leave else eliminate(row, pivot, enter) for i, row in enumerate(table)]
        cost = eliminate(cost, pivot, enter)
        basis[leave] = enter
    if cost[-2] == 0:
        return None
    return [sign[i] * Fraction(cost[-1] - cost[p + i], cost[-1]) for i in range(d)]


def vanishing(rows: Rows) -> list[int]:
    """Indices of the rows that are zero on all of {z : rows z <= 0}."""
    undecided, zero = set(range(len(rows))), []
    while undecided:
        i = undecided.pop()
        z = separate(rows, [-x for x in rows[i]])
        if z is None:
            zero.append(i)
        else:
            undecided -= {j for j in undecided if dot(rows[j], z) < 0}
    return sorted(zero)


def cone_dimension(equalities, inequalities, n: int) -> int:
    """Dimension of {v in Q^n : equalities v = 0, inequalities v <= 0}."""
    basis = null_space(rational(equalities), n)
    rows = [[dot(c, v) for v in basis] for c in rational(inequalities)]
    return len(basis) - rank([rows[i] for i in vanishing(rows)])


def kind(A, C, tight, n: int) -> tuple[str, int]:
    """Kind ("singleton", "compact", "unbounded") and dimension of {v : A v = 0, C v <= s}, s = 0 where tight."""
    dimension = cone_dimension(A, [c for c, t in zip(C, tight, strict=True) if t], n)
    if dimension == 0:
        return "singleton", 0
    return ("compact" if cone_dimension(A, C, n) == 0 else "unbounded"), dimension


def omnidirectional(A, n: int, b=None, point=None) -> bool:
    """Whether A v <= 0 has only v = 0 and, when given, b = -A p exactly."""
    if cone_dimension([], A, n) > 0:
        return False
    if b is None:
        return True
    p = rational([point])[0]
    return all(dot(a, p) == -beta for a, beta in zip(rational(A), rational([b])[0], strict=True))
