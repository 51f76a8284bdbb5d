"""A global upper bound tighter than the product: the best ellipsoid that a search finds, then proven.

The search is a quasi-Newton method over the logarithms of all multipliers at once, from the start of ECLipsE-Fast
(Xu and Sivaranjani 2024). In the multipliers themselves the problem is convex (it is LipSDP-Neuron, Fazlyab et al.
2019, with the blocks eliminated one after the other), so there is one minimum. Any multipliers give a valid bound, and
the number that is returned is computed again from the best ones in proven arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from plica.analyses.lipschitz.ellipsoid import (
    Arithmetic,
    Infeasible,
    Slopes,
    State,
    frobenius,
    push_affine,
    push_choice,
)
from plica.analyses.lipschitz.program import Program, Push
from plica.analyses.lipschitz.verified import largest_eigenvalue
from plica.core.exact.floats import gamma, raised
from plica.core.progress import Progress

POWERS = (8.0, 64.0)  # the largest eigenvalue is smoothed as a power mean, more and more sharply
PLAIN, PROVEN = Arithmetic(False), Arithmetic(True)
Choose = Callable[[int, Tensor, Slopes], Tensor]


def run(program: Program, choose: Choose, how: Arithmetic) -> Tensor:
    """Push the unit ball through a program; return P of the output."""
    state = State(None, {program.start: (0, program.size)})
    made = 0
    for push in program.pushes:
        if push.slopes is None:
            state = _affine(state, push, how)
            continue
        S = _own(state, push.source, program.frequencies)[:, push.slopes.free][:, :, push.slopes.free]
        state = push_choice(state, push.source, push.name, choose(made, S, push.slopes), push.slopes, push.keep, how)
        made += 1
        if push.restart is not None:
            assert state.P is not None
            count = math.prod(push.restart[:-1]) * (push.restart[-1] // 2 + 1)
            top = state.P.diagonal(dim1=-2, dim2=-1).real.amax(0)  # diagonal, alike at every frequency
            state = State(torch.diag(top).to(state.P.dtype).expand(count, -1, -1), state.spans)
    if state.P is None:
        return torch.eye(program.size, dtype=torch.float64)[None]
    return state.P


def _own(state: State, name: str, frequencies: int) -> Tensor:
    """Block of one value."""
    if state.P is None:
        size = state.size
        return torch.eye(size, dtype=torch.float64).expand(1, size, size)
    rows = state.rows(name)
    return state.P[:, rows][:, :, rows]


def _affine(state: State, push: Push, how: Arithmetic) -> State:
    assert push.maps is not None
    out = push_affine(state, push.name, push.maps, push.keep, how)
    if push.fold is None and push.gather is None:
        return out
    assert out.P is not None
    if push.gather is not None:
        P = (push.gather[:, None, None] * out.P).sum(0, keepdim=True).real
        return State(_summed(P, out.P, push.gather, how), out.spans)
    size, stride = push.fold  # type: ignore[misc]
    return State(fold(out.P, size, stride, how), out.spans)


def _summed(total: Tensor, parts: Tensor, weights: Tensor, how: Arithmetic) -> Tensor:
    """The sum over frequencies with the rounding of its additions."""
    if not how.proven:
        return (total + total.mH) / 2
    size = raised(float((weights[:, None, None] * frobenius(parts)).sum()), len(parts) + 4)
    return how.enlarged(total, torch.full((1, 1, 1), raised(gamma(len(parts) + 4) * size, 2), dtype=torch.float64))


def fold(P: Tensor, size: tuple[int, ...], stride: tuple[int, ...], how: Arithmetic) -> Tensor:
    """Sum the blocks of frequencies that a stride maps onto each other."""
    grid = tuple(n // s for n, s in zip(size, stride, strict=True))
    last = size[-1]
    half = P.reshape(*size[:-1], last // 2 + 1, *P.shape[1:])
    columns = np.arange(last)
    mirrored = half[..., np.minimum(columns, last - columns), :, :]
    back = mirrored  # at the opposite frequency
    for axis, n in enumerate(size[:-1]):
        back = back.index_select(axis, torch.from_numpy(-np.arange(n) % n))
    beyond = torch.from_numpy(columns > last // 2).reshape(-1, 1, 1)
    full = torch.where(beyond, back.conj(), mirrored)
    split = [k for s, m in zip(stride, grid, strict=True) for k in (s, m)]
    full = full.reshape(*split, *P.shape[1:]).sum(tuple(range(0, 2 * len(size), 2)))
    folded = full[..., : grid[-1] // 2 + 1, :, :].flatten(0, len(size) - 1)
    if not how.proven:
        return folded
    count = math.prod(stride)
    error = raised(gamma(count + 2) * count * float(frobenius(P).max()), 4)
    return how.enlarged(folded, torch.full((1, 1, 1), error, dtype=torch.float64))


# -- the search -------------------------------------------------------------------------------------------------------


def largest(matrix: Tensor) -> float:
    """Largest eigenvalue over all frequencies, in floats."""
    return float(torch.linalg.eigvalsh(matrix)[..., -1].max()) if matrix.numel() else 0.0


def top_eigenvalue(S: Tensor) -> Tensor:
    """Largest eigenvalue over all blocks, differentiable as the Rayleigh quotient of its vector."""
    with torch.no_grad():
        values, vectors = torch.linalg.eigh(S)
        block = int(values[:, -1].argmax())
        v = vectors[block, :, -1]
    return (v.conj() @ (S[block] @ v)).real


def multipliers_of(S: Tensor, slopes: Slopes, theta: Tensor) -> Tensor:
    """T from free numbers: logarithms for one-sided slopes.

    For the other choices T is wanted as small as T > S allows: theta holds a direction t, and the logarithm of the
    slack by which T exceeds the multiple of t that touches S.
    """
    if slopes.one_sided:
        return theta.exp()
    t = theta[:-1].exp()
    if not len(t):
        return t
    root = t.rsqrt()
    touch = top_eigenvalue(root[:, None] * S * root).clamp(min=1e-300)
    return t * touch * (1.0 + theta[-1].exp())


def first_multipliers(program: Program) -> tuple[list[Tensor], float]:
    """Free numbers of T = 2 lambda_max(S), the start of ECLipsE-Fast, and the square of their bound in floats."""
    found: list[Tensor] = []
    choices = [push for push in program.pushes if push.slopes is not None]

    def choose(made: int, S: Tensor, slopes: Slopes) -> Tensor:
        k = S.shape[-1]
        if slopes.one_sided:
            found.append(torch.full((k,), math.log(2.0 * max(largest(S), 1e-300)), dtype=torch.float64))
        else:
            rest = bool(choices[made].keep) or (slopes.groups is None and k < len(slopes.scale))
            slack = 1.0 if rest else 1e-8
            found.append(torch.cat([torch.zeros(k), torch.tensor([math.log(slack)])]).double())
        return multipliers_of(S, slopes, found[-1]) if k else torch.zeros(0, dtype=torch.float64)

    with torch.no_grad():
        P = run(program, choose, PLAIN)
    return found, largest(P)


def improved(
    program: Program, first: Sequence[Tensor], progress: Progress, *, steps: int = 60, accuracy: float = 1e-4
) -> list[Tensor]:
    """Better free numbers, by a quasi-Newton search; the same ones when none are found."""
    sizes = [len(t) for t in first]
    theta = torch.cat(list(first)) if first else torch.zeros(0, dtype=torch.float64)
    if not len(theta) or not steps:
        return list(first)
    for power in POWERS if steps > 20 else POWERS[-1:]:
        theta = _minimise(partial(_objective, program, sizes, power), theta, steps, accuracy, progress)
    return list(theta.split(sizes))


def _objective(program: Program, sizes: list[int], power: float, theta: Tensor) -> tuple[float, Tensor] | None:
    """Logarithm of the smoothed largest eigenvalue, and its gradient; None where T - S is not positive."""
    theta = theta.clone().requires_grad_()
    parts = theta.split(sizes)
    try:
        P = run(program, lambda made, S, slopes: multipliers_of(S, slopes, parts[made]), PLAIN)
    except Infeasible:
        return None
    values = torch.linalg.eigvalsh(P).flatten().clamp(min=1e-300)
    value = torch.logsumexp(power * values.log(), 0) / power
    if not value.requires_grad:  # no unit is free
        return None
    (slope,) = torch.autograd.grad(value, theta)
    if not (math.isfinite(value.item()) and bool(torch.isfinite(slope).all())):
        return None
    return value.item(), slope


def _minimise(
    function: Callable[[Tensor], tuple[float, Tensor] | None],
    x: Tensor,
    steps: int,
    accuracy: float,
    progress: Progress,
    memory: int = 12,
) -> Tensor:
    """L-BFGS with Armijo backtracking (Nocedal and Wright, Numerical Optimization, s. 7.2); steps stay feasible."""
    at = function(x)
    if at is None:
        return x
    value, slope = at
    pairs: list[tuple[Tensor, Tensor]] = []
    recent = [value]
    for _ in range(steps):
        if progress.seconds_left <= 0:
            break
        direction = -_inverse_hessian(slope, pairs)
        if float(direction @ slope) >= 0:
            direction, pairs = -slope, []
        length = 1.0 if pairs else min(1.0, 0.5 / float(direction.abs().max().clamp(min=1e-300)))
        for _ in range(30):
            trial = x + length * direction
            found = function(trial)
            if found is not None and found[0] <= value + 1e-4 * length * float(direction @ slope):
                break
            length *= 0.5
        else:
            break
        change, turn = trial - x, found[1] - slope
        if float(change @ turn) > 1e-12 * float(turn.norm() * change.norm()):
            pairs = [*pairs[1 - memory :], (change, turn)]
        x, (value, slope) = trial, found
        recent.append(value)
        if len(recent) > 6 and recent[-7] - value < accuracy:
            break
    return x


def _inverse_hessian(slope: Tensor, pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Two-loop recursion."""
    q, weights = slope.clone(), []
    for s, y in reversed(pairs):
        a = float(s @ q) / float(s @ y)
        weights.append(a)
        q = q - a * y
    if pairs:
        s, y = pairs[-1]
        q = q * (float(s @ y) / float(y @ y))
    for (s, y), a in zip(pairs, reversed(weights), strict=True):
        q = q + s * (a - float(y @ q) / float(s @ y))
    return q


