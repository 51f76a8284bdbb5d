"""Moments with proven bounds: everything in exact rationals and balls (python-flint's arb), nothing in floats.

The affine maps before and after the choices are exact rationals. With t = 2 w / (1 + w^2) the integral of
`plica.analyses.moments.integral` has a meromorphic integrand,

    I(a, b, r) = 1 / pi int_0^{w_r} (r - t(w)) / v exp(-v ((a - b)^2 v / (2 (1 - w^2)^2) + a b / (1 + w)^2)) dw,
    v = 1 + w^2,    w_r = r / (1 + sqrt(1 - r^2)),

which arb integrates with a proven error (Petras, 2002; Johansson, 2018); at |r| = 1, which rationals decide, it is a
closed form. Intervals of floats are rounded outward at the end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import flint
import numpy as np
import torch
from flint import acb, arb, arb_mat, fmpq

from plica.analyses.moments.noise import Array, Covariance, Gaussian, gaussian
from plica.analyses.moments.propagate import first_choices, is_exact, piecewise
from plica.analyses.moments.result import MomentBoundsResult
from plica.analyses.moments.rewrite import without_maxima
from plica.core.choice import Choice, Piecewise
from plica.core.exact.columns import Columns, affine, join
from plica.core.network import INPUT, Network
from plica.core.progress import Progress, refuse_above
from plica.core.result import Completeness, Standing
from plica.errors import ArgumentError, DataError

BITS = 128
INDEFINITE = "cov is indefinite in exact arithmetic: no Gaussian has it. Give F F' as LowRank(F)."
GOAL = -70  # log2 of the tolerance that integrals aim at; what they reach is in their balls


def moment_bounds(
    net: Network, mean: Array, cov: Covariance, *, covariance: bool = True, progress: Progress | None = None
) -> MomentBoundsResult:
    """Proven bounds of the mean and the covariance of the output for an input x ~ N(mean, cov).

    Parameters
    ----------
    net : Network
        In which no choice comes after another (affine, choices, affine; maxima of at most two).
    mean, cov
        As for `plica.moments`; the stored floats are taken as exact.
    covariance : bool
        Whether the covariance is wanted: it takes an integral for every pair of units.
    progress : Progress, optional

    Returns
    -------
    MomentBoundsResult
        Standing RIGOROUS. Without `covariance` its bounds are -inf and inf.

    Raises
    ------
    ArgumentError
        For a network that is deeper, or a choice that is not continuous in exact arithmetic.
    MemoryBudgetError
        When the exact rates of the units by the noise do not fit into ``progress.max_bytes``.
    BudgetReached
        When the time is up.

    Notes
    -----
    Bounds are about the real-arithmetic map of the stored weights. Cost: the affine maps in exact integers, and about
    1 ms for each pair of units and pair of kinks (p = 100 ReLUs: 5 seconds); the mean alone takes p evaluations of erf.
    """
    progress = progress or Progress()
    plain = without_maxima(net.to("cpu"))
    if not is_exact(plain):
        raise ArgumentError(
            "moment_bounds needs a network in which no choice comes after another (affine, one layer of choices, "
            "affine; maxima of at most two): beyond, no formula has a bound. Use plica.moments and check it."
        )
    with flint.ctx.workprec(BITS):
        maps = _maps(plain, gaussian(net, mean, cov), cov, progress)
        units = _units(plain, maps)
        centre = maps.base
        if units:
            centre = centre + maps.weights * arb_mat([[u.mean] for u in units])
        low, high = _outward([centre[i, 0] for i in range(centre.nrows())])
        d = len(low)
        below, above = np.full((d, d), -np.inf), np.full((d, d), np.inf)
        if covariance:
            spread = _covariance(maps, units, progress)
            entries = [spread[i, j] for i in range(d) for j in range(d)]
            below, above = (t.reshape(d, d) for t in _outward(entries))
    shape = net.output_shape
    return MomentBoundsResult(
        Standing.RIGOROUS, Completeness.COMPLETE, {"seconds": progress.seconds}, low.reshape(shape),
        high.reshape(shape), np.maximum(below, below.T), np.minimum(above, above.T),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Maps:
    """y = base + weights f(z) + direct xi with z = middle + rates' xi, in balls around rationals.

    `middle`, `columns` (the rates, by unit) and `metric` are exact: ties, constants and |r| = 1 are decided by them.
    """

    middle: list[fmpq]
    columns: list[list[fmpq]]
    metric: list[list[fmpq]] | list[fmpq] | None
    rates: arb_mat  # (k, p)
    cov: arb_mat  # of z, (p, p)
    base: arb_mat  # (d, 1)
    weights: arb_mat  # (d, p)
    direct: arb_mat  # (d, k)

    def inner(self, left: list[fmpq], right: list[fmpq]) -> fmpq:
        """left' Cov(xi) right, exactly."""
        if self.metric is None:
            turned = right
        elif isinstance(self.metric[0], fmpq):
            turned = [m * b for m, b in zip(self.metric, right, strict=True)]
        else:
            turned = [_dot(row, right) for row in self.metric]
        return _dot(left, turned)

    def product(self, v: int, w: int) -> arb:
        """Cov(z_v, z_w); zero only where it is zero."""
        ball = self.cov[v, w]
        return arb(self.inner(self.columns[v], self.columns[w])) if ball.contains(0) else ball

    def is_whole(self, v: int, w: int) -> bool:
        """Whether the correlation is exactly 1 or -1; refuses what no covariance gives."""
        gap = self.cov[v, v] * self.cov[w, w] - self.cov[v, w] * self.cov[v, w]
        if v == w or gap > 0:
            return v == w
        a, b, c = (self.inner(self.columns[i], self.columns[j]) for i, j in ((v, v), (w, w), (v, w)))
        if a * b < c * c:
            raise DataError(INDEFINITE)
        return a * b == c * c


