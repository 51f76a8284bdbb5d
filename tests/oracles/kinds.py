"""Kind and dimension of {v : A v = 0, C v <= s} around v = 0, in exact rationals; slow, simple, and alone.

Nothing here comes from plica. Gaussian elimination and a Bland phase-1 simplex in `fractions.Fraction`; each
question is asked row by row through Farkas' lemma: a row b vanishes on the cone {z : B z <= 0} exactly when -b is a
nonnegative combination of the rows of B.
"""

from fractions import Fraction

Rows = list[list[Fraction]]


def rational(rows) -> Rows:
    """Exact rational copies of numbers (floats are dyadic rationals)."""
    return [[Fraction(x) for x in map(_plain, row)] for row in rows]


def _plain(x):
    return x.item() if hasattr(x, "item") else x


def echelon(rows: Rows) -> tuple[Rows, list[int]]:
    """Reduced row echelon form without its zero rows, and the pivot columns."""
    work, pivots, done = [row[:] for row in rows], [], 0
    for column in range(len(rows[0]) if rows else 0):
        found = next((i for i in range(done, len(work)) if work[i][column]), None)
        if found is None:
            continue
        work[done], work[found] = work[found], work[done]
        lead = work[done][column]
        work[done] = [x / lead for x in work[done]]
        for i, row in enumerate(work):
            if i != done and row[column]:
                factor = row[column]
                work[i] = [x - factor * y for x, y in zip(row, work[done], strict=True)]
        pivots.append(column)
        done += 1
    return work[:done], pivots


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

    Phase 1 of the simplex method with Bland's rule; z is read from the reduced costs of the artificial columns.
    """
    d, p = len(target), len(columns)
    sign = [Fraction(-1) if t < 0 else Fraction(1) for t in target]
    table = [
        [sign[i] * c[i] for c in columns] + [Fraction(int(i == j)) for j in range(d)] + [sign[i] * target[i]]
        for i in range(d)
    ]
    cost = [-sum((row[j] for row in table), Fraction(0)) for j in range(p)] + [Fraction(0)] * d
    cost.append(-sum((row[-1] for row in table), Fraction(0)))
    basis = list(range(p, p + d))
    while (enter := next((j for j in range(p + d) if cost[j] < 0), None)) is not None:
        ratios = [(row[-1] / row[enter], basis[i], i) for i, row in enumerate(table) if row[enter] > 0]
        leave = min(ratios)[2]
        lead = table[leave][enter]
        table[leave] = [x / lead for x in table[leave]]
        for row in [*(table[:leave]), *(table[leave + 1 :]), cost]:
            if row[enter]:
                factor = row[enter]
                row[:] = [x - factor * y for x, y in zip(row, table[leave], strict=True)]
        basis[leave] = enter
    if cost[-1] == 0:
        return None
    return [sign[i] * (1 - cost[p + i]) for i in range(d)]


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