# -- the proof --------------------------------------------------------------------------------------------------------


def proven_bound(program: Program, multipliers: Sequence[Tensor]) -> float:
    """Proven upper bound of the Lipschitz constant from multipliers T; infinity where they prove nothing."""
    try:
        with torch.no_grad():
            P = run(program, lambda made, S, slopes: multipliers[made], PROVEN)
            if not bool(torch.isfinite(P.abs().sum())):
                return math.inf
            return float(raised(math.sqrt(largest_eigenvalue(P.resolve_conj())), 2)) if P.numel() else 0.0
    except Infeasible:
        return math.inf


def tight_bound(program: Program, progress: Progress, *, steps: int = 60) -> float:
    """Best proven upper bound found; infinity where nothing is proven."""
    try:
        first, _ = first_multipliers(program)
    except Infeasible:
        return math.inf
    for theta in (improved(program, first, progress, steps=steps), first):
        used: list[Tensor] = []

        def choose(made: int, S: Tensor, slopes: Slopes, theta: list[Tensor] = theta, used: list = used) -> Tensor:
            used.append(multipliers_of(S, slopes, theta[made]))
            return used[-1]

        with torch.no_grad():
            run(program, choose, PLAIN)
        for slack in (1e-12, 1e-8, 1e-5, 1e-2):
            bound = proven_bound(program, [t * (1.0 + slack) for t in used])
            if math.isfinite(bound):
                return bound
    return math.inf
