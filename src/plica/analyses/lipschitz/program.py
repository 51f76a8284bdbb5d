"""A network as a sequence of pushes of an ellipsoid: which matrices, in which space, and what stays alive.

Two spaces: vectors (one matrix for a whole layer; any graph of any nodes), and images on a torus (one block per
frequency; convolutions, scales per channel, sums, concatenations of channels, choices alike at every place, and pools).
A dense layer leads from images to vectors. What fits neither raises `Unsuitable`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from plica.analyses.lipschitz.ellipsoid import Slopes
from plica.analyses.lipschitz.fourier import enclosing_size, on_torus, unit_roots
from plica.analyses.lipschitz.norms import is_choice, shared
from plica.core.affine import Concat, Dense, Gather, Scale, Sum
from plica.core.choice import MaxOver, Piecewise
from plica.core.conv import Conv
from plica.core.exact.floats import UNIT, gamma, norm

VECTOR_UNITS = 1600  # rows of an ellipsoid of vectors
Maps = dict[str, tuple[Tensor, float]]


class Unsuitable(Exception):
    """The graph holds something that this space has no rule for."""


@dataclass(frozen=True, eq=False)
class Push:
    """One step.

    Attributes
    ----------
    name : str
    maps : dict, optional
        For an affine step: matrices and error bounds by value read.
    source, slopes : str, Slopes, optional
        For a choice.
    keep : list of str
        Values still needed afterwards.
    fold : tuple, optional
        After an affine step: (grid, stride) of a strided convolution, whose frequencies are summed.
    restart : tuple of int, optional
        After a pool: the grid of the torus that begins here.
    gather : Tensor, optional
        Weights of frequencies whose blocks a dense layer sums.
    """

    name: str
    keep: list[str]
    maps: Maps | None = None
    source: str = ""
    slopes: Slopes | None = None
    fold: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    restart: tuple[int, ...] | None = None
    gather: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Program:
    """Pushes from an input to an output; `rename` are values that are others under another shape."""

    start: str
    size: int
    frequencies: int
    pushes: tuple[Push, ...]


def vectors(nodes: Sequence[Any], start: str, shapes: dict[str, tuple[int, ...]], known: dict[str, Any]) -> Program:
    """Program in the space of vectors.

    Parameters
    ----------
    nodes : sequence of Node or Part
        In topological order; the last is the output.
    start : str
        The value that is the input.
    shapes : dict
        Of all values.
    known : dict
        Lower and upper slopes per unit of choice layers, where a domain has settled some.
    """
    alias, needed = _aliases(nodes, start)
    kept = [n for n in nodes if n.name not in alias]
    pushes, alive = [], {start}
    for i, node in enumerate(kept):
        inputs = [alias.get(v, v) for v in node.inputs]
        later = {alias.get(v, v) for n in kept[i + 1 :] for v in n.inputs}
        keep = [v for v in needed if v in alive and v in later]
        size = sum(math.prod(shapes[v]) for v in keep) + math.prod(node.shape)
        if size > VECTOR_UNITS:
            raise Unsuitable(f"{size} units at {node.name!r}, above {VECTOR_UNITS}")
        if is_choice(node.op):
            slopes = slopes_of(node.op, known.get(node.name))
            pushes.append(Push(node.name, keep, source=inputs[0], slopes=slopes))
        else:
            pushes.append(Push(node.name, keep, maps=_matrices(node, inputs)))
        alive = {*keep, node.name}
    return Program(start, math.prod(shapes[start]), 1, tuple(pushes))


def _aliases(nodes: Sequence[Any], start: str) -> tuple[dict[str, str], list[str]]:
    """Values that only reshape another, and the others in order."""
    alias: dict[str, str] = {}
    order = [start]
    for node in nodes:
        if isinstance(node.op, Gather) and node.op.index is None and node.op.bias is None and node is not nodes[-1]:
            alias[node.name] = alias.get(node.inputs[0], node.inputs[0])
        else:
            order.append(node.name)
    return alias, order


def _matrices(node: Any, inputs: list[str]) -> Maps:
    """Explicit matrices of an affine node."""
    op = node.op
    maps: Maps = {}
    if isinstance(op, Dense) and len(op.input_shape) == 1:
        return {inputs[0]: (op.weight.detach().double().cpu()[None], 0.0)}
    if isinstance(op, Scale):
        factor = op.factor if op.divisor is None else op.factor / op.divisor
        diagonal = factor.detach().double().cpu().expand(op.input_shape).flatten()
        error = 0.0 if op.divisor is None else 2 * UNIT * norm(diagonal.numpy())
        return {inputs[0]: (torch.diag(diagonal)[None], error)}
    if not hasattr(op, "entries"):
        raise Unsuitable(f"{node.name!r} is no affine map")
    for value, matrix in zip(inputs, op.entries(), strict=True):
        if math.prod(matrix.shape) > 2**25:
            raise Unsuitable(f"the matrix of {node.name!r} has shape {matrix.shape}")
        dense = torch.from_numpy(matrix.toarray())[None]
        error = 0.0
        if value in maps:
            dense = maps[value][0] + dense
            error = 2 * UNIT * norm(dense.numpy())
        maps[value] = (dense, error)
    return maps


def slopes_of(op: Any, known: Any = None) -> Slopes:
    """What is known of a choice's slopes: everywhere, or on a domain that settles some units."""
    if isinstance(op, MaxOver):
        counts = torch.from_numpy(shared(op)).double()
        return Slopes(torch.arange(len(counts)), torch.ones(len(op.index)), False, op.index.cpu(), counts)
    assert isinstance(op, Piecewise)
    table = op.slopes.detach().double().cpu()
    table = table.reshape(len(table), *(1,) * (len(op.input_shape) + 1 - table.ndim), *table.shape[1:])
    table = table.expand(len(table), *op.input_shape).flatten(1)
    low, high = (table.amin(0), table.amax(0)) if known is None else known
    one_sided = bool((low >= 0).all())
    fixed = low == high
    scale = torch.where(fixed, high, torch.maximum(low.abs(), high.abs()))
    return Slopes(torch.nonzero(~fixed).flatten(), scale, one_sided)


