"""Many Gaussians through one network in which no choice comes after another: what depends on them, and what does not.

With z = A x + c before the choices and f the choices, y = B f(z) + D x + d. For independent inputs the mean of y reads
the variances of z only, which are linear in those of x: one matrix of squared rates serves every noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from plica.analyses.moments.choice import choice_moments
from plica.analyses.moments.noise import Gaussian
from plica.analyses.moments.propagate import affine_part, first_choices, is_exact, piecewise, propagate
from plica.analyses.moments.rewrite import linearise, without_maxima
from plica.analyses.moments.streamed import readout
from plica.analyses.moments.units import Kinks, unit_moments
from plica.core.affine import evaluate
from plica.core.choice import Choice
from plica.core.network import INPUT, Network
from plica.core.progress import Progress, refuse_above
from plica.errors import ArgumentError

CHUNK = 1 << 20  # units times Gaussians done at once
LESS = "Take fewer inputs, or a later layer with fewer units, or method='monte_carlo'."


@dataclass(frozen=True, eq=False)
class Stage:
    """A network whose moments have a formula, the two-stage linearisation of another or the network itself.

    Attributes
    ----------
    net : Network
        Without maxima.
    firsts : tuple of str
        The choices that no other comes before.
    """

    net: Network
    firsts: tuple[str, ...]

    @property
    def exact(self) -> bool:
        """Whether no choice comes after another."""
        return is_exact(self.net)

    @property
    def kinks(self) -> Kinks:
        """Of all first choices, side by side."""
        if not self.firsts:
            return Kinks(*(torch.zeros(shape, dtype=torch.float64) for shape in ((0,), (0,), (1, 0), (1, 0))))
        return Kinks.join([Kinks.of(piecewise(self.net[name])) for name in self.firsts])

    def before(self, x: Tensor) -> Tensor:
        """z at a batch of inputs, shape (m, p)."""
        wanted = [self.net[name].inputs[0] for name in self.firsts]
        values = _affine_values(self.net, {INPUT: x.reshape(-1, *self.net.input_shape)}, wanted)
        return torch.cat([values[name].flatten(1) for name in wanted], 1)

    def after(self, x: Tensor, f: Tensor) -> Tensor:
        """y for inputs (m, n) and values (m, p) of the choices, shape (m, d); one row of either serves all."""
        many = max(len(x), len(f))
        sizes = [math.prod(self.net[name].shape) for name in self.firsts]
        given = {INPUT: x.expand(many, -1).reshape(many, *self.net.input_shape)}
        for name, part in zip(self.firsts, f.expand(many, -1).split(sizes, 1), strict=True):
            given[name] = part.reshape(many, *self.net[name].shape)
        return _affine_values(self.net, given, [self.net.output])[self.net.output].flatten(1)

    def squared_rates(self, progress: Progress) -> Tensor:
        """How the variances of z follow from those of independent inputs, shape (n, p)."""
        n, p = math.prod(self.net.input_shape), sum(math.prod(self.net[name].shape) for name in self.firsts)
        refuse_above(progress.max_bytes, 16 * n * p, f"The rates of {p} units in {n} inputs", LESS)
        unit = Gaussian(torch.zeros(n, dtype=torch.float64), torch.ones(n, dtype=torch.float64), torch.arange(n))
        return rates_before(self, unit, progress).square()

    def means(self, x: Tensor, variances: Tensor, squares: Tensor | None) -> Tensor:
        """E y for Gaussians with independent inputs, shape (m, d), differentiable.

        Parameters
        ----------
        x : Tensor, shape (m, n) or (1, n)
            Means.
        variances : Tensor, shape (m, n)
        squares : Tensor, shape (n, p), or None
            `squared_rates`; None where the network is not exact and moments are matched, one Gaussian at a time.
        """
        if not self.exact or squares is None:
            return self._matched(x.expand(len(variances), -1), variances)
        rows = max(1, CHUNK // max(1, squares.shape[1]))
        parts = [x] * len(variances) if len(x) == 1 else x.split(rows)
        return torch.cat([self.means_of(p, v @ squares) for p, v in zip(parts, variances.split(rows), strict=False)])

    def means_of(self, x: Tensor, spread: Tensor) -> Tensor:
        """E y for means x, shape (m, n) or (1, n), and variances `spread` (m, p) of z."""
        if not self.firsts:
            return self.after(x, spread)
        z, kinks = self.before(x).expand(spread.shape), self.kinks
        many = Kinks(*(t.repeat(*(1,) * (t.ndim - 1), len(z)) for t in vars(kinks).values()))
        f = unit_moments(many, z.flatten(), spread.flatten()).mean.reshape(z.shape)
        return self.after(x, f)

    def _matched(self, x: Tensor, variances: Tensor) -> Tensor:
        every = torch.arange(x.shape[1])
        gaussians = [Gaussian(m, v.sqrt(), every) for m, v in zip(x, variances, strict=True)]
        return torch.cat([propagate(self.net, g, Progress())[0].flatten(1) for g in gaussians])


def _affine_values(net: Network, values: dict[str, Tensor], wanted: list[str]) -> dict[str, Tensor]:
    """The wanted values, from given ones by affine nodes only."""
    needed = set(wanted) - values.keys()
    for node in reversed(net.nodes):
        if node.name in needed:
            needed.update(name for name in node.inputs if name not in values)
    values = dict(values)
    for node in net.nodes:
        if node.name in needed and not isinstance(node.op, Choice):
            values[node.name] = evaluate(node.op, *(values[name] for name in node.inputs))
    return values


def rates_before(stage: Stage, x: Gaussian, progress: Progress) -> Tensor:
    """Rates of z by the directions of noise, shape (k, p); by transposes where units are fewer than directions."""
    units = sum(math.prod(stage.net[name].shape) for name in stage.firsts)
    if units and units < x.directions:
        rows = _rows_before(stage, progress).T
        return x.basis() @ rows if x.active is None else x.rows[:, None] * rows[x.active]
    linear = affine_part(stage.net, x, progress)
    parts = [linear[stage.net[name].inputs[0]][1].flatten(1) for name in stage.firsts]
    return torch.cat(parts, 1) if parts else x.mean.new_zeros(x.directions, 0)


def _rows_before(stage: Stage, progress: Progress) -> Tensor:
    """A of z = A x + c, shape (p, n): the transposes of the affine nodes before the choices."""
    net, n = stage.net, math.prod(stage.net.input_shape)
    sizes = [math.prod(net[name].shape) for name in stage.firsts]
    p = sum(sizes)
    refuse_above(progress.max_bytes, 8 * p * n, f"The map to {p} units has {p} x {n} entries", LESS)
    pending: dict[str, Tensor] = {}

    def give(name: str, rows: Tensor) -> None:
        pending[name] = pending[name] + rows if name in pending else rows

    for name, part in zip(stage.firsts, torch.eye(p, dtype=torch.float64).split(sizes, 1), strict=True):
        give(net[name].inputs[0], part.reshape(p, *net[name].shape))
    for node in reversed(net.nodes):
        if node.name not in pending:
            continue
        progress.check()
        for name, rows in zip(node.inputs, node.op.adjoint(pending.pop(node.name)), strict=True):  # type: ignore[union-attr]
            give(name, rows)
    return pending[INPUT].flatten(1) if INPUT in pending else torch.zeros(p, n, dtype=torch.float64)


def is_closed(net: Network) -> bool:
    """Whether the moments of the network itself have a formula."""
    return is_exact(without_maxima(net))


def stage(net: Network, at: Tensor, layer: str | int | None = None) -> Stage:
    """The network itself where its moments have a formula and no layer is named, else its linearisation at a point.

    Parameters
    ----------
    net : Network
    at : Tensor, shape input_shape
        The point of linearisation.
    layer : str or int, optional
        The choice layer to keep; by default the last one that is a function of one unit or a maximum of two.
    """
    if layer is None and is_closed(net):
        plain = without_maxima(net)
        return Stage(plain, first_choices(plain))
    kept = without_maxima(linearise(net, kept_layer(net) if layer is None else layer, at.reshape(net.input_shape)))
    return Stage(kept, first_choices(kept))


def kept_layer(net: Network) -> str:
    """The last choice layer whose moments have a formula."""
    for name in reversed(net.choices):
        op = net[name].op
        if not hasattr(op, "index") or op.index.shape[1] <= 2:
            return name
    if net.choices:
        return net.choices[-1]
    raise ArgumentError("layer: this network is affine; it has no choice layer to keep.")


@dataclass(frozen=True, eq=False)
class Spread:
    """What the covariance of y reads that does not depend on the mean of x.

    Attributes
    ----------
    stage : Stage
    rates, metric : Tensor, shape (k, p) and (k, k) or None
        Of z by the directions of noise.
    direct : Tensor, shape (k, d)
        Rates of D x.
    weights : Tensor, shape (d, p)
        B.
    """

    stage: Stage
    rates: Tensor
    metric: Tensor | None
    direct: Tensor
    weights: Tensor

    @staticmethod
    def of(stage: Stage, x: Gaussian, progress: Progress, *, pairs: bool = True) -> Spread:
        """Push the noise through the affine maps once; `pairs`: room for covariances of units is needed."""
        if not stage.exact:
            raise ArgumentError(
                "layer: this layer is a maximum of more than two, whose moments have no formula. Name another layer."
            )
        p, d = sum(math.prod(stage.net[n].shape) for n in stage.firsts), math.prod(stage.net.output_shape)
        needed = 8 * (3 * p * p * pairs + x.directions * (p + d))
        what = f"The covariance of {p} units has {p} x {p} entries" if pairs else f"The rates of {p} units"
        refuse_above(progress.max_bytes, needed, what, LESS)
        rates, basis = rates_before(stage, x, progress), x.basis()
        zero = torch.zeros(1, len(x.mean), dtype=torch.float64)
        direct = stage.after(basis, rates.new_zeros(1, p)) - stage.after(zero, rates.new_zeros(1, p))
        weights = readout(stage.net, [stage.net[n] for n in stage.firsts])
        return Spread(stage, rates, x.metric, direct, torch.from_numpy(weights))

    def inner(self, left: Tensor, right: Tensor) -> Tensor:
        """left' Cov(xi) right."""
        return left.T @ (right if self.metric is None else self.metric @ right)

    def covariance(self) -> Tensor:
        """Of z, shape (p, p)."""
        S = self.inner(self.rates, self.rates)
        return 0.5 * (S + S.T)

    def moments(self, x: Tensor, S: Tensor, *, centred: bool = False) -> tuple[Tensor, Tensor]:
        """Mean (d,) and covariance (d, d) of y at the input mean x (n,); S is `covariance`.

        With `centred`, the covariance is that at mean zero of z, whatever it is: what Theorem 2 of Bibi et al. (2018)
        assumes.
        """
        straight = self.inner(self.direct, self.direct)
        if not self.stage.firsts:
            return self.stage.after(x[None], x.new_zeros(1, 0))[0], straight
        z, kinks = self.stage.before(x)[0], self.stage.kinks
        at = torch.zeros_like(z) if centred else z
        _, cov = choice_moments(at, S, kinks)
        slope = unit_moments(kinks, at, S.diagonal()).slope
        mean = unit_moments(kinks, z, S.diagonal()).mean
        cross = self.weights @ (slope[:, None] * self.inner(self.rates, self.direct))
        own = self.weights @ cov @ self.weights.T + straight + cross + cross.T
        return self.stage.after(x[None], mean[None])[0], 0.5 * (own + own.T)


def on_cpu(net: Network) -> Network:
    """The network without its box, where tensors of this package are."""
    return replace(net.to("cpu"), box=None)
