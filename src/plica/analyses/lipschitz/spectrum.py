"""All singular values of a strided circular convolution."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from plica.analyses.lipschitz.fourier import Torus, on_torus
from plica.analyses.lipschitz.verified import gram, norm_upper
from plica.core.conv import Conv
from plica.core.progress import Progress, refuse_above
from plica.core.result import Completeness, Result, Standing
from plica.errors import ArgumentError, DataError, ShapeError

GRAM_RATIO = 1e-6  # of eigenvalues of a Gram matrix: below, relative errors pass 1e-10 and the block gets an SVD
MODULES = (nn.Conv1d, nn.Conv2d)


@dataclass(frozen=True, repr=False)
class ConvSpectrumResult(Result):
    """Singular values of a convolution on a torus.

    Attributes
    ----------
    values : ndarray, shape (min(outputs, inputs),)
        Descending, with multiplicity. In floats, without a proven bound.
    upper : float
        Proven upper bound of the largest one; infinite where nothing is proven.
    zero_below : float
        Values up to this are taken as zero: max(outputs, inputs) of one block times 2^-52 times the largest.
    input_shape, output_shape : tuple of int
    block : tuple of int
        Rows and columns of the matrix at one frequency, of one group.
    """

    values: np.ndarray
    upper: float
    zero_below: float
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    block: tuple[int, int]

    @property
    def rank(self) -> int:
        """Number of values above `zero_below`."""
        return int((self.values > self.zero_below).sum())

    @property
    def condition(self) -> float:
        """Largest value over the smallest that is not zero; infinity for rank zero."""
        kept = self.values[self.values > self.zero_below]
        return float(kept[0] / kept[-1]) if len(kept) else math.inf

    def summary(self) -> str:
        """Number, extremes and rank."""
        if not len(self.values):
            return f"{self.input_shape} -> {self.output_shape}: empty, no singular values"
        return (
            f"{self.input_shape} -> {self.output_shape}: {len(self.values)} singular values from "
            f"{self.values[0]:.6g} to {self.values[-1]:.3g}, rank {self.rank}\n"
            f"proven: none is above {self.upper:.6g}"
        )


def conv_spectrum(
    conv: nn.Module | Conv, input_shape: tuple[int, ...], *, progress: Progress | None = None
) -> ConvSpectrumResult:
    """Compute all singular values of a convolution with circular padding, of any stride, dilation and groups.

    Parameters
    ----------
    conv : torch.nn.Conv1d, torch.nn.Conv2d or Conv
        Its own padding is not read: every padding is a shift on the torus, which changes no singular value.
    input_shape : tuple of int
        (channels, *size) of one input; the stride must divide every size.
    progress : Progress, optional
        Budgets of time and memory, and a listener.

    Returns
    -------
    ConvSpectrumResult
        The values in floats (standing NUMERICAL), and a proven upper bound of the largest.

    Raises
    ------
    ArgumentError
        When a stride does not divide the size, or `conv` is no convolution plica reads.
    ShapeError
        When the channels or the number of axes differ.
    DataError
        When weights are NaN or infinite.
    BudgetReached
        When the time is up.

    Notes
    -----
    Polyphase components and a Fourier transform give one block of c_out x c_in s^2 per frequency and group; half of the
    frequencies suffice. Eigenvalues of the smaller Gram matrix; blocks whose condition number exceeds 1000 get a
    singular value decomposition. Cost per frequency: the cube of the smaller side of a block.

    Source: Szegedy et al. (2013), eq. (1), with frequencies xi + l / stride on a grid as large as the image.

    Examples
    --------
    >>> import torch
    >>> conv = torch.nn.Conv2d(1, 1, 2, bias=False)
    >>> _ = torch.nn.init.ones_(conv.weight)
    >>> conv_spectrum(conv, (1, 2, 2)).values.round(6).tolist()
    [4.0, 0.0, 0.0, 0.0]
    """
    start = time.monotonic()
    progress = progress or Progress()
    op = as_conv(conv, tuple(input_shape))
    torus = on_torus(op, op.input_shape[1:])
    rows, columns = torus.block
    count = min(rows, columns) * len(torus.weight) * math.prod(torus.grid)
    refuse_above(progress.max_bytes, 8 * count, f"{count} singular values", "Use lipschitz for the norm alone.")
    values, upper = _values(torus, progress)
    biggest = float(values[0]) if len(values) else 0.0
    return ConvSpectrumResult(
        standing=Standing.NUMERICAL,
        completeness=Completeness.COMPLETE,
        header={"seconds": time.monotonic() - start},
        values=values,
        upper=upper,
        zero_below=max(rows, columns) * 2.0**-52 * biggest,
        input_shape=op.input_shape,
        output_shape=(op.weight.shape[0], *torus.grid),
        block=(rows, columns),
    )


def as_conv(conv: Any, input_shape: tuple[int, ...]) -> Conv:
    """The node of a convolution module for an input shape; the padding is dropped.

    Raises
    ------
    ArgumentError, ShapeError, DataError
    """
    if not isinstance(conv, (Conv, *MODULES)):
        raise ArgumentError(f"conv = {type(conv).__name__}: give a torch.nn.Conv1d, Conv2d, or a node of a network.")
    weight = conv.weight.detach().double().cpu()
    spatial = weight.ndim - 2
    if len(input_shape) != spatial + 1 or input_shape[0] != weight.shape[1] * conv.groups:
        raise ShapeError(
            f"input_shape = {input_shape}: this convolution reads {weight.shape[1] * conv.groups} channels and "
            f"{spatial} further axes. Write (channels, *size), without a batch axis."
        )
    if not bool(torch.isfinite(weight).all()):
        raise DataError("conv: the weights hold NaN or infinite entries; there are no singular values.")
    stride, dilation = tuple(conv.stride), tuple(conv.dilation)
    return Conv(weight, None, input_shape, stride, ((0, 0),) * spatial, dilation, conv.groups)


def _values(torus: Torus, progress: Progress) -> tuple[np.ndarray, float]:
    """All singular values, descending, and a proven bound of the largest."""
    parts, upper, weights = [np.zeros(0)], 0.0, torus.multiplicity()
    if not torus.weight.numel():
        return parts[0], upper
    for done, blocks in torus.blocks(progress.max_bytes // 4):
        progress.check()
        progress.report("frequencies", done.stop, len(weights))
        blocks = blocks.flatten(0, 1)
        products = gram(blocks)
        squares = torch.linalg.eigvalsh(products)
        upper = max(upper, norm_upper(blocks, torus.error, products=products, guess=float(squares.max())))
        found = _roots(blocks, squares).unflatten(0, (len(torus.weight), -1)).numpy()
        for times in (1, 2):
            parts += [found[:, weights[done] == times].ravel()] * times
    return np.sort(np.concatenate(parts))[::-1].copy(), upper


def _roots(blocks: Tensor, squares: Tensor) -> Tensor:
    """Singular values from the eigenvalues of the Gram matrices; from the blocks where these are too far apart."""
    values = squares.clamp(min=0.0).sqrt()
    hard = squares[:, 0] < GRAM_RATIO * squares[:, -1]
    if bool(hard.any()):
        values[hard] = torch.linalg.svdvals(blocks[hard]).flip(-1)
    return values
