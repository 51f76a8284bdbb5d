"""Directions that an affine map stretches most, by Lanczos on A'A; proven by `verified.gain`, whatever they are."""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from plica.core.progress import Progress

STEPS = 120  # products with A'A at most
BASIS = 40  # vectors kept before a restart


@runtime_checkable
class Map(Protocol):
    """What the search needs of an affine node."""

    def apply(self, *v: Tensor) -> Tensor:
        """The linear part."""

    def adjoint(self, w: Tensor) -> tuple[Tensor, ...]:
        """Its transpose."""


def stretched(op: Map, input_shape: tuple[int, ...], progress: Progress, *, accuracy: float = 1e-5) -> Tensor:
    """A vector that the map stretches nearly as much as it can.

    Parameters
    ----------
    op : Map
        Of one input.
    input_shape : tuple of int
    accuracy : float
        Stop once a step raises the norm by less, relatively.

    Returns
    -------
    Tensor, shape input_shape
        No accuracy is guaranteed: near-equal singular values make the search slow, and the norm comes out low.
    """
    n = math.prod(input_shape)
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(n, generator=generator, dtype=torch.float64)
    keep = max(3, min(BASIS, progress.max_bytes // (16 * max(n, 1))))
    best, value, done = start / torch.linalg.vector_norm(start), 0.0, 0
    while done < STEPS:
        found, square, steps = _sweep(op, input_shape, best, min(keep, STEPS - done), accuracy)
        done += steps
        rise = square - value
        best, value = found, square
        if steps < keep or rise <= 2 * accuracy * value or progress.seconds_left <= 0:
            break
    return best.reshape(input_shape)


def _sweep(op: Map, shape: tuple[int, ...], start: Tensor, steps: int, accuracy: float) -> tuple[Tensor, float, int]:
    """One Lanczos run from a unit vector: its best Ritz vector, squared norm, and the products it took."""
    basis, images, last = [start], [], 0.0
    with torch.no_grad():
        for step in range(steps):
            image = op.adjoint(op.apply(basis[-1].reshape(1, *shape)))[0].flatten()
            images.append(image)
            V = torch.stack(basis)
            w = image - V.T @ (V @ image)
            w = w - V.T @ (V @ w)
            size = float(torch.linalg.vector_norm(w))
            if size <= 1e-12 * float(torch.linalg.vector_norm(image)):
                break
            if step % 5 == 4:
                square = float(_ritz(V, images)[0])
                if square - last <= accuracy * square:
                    break
                last = square
            basis.append(w / size)
    V = torch.stack(basis[: len(images)])
    value, weights = _ritz(V, images)
    found = V.T @ weights
    size = torch.linalg.vector_norm(found)
    return (found / size if float(size) > 0 else start), float(value), len(images)


def _ritz(V: Tensor, images: list[Tensor]) -> tuple[Tensor, Tensor]:
    projected = V @ torch.stack(images).T
    values, vectors = torch.linalg.eigh((projected + projected.T) / 2)
    return values[-1], vectors[:, -1]