def _dot(left: list[fmpq], right: list[fmpq]) -> fmpq:
    return sum((a * b for a, b in zip(left, right, strict=True) if a and b), fmpq(0))


@dataclass(frozen=True, eq=False)
class _Unit:
    """Thresholds (mean - knot) / sd and jumps times sd of one unit, E f, E f', and sd; sd 0 has no thresholds."""

    sd: arb
    a: list[arb]
    scale: list[arb]
    mean: arb
    slope: arb


def _noise(x: Gaussian, cov: Covariance) -> tuple[np.ndarray, list[list[fmpq]] | list[fmpq] | None]:
    """Directions of noise (k, n) and the exact covariance of their coordinates; None: independent, of variance 1."""
    if x.metric is not None:
        entries = [[_rational(v) for v in row] for row in x.metric.detach().numpy()]
        size = range(len(entries))
        return x.basis().numpy(), [[(entries[i][j] + entries[j][i]) / 2 for j in size] for i in size]
    if x.active is None:
        return x.rows.detach().numpy(), None
    given = cov.detach().cpu().numpy() if isinstance(cov, torch.Tensor) else np.asarray(cov)
    variances = np.broadcast_to(given.astype(np.float64).ravel(), len(x.mean))[x.active.numpy()]
    return np.eye(len(x.mean))[x.active.numpy()], [_rational(v) for v in variances] or None


def _rational(value: float) -> fmpq:
    return fmpq(*float(value).as_integer_ratio())


def _balls(rows: Sequence[Sequence[fmpq]], height: int, width: int) -> arb_mat:
    return arb_mat([[arb(q) for q in row] for row in rows]) if height and width else arb_mat(height, width)


def _maps(net: Network, x: Gaussian, cov: Covariance, progress: Progress) -> _Maps:
    """Push the mean, the directions of noise, and one column per unit through the graph in exact integers."""
    firsts = first_choices(net)
    k, p = x.directions, sum(math.prod(net[name].shape) for name in firsts)
    widest = max(len(x.mean), *(math.prod(node.shape) for node in net.nodes))
    refuse_above(
        progress.max_bytes, 100 * widest * (1 + k + p), f"Exact columns of {k} directions of noise and {p} units",
        "Use plica.moments, whose answers are numerical.",
    )  # fmt: skip
    basis, metric = _noise(x, cov)
    values = {INPUT: Columns.of(x.mean.detach().numpy(), *basis)}
    for node in net.nodes:
        if not isinstance(node.op, Choice) and set(node.inputs) <= values.keys():
            values[node.name] = affine(node.op, node.shape, *(values[name] for name in node.inputs))
    flat = [row for name in firsts for row in _rationals(values[net[name].inputs[0]])]
    columns = [row[1:] for row in flat]
    turned = _balls(columns, p, k)
    rates = turned.transpose()
    cov_z = turned * _times(metric, rates)
    return _Maps([row[0] for row in flat], columns, metric, rates, cov_z, *_after(net, values[INPUT], firsts, p, k))


