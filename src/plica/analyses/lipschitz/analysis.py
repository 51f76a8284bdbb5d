"""Lipschitz constants of layers and of whole networks (Szegedy et al. 2013, section 4.3)."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from plica.analyses.lipschitz.blocks import better_product
from plica.analyses.lipschitz.local import Local, local_constant, sampled
from plica.analyses.lipschitz.modules import nodes_of
from plica.analyses.lipschitz.norms import Effort
from plica.analyses.lipschitz.result import LipschitzResult
from plica.analyses.lipschitz.steps import Item, Step, joined, measured, product
from plica.core.choice import Piecewise
from plica.core.domain import Ball, Box
from plica.core.network import Network
from plica.core.progress import Progress
from plica.core.result import Completeness, Standing
from plica.errors import ArgumentError

PROBES = 8  # inputs whose pieces give the lower bound of the global constant
PROBE_SIZE = 2**16  # of input times output, above which no piece is looked at
QUIET = ("reshape",)


def lipschitz(
    net: Network | nn.Module,
    input_shape: Sequence[int] | None = None,
    *,
    domain: Box | Ball | None = None,
    tight: bool = True,
    steps: int = 60,
    tolerance: float = 0.01,
    max_pieces: int = 200,
    progress: Progress | None = None,
) -> LipschitzResult:
    """Bracket the Lipschitz constants of all layers and of the network, in the Euclidean norm.

    Parameters
    ----------
    net : Network or torch.nn.Module
        A module is read layer by layer: convolutions, dense layers, pools with or without overlap, normalisation,
        local response normalisation, sigmoid and the like, sums and concatenations; it need not be piecewise linear.
    input_shape : sequence of int, optional
        Shape of one input of a module, without batch axis; needed for modules.
    domain : Box or Ball, optional
        Also bracket the constant on this set; for networks.
    tight : bool
        Whether to look for a better bound of the network than the product.
    steps : int
        Steps of the search for the multipliers of that bound at most; 0: a closed form, in milliseconds, still proven.
    tolerance : float
        Relative width of a convolution's bracket above which its unrolled matrix is used, where that is small.
    max_pieces : int
        Splits of the local search at most.
    progress : Progress, optional
        Budgets of time and memory, and a listener.

    Returns
    -------
    LipschitzResult
        All bounds are proven (standing RIGOROUS); infinite ones say that there is none.

    Raises
    ------
    UnsupportedLayer
        For a module with a layer whose constant is not known.
    ShapeError, ArgumentError
        When the input shape is missing or does not fit, or the domain is unbounded or has no inner point.

    Notes
    -----
    Source: Szegedy et al. (2013), section 4.3. Dense layers: Cholesky factor of a shifted Gram matrix. Convolutions
    with zero padding: above by a circular convolution on a larger torus, below by an explicit vector. The network: the
    product over the graph, or an ellipsoid propagated with the best multipliers (LipSDP, Fazlyab et al. 2019). Cost:
    per frequency the cube of the channels; a dense layer of m x n costs m n min(m, n).

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))
    >>> for layer, weight in ((model[0], [[3.0, 0.0], [0.0, 4.0]]), (model[2], [[1.0, 0.0]])):
    ...     layer.weight.data = torch.tensor(weight)
    >>> result = lipschitz(model, (2,))
    >>> [round(layer.upper, 6) for layer in result.layers], round(result.product, 6), round(result.upper, 2)
    ([4.0, 1.0, 1.0], 4.0, 3.0)
    """
    start = time.monotonic()
    progress = progress or Progress()
    _check(tolerance, max_pieces, steps)
    nodes, shape, network = _read(net, input_shape)
    effort = Effort(tolerance, progress)
    if domain is not None and network is None:
        raise ArgumentError("domain: the local constant needs a network; load the module first: plica.load(module).")
    read, left = measured(joined(nodes, effort), shape, effort)
    plain = product(read, nodes[-1].name) if nodes else 1.0
    best, method = (plain, "product over the graph")
    lower = _probe(network, progress)  # first: the search below may use up the time
    if tight and not left and math.isfinite(plain) and plain > 0:
        best, method = better_product(read, shape, plain, progress, search=steps)
    local = Local(math.nan, math.nan, 0, "")
    if domain is not None:
        assert network is not None
        local = local_constant(network, domain, progress, max_pieces=max_pieces)
        local = _within(local, best)
        lower = max(lower, local.lower)
    done = Completeness.BUDGET if left or "budget" in local.reason else Completeness.COMPLETE
    return _result(read, (plain, min(best, plain), method, lower), (domain, local), done, start)


def _check(tolerance: float, max_pieces: int, steps: int) -> None:
    if not 0 < tolerance < 1:
        raise ArgumentError(f"tolerance = {tolerance}: it must lie between 0 and 1.")
    if max_pieces < 0:
        raise ArgumentError(f"max_pieces = {max_pieces}: it must be 0 or more.")
    if steps < 0:
        raise ArgumentError(f"steps = {steps}: it must be 0 or more.")


def _read(net: Any, input_shape: Sequence[int] | None) -> tuple[Sequence[Item], tuple[int, ...], Network | None]:
    """Nodes, input shape, and the network if it is one."""
    if isinstance(net, Network):
        return net.to("cpu").nodes, net.input_shape, net.to("cpu")
    if isinstance(net, nn.Module):
        nodes, shape = nodes_of(net, None if input_shape is None else tuple(input_shape))
        return nodes, shape, None
    raise ArgumentError(f"net = {type(net).__name__}: give a network (plica.load) or a torch.nn.Module.")


def _probe(net: Network | None, progress: Progress) -> float:
    """Proven lower bound of the global constant, by pieces at random inputs; 0.0 where that costs too much."""
    if net is None or progress.seconds_left <= 0:
        return 0.0
    n, m = math.prod(net.input_shape), math.prod(net.output_shape)
    weights = (t for node in net.nodes for t in vars(node.op).values() if isinstance(t, torch.Tensor))
    if not 0 < n * m <= PROBE_SIZE or not all(bool(torch.isfinite(w).all()) for w in weights):
        return 0.0
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(PROBES, *net.input_shape, generator=generator, dtype=torch.float64)
    return sampled(net, points)[0]


def _within(local: Local, best: float) -> Local:
    """The local bound is never worse than the global one."""
    return Local(local.lower, min(local.upper, best), local.pieces, local.reason)


def _result(
    steps: list[Step],
    whole: tuple[float, float, str, float],
    local: tuple[Any, Local],
    done: Completeness,
    start: float,
) -> LipschitzResult:
    shown = [s for s in steps if s.constant.method not in QUIET and not _is_sign(s)]
    domain, found = local
    plain, best, method, lower = whole
    return LipschitzResult(
        standing=Standing.RIGOROUS,
        completeness=done,
        header={"seconds": time.monotonic() - start},
        names=tuple(s.node.name for s in shown),
        kinds=tuple(s.kind for s in shown),
        methods=tuple(s.constant.method for s in shown),
        lowers=np.array([s.constant.lower for s in shown]),
        uppers=np.array([s.constant.upper for s in shown]),
        product=plain,
        upper=best,
        upper_method=method,
        lower=min(lower, best),
        domain="" if domain is None else _words(domain),
        local_lower=found.lower,
        local_upper=found.upper,
        local_pieces=found.pieces,
        local_reason=found.reason,
    )


def _is_sign(step: Step) -> bool:
    return isinstance(step.node.op, Piecewise) and not math.prod(step.node.op.input_shape)


def _words(domain: Box | Ball) -> str:
    if isinstance(domain, Ball):
        return f"the ball of radius {domain.radius:g} in the {domain.norm:g}-norm"
    sides = domain.upper - domain.lower
    return f"a box of {domain.ambient} variables with sides {sides.min():g} to {sides.max():g}"
