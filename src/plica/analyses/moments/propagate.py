"""Mean and covariance from the input of a network to its output, node by node, in torch and differentiable.

Before the first choice every value is an affine map of the input noise, kept as such. All choices that read such values
are done together, exactly. After them each affine node is exact again, and each further choice is taken of a Gaussian
with the mean and covariance that its input has (moment matching); its covariance with any other value u is that of a
Gaussian pair, E f'(z) Cov(z, u) (Stein's lemma).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from plica.analyses.moments.choice import Kinks, choice_moments
from plica.analyses.moments.noise import Gaussian
from plica.analyses.moments.units import unit_moments
from plica.core.affine import Affine, evaluate
from plica.core.choice import Choice, Piecewise
from plica.core.network import INPUT, Network, Node
from plica.core.progress import Progress, refuse_above
from plica.errors import UnsupportedLayer

LESS = "Restrict the noise with LowRank(factor), end earlier with net.upto(layer), or use method='monte_carlo'."


def first_choices(net: Network) -> tuple[str, ...]:
    """Choice nodes whose input no other choice comes before: it is exactly Gaussian."""
    behind: set[str] = set()
    first = []
    for node in net.nodes:
        if behind.intersection(node.inputs):
            behind.add(node.name)
        elif isinstance(node.op, Choice):
            behind.add(node.name)
            first.append(node.name)
    return tuple(first)


def is_exact(net: Network) -> bool:
    """Whether `propagate` is exact: no choice reads a value that another choice came before."""
    return len(first_choices(net)) == len(net.choices)


def joint_size(net: Network) -> int:
    """Numbers whose joint covariance `propagate` starts from: the first choices, and affine values that others read."""
    firsts, affine, held = set(first_choices(net)), {INPUT}, {net.output}
    for node in net.nodes:
        if node.name not in firsts and affine.issuperset(node.inputs):
            affine.add(node.name)
        elif node.name not in firsts:
            held.update(node.inputs)
    return sum(math.prod(net.shape_of(name)) for name in firsts | (held & affine))


@dataclass(frozen=True, eq=False)
class Joint:
    """Means and covariances of the live values of a network.

    Attributes
    ----------
    means : dict of str to Tensor, shape (1, *shape)
    blocks : dict of (str, str) to Tensor, shape (size, size)
        Both orders of every pair.
    """

    means: dict[str, Tensor] = field(default_factory=dict)
    blocks: dict[tuple[str, str], Tensor] = field(default_factory=dict)

    def put(self, name: str, mean: Tensor, own: Tensor, cross: dict[str, Tensor]) -> None:
        """Add a value: its covariance, and its covariance with every other, shape (other's size, size)."""
        self.means[name] = mean
        self.blocks[name, name] = 0.5 * (own + own.T)
        for other, block in cross.items():
            self.blocks[other, name], self.blocks[name, other] = block, block.T

    def drop(self, names: Iterable[str]) -> None:
        """Forget values."""
        for name in names:
            del self.means[name]
            for pair in [pair for pair in self.blocks if name in pair]:
                del self.blocks[pair]


def propagate(net: Network, x: Gaussian, progress: Progress) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the output; exact when `is_exact(net)`, moment matching otherwise.

    Parameters
    ----------
    net : Network
        With choices of type `Piecewise` only; see `plica.analyses.moments.rewrite`.
    x : Gaussian

    Returns
    -------
    mean : Tensor, shape (1, *output_shape)
    cov : Tensor, shape (d, d)
        In flat order.

    Raises
    ------
    MemoryBudgetError
        When a covariance does not fit into ``progress.max_bytes``.
    """
    joint = Joint()
    firsts = [net[name] for name in first_choices(net)]
    _budget(0, joint_size(net), ", ".join(n.name for n in firsts) or "output", progress)
    linear = affine_part(net, x, progress)
    rest = [node for node in net.nodes if node.name not in linear and node not in firsts]
    _convert(joint, x, linear, firsts, {name for node in rest for name in node.inputs} | {net.output})
    last_use = {name: i for i, node in enumerate(rest) for name in node.inputs}
    for i, node in enumerate(progress.over(rest, "moments")):
        _budget(sum(m.numel() for m in joint.means.values()), math.prod(node.shape), node.name, progress)
        if isinstance(node.op, Choice):
            _match(joint, node)
        else:
            _affine(joint, node.op, node)
        joint.drop([name for name in node.inputs if name in joint.means and last_use[name] <= i and name != net.output])
    return joint.means[net.output], joint.blocks[net.output, net.output]


def _budget(live: int, size: int, name: str, progress: Progress) -> None:
    refuse_above(
        progress.max_bytes,
        8 * (2 * size * size + 2 * live * size),
        f"The covariance at node {name!r} has {size} x {size} entries, and {live} x {size} with what it reads",
        LESS,
    )


def affine_part(net: Network, x: Gaussian, progress: Progress) -> dict[str, tuple[Tensor, Tensor]]:
    """Values that no choice comes before: mean (1, *shape) and rates (k, *shape), value = mean + rates' xi."""
    k, n = x.directions, len(x.mean)
    refuse_above(progress.max_bytes, 8 * k * n, f"The noise has {k} directions in {n} inputs", LESS)
    values = {INPUT: (x.mean.reshape(1, *net.input_shape), x.basis().reshape(k, *net.input_shape))}
    for node in net.nodes:
        if isinstance(node.op, Choice) or not set(node.inputs) <= values.keys():
            continue
        size = math.prod(node.shape)
        refuse_above(progress.max_bytes, 8 * k * size, f"The map to node {node.name!r} has {k} x {size} entries", LESS)
        mean = evaluate(node.op, *(values[name][0] for name in node.inputs))
        values[node.name] = mean, node.op.apply(*(values[name][1] for name in node.inputs))
    return values


def _convert(joint: Joint, x: Gaussian, linear: dict, firsts: list[Node], needed: set[str]) -> None:
    """Fill the joint distribution with the affine values that later nodes read and with all first choices at once."""
    rates = {name: linear[name][1].flatten(1) for name in linear if name in needed}

    def covariance(left: Tensor, right: Tensor) -> Tensor:
        return left.T @ (right if x.metric is None else x.metric @ right)

    for name in rates:
        cross = {other: covariance(rates[other], rates[name]) for other in joint.means}
        joint.put(name, linear[name][0], covariance(rates[name], rates[name]), cross)
    if not firsts:
        return
    before = {node.name: linear[node.inputs[0]][1].flatten(1) for node in firsts}
    means = [linear[node.inputs[0]][0] for node in firsts]
    z, basis = torch.cat([m.flatten() for m in means]), torch.cat(list(before.values()), 1)
    kinks = Kinks.join([Kinks.of(piecewise(node)) for node in firsts])
    own = covariance(basis, basis)
    own = 0.5 * (own + own.T)
    mean, cov = choice_moments(z, own, kinks)
    slope = unit_moments(kinks, z, own.diagonal()).slope
    start = 0
    for node in firsts:
        part = slice(start, start + before[node.name].shape[1])
        cross = {name: covariance(rates[name], basis[:, part]) * slope[part] for name in rates}
        offset = 0
        for other in firsts[: firsts.index(node)]:
            width = before[other.name].shape[1]
            cross[other.name] = cov[offset : offset + width, part]
            offset += width
        joint.put(node.name, mean[part].reshape(1, *node.shape), cov[part, part], cross)
        start = part.stop
    joint.drop([name for name in joint.means if name not in needed])


def _affine(joint: Joint, op: Affine, node: Node) -> None:
    """Push the joint distribution through an affine node; the columns of each block are its batch."""
    shapes = [joint.means[name].shape[1:] for name in node.inputs]
    mean = evaluate(op, *(joint.means[name] for name in node.inputs))

    def through(rows: list[Tensor]) -> Tensor:
        return op.apply(*(r.reshape(len(r), *shape) for r, shape in zip(rows, shapes, strict=True))).flatten(1)

    cross = {other: through([joint.blocks[other, name] for name in node.inputs]) for other in joint.means}
    joint.put(node.name, mean, through([cross[name].T for name in node.inputs]), cross)


def _match(joint: Joint, node: Node) -> None:
    """Push the joint distribution through a choice as if it were Gaussian."""
    (name,) = node.inputs
    z, own, kinks = joint.means[name].flatten(), joint.blocks[name, name], Kinks.of(piecewise(node))
    mean, cov = choice_moments(z, own, kinks)
    slope = unit_moments(kinks, z, own.diagonal()).slope
    cross = {other: joint.blocks[other, name] * slope for other in joint.means}
    joint.put(node.name, mean.reshape(1, *node.shape), cov, cross)


def piecewise(node: Node) -> Piecewise:
    """The function of a choice node."""
    if not isinstance(node.op, Piecewise):
        raise UnsupportedLayer(f"node {node.name!r} is {type(node.op).__name__}; moments needs functions of one unit.")
    return node.op