def _times(metric: list[list[fmpq]] | list[fmpq] | None, rates: arb_mat) -> arb_mat:
    """Cov(xi) rates."""
    k, p = rates.nrows(), rates.ncols()
    if metric is None or not k or not p:
        return rates
    if isinstance(metric[0], fmpq):
        return arb_mat([[arb(metric[i]) * rates[i, j] for j in range(p)] for i in range(k)])
    return _balls(metric, k, k) * rates


def _after(net: Network, x: Columns, firsts: Sequence[str], p: int, k: int) -> tuple[arb_mat, arb_mat, arb_mat]:
    """Base, weights and direct rates of the output."""
    zeros = Columns(np.zeros((len(x.numerator), p), dtype=object), Fraction(1))
    values, start = {INPUT: join(x, zeros)}, 1 + k
    for name in firsts:
        size = math.prod(net[name].shape)
        unit = np.zeros((size, 1 + k + p), dtype=object)
        unit[np.arange(size), start + np.arange(size)] = 1
        values[name], start = Columns(unit, Fraction(1)), start + size
    for node in net.nodes:
        if node.name not in values:
            values[node.name] = affine(node.op, node.shape, *(values[name] for name in node.inputs))  # type: ignore[arg-type]
    out = _rationals(values[net.output])
    d = len(out)
    parts = (slice(0, 1), slice(1 + k, None), slice(1, 1 + k))
    base, weights, direct = (_balls([row[part] for row in out], d, n) for part, n in zip(parts, (1, p, k), strict=True))
    return base, weights, direct


def _rationals(columns: Columns) -> list[list[fmpq]]:
    scale = fmpq(columns.scale.numerator, columns.scale.denominator)
    return [[fmpq(int(v)) * scale if v else fmpq(0) for v in row] for row in columns.numerator]


def _units(net: Network, maps: _Maps) -> list[_Unit]:
    tables = [_table(net[name].name, piecewise(net[name])) for name in first_choices(net)]
    every = [row for table in tables for row in table]
    return [_unit(maps, v, *row) for v, row in enumerate(every)]


def _table(name: str, op: Piecewise) -> list[tuple[list[fmpq], list[fmpq], list[fmpq]]]:
    """Knots, slopes and intercepts of every unit, exactly; refused where a branch does not meet the next."""
    size = math.prod(op.input_shape)

    def flat(table: np.ndarray) -> list[list[fmpq]]:
        inner = table.reshape(len(table), *(1,) * (len(op.input_shape) - table.ndim + 1), *table.shape[1:])
        rows = np.broadcast_to(inner, (len(table), *op.input_shape)).reshape(len(table), size)
        return [[fmpq(*float(v).as_integer_ratio()) for v in column] for column in rows.T]

    parts = [flat(t.detach().cpu().numpy()) for t in (op.knots, op.slopes, op.intercepts)]
    found = list(zip(*parts, strict=True))
    for knots, slopes, intercepts in found:
        for k, knot in enumerate(knots):
            if (slopes[k + 1] - slopes[k]) * knot + intercepts[k + 1] - intercepts[k] != 0:
                raise ArgumentError(f"node {name!r} is not continuous at {float(arb(knot)):g} in exact arithmetic.")
    return found