# -- images -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where a value stands: its torus' size, whether it is zero outside its window; None for a vector."""

    size: tuple[int, ...] | None
    windowed: bool


def images(nodes: Sequence[Any], start: str, shapes: dict[str, tuple[int, ...]]) -> Program:
    """Program in the space of images, up to a dense layer, then of vectors."""
    alias, needed = _aliases(nodes, start)
    kept = [n for n in nodes if n.name not in alias]
    sizes = _torus_sizes(kept, alias, start, shapes)
    place = {start: Place(sizes[start], True)}
    pushes, alive = [], {start}
    for i, node in enumerate(kept):
        inputs = [alias.get(v, v) for v in node.inputs]
        later = {alias.get(v, v) for n in kept[i + 1 :] for v in n.inputs}
        keep = [v for v in needed if v in alive and v in later]
        push, place[node.name] = _image_push(node, inputs, keep, place, sizes, shapes)
        if any(place[v].size != place[node.name].size for v in keep):
            raise Unsuitable(f"values of different size are alive at {node.name!r}")
        pushes.append(push)
        alive = {*keep, node.name}
    size = sizes[start]
    assert size is not None
    return Program(start, shapes[start][0], len(half(size)), tuple(pushes))


def half(size: tuple[int, ...]) -> np.ndarray:
    """Frequencies that are evaluated, shape (count, axes)."""
    axes = [np.arange(n) for n in size[:-1]] + [np.arange(size[-1] // 2 + 1)]
    return np.stack([g.ravel() for g in np.meshgrid(*axes, indexing="ij")], axis=1)


def _torus_sizes(
    nodes: Sequence[Any], alias: dict[str, str], start: str, shapes: dict[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...] | None]:
    """Size of the torus of every value: large enough for all convolutions until the next pool or dense layer."""
    if len(shapes[start]) < 2:
        raise Unsuitable("the input is no image")
    ones = (1,) * (len(shapes[start]) - 1)
    era: dict[str, tuple[str, tuple[int, ...]] | None] = {start: (start, ones)}
    needs: dict[str, list[tuple[tuple[int, ...], tuple[int, ...]]]] = {start: [(shapes[start][1:], ones)]}
    for node in nodes:
        source = era[alias.get(node.inputs[0], node.inputs[0])]
        if source is None or isinstance(node.op, Dense):
            era[node.name] = None
            continue
        first, factor = source
        if isinstance(node.op, Conv):
            needs[first].append((enclosing_size(node.op), factor))
            factor = tuple(f * s for f, s in zip(factor, node.op.stride, strict=True))
            needs[first].append((node.shape[1:], factor))
        if isinstance(node.op, MaxOver):
            if len(node.shape) != len(shapes[start]):
                raise Unsuitable(f"{node.name!r} is no pool")
            first, factor = node.name, ones
            needs[first] = [(node.shape[1:], factor)]
        era[node.name] = (first, factor)
    full = {}
    for first, wanted in needs.items():
        steps = [math.lcm(*(f[axis] for _, f in wanted)) for axis in range(len(ones))]
        least = [max(n[axis] * f[axis] for n, f in wanted) for axis in range(len(ones))]
        full[first] = [n + -n % s for n, s in zip(least, steps, strict=True)]
    return {
        name: None if e is None else tuple(n // f for n, f in zip(full[e[0]], e[1], strict=True))
        for name, e in era.items()
    }


def _image_push(
    node: Any,
    inputs: list[str],
    keep: list[str],
    place: dict[str, Place],
    sizes: dict[str, tuple[int, ...] | None],
    shapes: dict[str, tuple[int, ...]],
) -> tuple[Push, Place]:
    """One push, and where its value stands."""
    op, at = node.op, place[inputs[0]]
    if at.size is None:  # vectors behind a dense layer
        if is_choice(op):
            return Push(node.name, keep, source=inputs[0], slopes=slopes_of(op)), at
        return Push(node.name, keep, maps=_matrices(node, inputs)), at
    if is_choice(op):
        slopes = _channel_slopes(op, node, len(shapes[inputs[0]]))
        restart = sizes[node.name] if isinstance(op, MaxOver) else None
        if restart and keep:
            raise Unsuitable(f"values beside the pool {node.name!r} are alive")
        return Push(node.name, keep, source=inputs[0], slopes=slopes, restart=restart), Place(sizes[node.name], True)
    if isinstance(op, Dense):
        if keep or len(op.input_shape) != 1 or math.prod(shapes[inputs[0]]) != op.input_shape[0]:
            raise Unsuitable(f"{node.name!r} does not read a whole image")
        maps, weights = _dense_blocks(op, shapes[inputs[0]], at.size)
        return Push(node.name, [], maps={inputs[0]: maps}, gather=weights), Place(None, True)
    if isinstance(op, Conv):
        if not at.windowed:
            raise Unsuitable(f"{node.name!r} reads another convolution without a choice between")
        strided = any(s > 1 for s in op.stride)
        if strided and keep:
            raise Unsuitable(f"values beside the strided {node.name!r} are alive")
        fold = (at.size, op.stride) if strided else None
        return Push(node.name, keep, maps={inputs[0]: _conv_blocks(op, at.size)}, fold=fold), Place(
            sizes[node.name], False
        )
    windowed = all(place[v].windowed for v in inputs)
    if any(place[v].size != at.size for v in inputs):
        raise Unsuitable(f"{node.name!r} reads values of different size")
    return Push(node.name, keep, maps=_channel_maps(node, inputs, shapes)), Place(at.size, windowed)


def _channel_slopes(op: Any, node: Any, axes: int) -> Slopes:
    """Slopes of a choice that is alike at every place, per channel."""
    if isinstance(op, Piecewise):
        if op.slopes.ndim > 1 and (op.slopes.ndim != axes + 1 or any(n != 1 for n in op.slopes.shape[2:])):
            raise Unsuitable(f"{node.name!r} differs from place to place")
        flat = replace(op, input_shape=(node.shape[0], *(1,) * (axes - 1)))
        return slopes_of(flat)
    per_channel = math.prod(op.input_shape[1:])
    index = op.index.cpu()
    channel = torch.arange(node.shape[0]).repeat_interleave(math.prod(node.shape[1:]))
    if op.input_shape[0] != node.shape[0] or bool(((index // per_channel != channel[:, None]) & (index >= 0)).any()):
        raise Unsuitable(f"{node.name!r} takes maxima across channels")
    counts = torch.from_numpy(shared(op)).double().reshape(node.shape[0], per_channel).amax(1)
    groups = torch.arange(node.shape[0])[:, None]
    return Slopes(torch.arange(node.shape[0]), torch.ones(node.shape[0]), False, groups, counts)


def _conv_blocks(op: Conv, size: tuple[int, ...]) -> tuple[Tensor, float]:
    """Transfer matrices of a convolution of stride 1 at all evaluated frequencies, with the shift of its padding.

    A stride keeps every s-th place: sums over frequencies that differ by multiples of size / s, each divided by the
    root of the stride; see `fold`.
    """
    weight = op.weight.detach().double().cpu()
    plain = Conv(weight, None, op.input_shape, (1,) * len(size), op.padding, op.dilation, op.groups)
    torus = on_torus(plain, size)
    ((_, blocks),) = torus.blocks(2**62)
    out, into = (int(b) for b in blocks.shape[-2:])
    whole = torch.zeros(blocks.shape[1], op.groups * out, op.groups * into, dtype=torch.complex128)
    for g in range(op.groups):
        whole[:, g * out : (g + 1) * out, g * into : (g + 1) * into] = blocks[g]
    shift = np.ones(len(whole), dtype=complex)
    for axis, (n, (before, _)) in enumerate(zip(size, op.padding, strict=True)):
        shift = shift * unit_roots(n)[(-half(size)[:, axis] * before) % n]
    scale = math.sqrt(math.prod(op.stride))
    whole = whole * torch.from_numpy(shift)[:, None, None] / scale
    error = math.sqrt(op.groups) * (torus.error + gamma(40) * torus.frobenius) / scale
    return whole, error * (1 + 1e-12)


def _dense_blocks(op: Dense, shape: tuple[int, ...], size: tuple[int, ...]) -> tuple[tuple[Tensor, float], Tensor]:
    """Transforms of a dense layer's rows, and the weights of frequencies in the sum over all."""
    weight = op.weight.detach().double().cpu().reshape(-1, *shape)
    value = weight.to(torch.complex128)
    for axis, n in enumerate(size):
        frequency = np.arange(n) if axis < len(size) - 1 else np.arange(n // 2 + 1)
        roots = unit_roots(n)[np.outer(frequency, np.arange(shape[1 + axis])) % n]
        value = torch.tensordot(value, torch.from_numpy(roots), dims=([2], [1]))
    count = math.prod(size)
    blocks = value.flatten(2).permute(2, 0, 1) / math.sqrt(count)  # (frequencies, rows, channels)
    terms = sum(3 * n + 10 for n in shape[1:]) + 10
    # an entry errs by gamma_terms of a sum of |weights|, at most sqrt(places) times their norm, over sqrt(count)
    error = gamma(terms) * norm(weight.numpy()) * (1 + 1e-9)
    multiplicity = np.where((half(size)[:, -1] * 2) % size[-1] == 0, 1.0, 2.0)
    return (blocks.contiguous(), error), torch.from_numpy(multiplicity)


def _channel_maps(node: Any, inputs: list[str], shapes: dict[str, tuple[int, ...]]) -> Maps:
    """Scales per channel, sums and concatenations of channels."""
    op, channels = node.op, node.shape[0]
    if isinstance(op, Scale):
        factor = op.factor if op.divisor is None else op.factor / op.divisor
        factor = factor.detach().double().cpu()
        factor = factor.reshape(*(1,) * (len(node.shape) - factor.ndim), *factor.shape)
        if any(n != 1 for n in factor.shape[1:]):
            raise Unsuitable(f"{node.name!r} differs from place to place")
        diagonal = factor.reshape(-1).expand(channels)
        return {inputs[0]: (torch.diag(diagonal).to(torch.complex128)[None], 2 * UNIT * norm(diagonal.numpy()))}
    maps: Maps = {}
    if isinstance(op, Sum):
        for value, c in zip(inputs, op.coefficients, strict=True):
            before = maps[value][0] if value in maps else 0.0
            maps[value] = (c * torch.eye(channels, dtype=torch.complex128)[None] + before, UNIT * channels * abs(c))
        return maps
    if isinstance(op, Concat) and op.axis == 0 and len(set(inputs)) == len(inputs):
        start = 0
        for value in inputs:
            part = torch.zeros(1, channels, shapes[value][0], dtype=torch.complex128)
            part[0, start : start + shapes[value][0]] = torch.eye(shapes[value][0])
            maps[value] = (part, 0.0)
            start += shapes[value][0]
        return maps
    raise Unsuitable(f"{node.name!r} ({type(op).__name__}) is not alike at every place")
