"""A Jacobian as blocks of columns with the rows they touch, and what is read off it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ROWS = 4  # times the smaller side: rows that are made dense at once


@dataclass(frozen=True, eq=False)
class Block:
    """Some neighbouring columns and the rows they touch.

    Attributes
    ----------
    start : int
        Place of the first column among all columns.
    rows : Tensor of int64, shape (r,)
        Increasing.
    data : Tensor, shape (columns, r)
        Transposed: one row per column of the Jacobian.
    """

    start: int
    rows: Tensor
    data: Tensor

    @property
    def columns(self) -> slice:
        """Places of the columns."""
        return slice(self.start, self.start + len(self.data))


@dataclass(frozen=True, eq=False)
class Jacobian:
    """Rows of a Jacobian that are not identically zero.

    Attributes
    ----------
    shape : (int, int)
        Rows kept, columns.
    blocks : tuple of Block
        In the order of their columns.
    """

    shape: tuple[int, int]
    blocks: tuple[Block, ...]

    @property
    def wide(self) -> bool:
        """Whether there are fewer rows than columns."""
        return self.shape[0] < self.shape[1]

    def tall(self, low: int = 0, high: int | None = None) -> Tensor:
        """Part of M, where M = J if J is tall and J' if it is wide; rows low to high of M."""
        rows, columns = self.shape
        some = next((b.data for b in self.blocks), torch.zeros(0, dtype=torch.float64))
        high = max(rows, columns) if high is None else high
        if self.wide:
            out = some.new_zeros(high - low, rows)
            for block in self.blocks:
                a, b = max(low, block.start), min(high, block.columns.stop)
                if a < b:
                    out[a - low : b - low].index_copy_(1, block.rows, block.data[a - block.start : b - block.start])
            return out
        out = some.new_zeros(columns, high - low)
        for block in self.blocks:
            a, b = torch.searchsorted(block.rows, torch.tensor([low, high], device=block.rows.device)).tolist()
            out[block.columns].index_copy_(1, block.rows[a:b] - low, block.data[:, a:b])
        return out.T

    def gram(self) -> Tensor:
        """M' M, the Gram matrix of the smaller side."""
        if self.wide or len(self.blocks) < 2:
            return self._gram_streamed()
        rows, columns = self.shape
        out = self.blocks[0].data.new_zeros(columns, columns)
        for i, block in enumerate(self.blocks):
            spread = block.data.new_zeros(rows, len(block.data))
            spread[block.rows] = block.data.T
            touched = torch.zeros(rows, dtype=torch.bool, device=block.data.device)
            touched[block.rows] = True
            for other in self.blocks[: i + 1]:
                common = touched[other.rows]
                if bool(common.any()):
                    out[other.columns, block.columns] = other.data @ spread[other.rows]
        upper = out.triu()
        return upper + upper.triu(1).T

    def _gram_streamed(self) -> Tensor:
        size, longer = min(self.shape), max(self.shape)
        some = next((b.data for b in self.blocks), torch.zeros(0, dtype=torch.float64))
        out = some.new_zeros(size, size)
        step = max(4096, ROWS * size)
        for low in range(0, longer, step):
            part = self.tall(low, min(longer, low + step))
            out += part.T @ part
        return out

    def triangle(self) -> Tensor:
        """R of a QR decomposition of M, square; rows are taken in chunks."""
        size, longer = min(self.shape), max(self.shape)
        out = self.tall(0, 0)
        step = max(4096, ROWS * size)
        for low in range(0, longer, step):
            part = self.tall(low, min(longer, low + step))
            out = torch.linalg.qr(torch.cat([out, part]), mode="r").R
        return out[:size]