def _unit(maps: _Maps, v: int, knots: list[fmpq], slopes: list[fmpq], intercepts: list[fmpq]) -> _Unit:
    m, variance = maps.middle[v], maps.product(v, v)
    if variance == 0:
        branch = sum(m > knot for knot in knots)
        return _Unit(arb(0), [], [], arb(slopes[branch] * m + intercepts[branch]), arb(slopes[branch]))
    if not variance > 0:
        raise DataError(INDEFINITE)
    sd = variance.sqrt()
    a = [arb(m - knot) / sd for knot in knots]
    jumps = [arb(slopes[k + 1] - slopes[k]) for k in range(len(knots))]
    lift = sum((d * sd * _half(t) for d, t in zip(jumps, a, strict=True)), arb(0))
    slope = arb(slopes[0]) + sum((d * _below(t) for d, t in zip(jumps, a, strict=True)), arb(0))
    return _Unit(sd, a, [d * sd for d in jumps], arb(intercepts[0] + slopes[0] * m) + lift, slope)


def _below(a: arb) -> arb:
    """P(Z < a)."""
    return (-a / arb(2).sqrt()).erfc() / 2


def _density(a: arb) -> arb:
    return (-a * a / 2).exp() / (2 * arb.pi()).sqrt()


def _half(a: arb) -> arb:
    """E relu(Z + a)."""
    return _density(a) + a * _below(a)


def _covariance(maps: _Maps, units: list[_Unit], progress: Progress) -> arb_mat:
    """Cov y = T Cov(xi) T' + B (Cov f - e e' Cov z) B', with T = direct + B e rates'; e the mean slopes."""
    response, p, k = maps.direct, len(units), maps.rates.nrows()
    if p and k:
        sloped = arb_mat([[maps.rates[i, v] * units[v].slope for i in range(k)] for v in range(p)])
        response = response + maps.weights * sloped
    total = response * _times(maps.metric, response.transpose())
    if p:
        bent = arb_mat(p, p)
        for v in progress.over(range(p), "integrals"):
            for w in range(v, p):
                progress.check()
                bent[v, w] = bent[w, v] = _bend(maps, units, v, w)
        total = total + maps.weights * bent * maps.weights.transpose()
    return total


def _bend(maps: _Maps, units: list[_Unit], v: int, w: int) -> arb:
    """sum_kl scale_k scale_l I(a_k, a_l, r) for units v and w."""
    first, second = units[v], units[w]
    if not first.a or not second.a:
        return arb(0)
    cross = maps.product(v, w)
    if cross == 0:
        return arb(0)
    whole, falling = maps.is_whole(v, w), bool(cross < 0)
    r = abs(cross) / (first.sd * second.sd)
    total = arb(0)
    for a, left in zip(first.a, first.scale, strict=True):
        for b, right in zip(second.a, second.scale, strict=True):
            turned = -b if falling else b
            total += left * right * (_at_one(a, turned) if whole else _integral(a, turned, r))
    return total


def _at_one(a: arb, b: arb) -> arb:
    """I(a, b, 1) = E relu(Z + a) relu(Z + b) - E relu(Z + a) E relu(Z + b) - Phi(a) Phi(b)."""
    low = a.min(b)
    both = (1 + a * b) * _below(low) + (a + b - low) * _density(low)
    return both - _half(a) * _half(b) - _below(a) * _below(b)


def _integral(a: arb, b: arb, r: arb) -> arb:
    """I(a, b, r) for 0 < r < 1."""
    w = r / (1 + (1 - r * r).sqrt())
    apart, product = (a - b) * (a - b) / 2, a * b

    def integrand(u: acb, _: bool) -> acb:
        x = w * u
        square = x * x
        plus, gap, sum_ = 1 + square, 1 - square, 1 + x
        return (r - 2 * x / plus) / plus * (-plus * (apart * plus / (gap * gap) + product / (sum_ * sum_))).exp()

    goal = arb(2) ** GOAL
    found = acb.integral(integrand, 0, 1, rel_tol=goal, abs_tol=goal)
    return found.real * w / arb.pi()


def _outward(balls: Sequence[arb]) -> tuple[np.ndarray, np.ndarray]:
    """Floats below and above the balls."""
    low = np.array([np.nextafter(float(b.lower()), -np.inf) for b in balls])
    high = np.array([np.nextafter(float(b.upper()), np.inf) for b in balls])
    return np.where(np.isnan(low), -np.inf, low), np.where(np.isnan(high), np.inf, high)
