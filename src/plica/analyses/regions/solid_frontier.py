"""What a budget leaves undone, as plain arrays that can be saved and taken up again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from plica.analyses.regions.solid_arithmetic import Cells
from plica.analyses.regions.solid_engine import Batch
from plica.analyses.regions.solid_exact import Point
from plica.analyses.regions.solid_rows import RowCell, packed, unpacked
from plica.core.hashes import network_hash
from plica.core.network import Network
from plica.errors import ArgumentError, DataError

F = TypeVar("F")


@dataclass(frozen=True, eq=False)
class Frontier:
    """Cells that wait for their next decision, and what was counted before.

    Attributes
    ----------
    batches : tuple of Batch
        Cells with vertices.
    cells : tuple of RowCell
        Cells by their rows.
    count : int
        Regions that are done.
    mark : str
        Of the network and domain that it belongs to, see `mark_of`.
    """

    batches: tuple[Batch, ...]
    cells: tuple[RowCell, ...]
    count: int
    mark: str

    def __len__(self) -> int:
        return sum(len(b.cells.at) for b in self.batches) + len(self.cells)

    def check(self, mark: str) -> None:
        """Compare marks.

        Raises
        ------
        ArgumentError
            For another network or domain.
        """
        check_mark(self.mark, mark)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything as plain arrays, for `of`."""
        arrays = {f"{i}.{name}": a for i, b in enumerate(self.batches) for name, a in b.cells._asdict().items()}
        arrays |= {f"rows.{name}": a for name, a in packed(self.cells).items()}
        arrays["stages"] = np.array([b.stage for b in self.batches], np.int64)
        return arrays | {"count": np.array(str(self.count)), "mark": np.array(self.mark)}

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> Frontier:
        """The frontier of `arrays`."""
        batches = tuple(
            Batch(int(stage), Cells(*(arrays[f"{i}.{name}"] for name in Cells._fields)))
            for i, stage in enumerate(arrays["stages"])
        )
        cells = unpacked({name[5:]: arrays[name] for name in arrays if name.startswith("rows.")})
        return cls(batches, tuple(cells), int(str(arrays["count"])), str(arrays["mark"]))

    def split(self, parts: int) -> Iterator[Frontier]:
        """The same cells in at most so many frontiers, none empty; with them no regions are done."""
        for i in range(parts):
            part = Frontier(self.batches[i::parts], self.cells[i::parts], 0, self.mark)
            if len(part):
                yield part

    def save(self, path: str | Path) -> None:
        """Write everything to an .npz file of arrays."""
        write_arrays(path, self.arrays())

    @classmethod
    def load(cls, path: str | Path) -> Frontier:
        """Read what `save` wrote.

        Raises
        ------
        DataError
            When the file holds something else.
        """
        return read_arrays(path, cls.of)


def check_mark(own: str, mark: str) -> None:
    """Refuse a frontier of another network or domain."""
    if own != mark:
        raise ArgumentError("resume: this belongs to another network or domain; begin again.")


def write_arrays(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a frontier's arrays."""
    with Path(path).open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_arrays(path: str | Path, of: Callable[[Mapping[str, np.ndarray]], F]) -> F:
    """The frontier that `of` makes of the arrays of a file, or a `DataError`."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return of(dict(file))
    except (KeyError, ValueError, TypeError, EOFError) as error:
        raise DataError(f"{path} is not a saved frontier ({error}).") from error


def mark_of(net: Network, rows: tuple[Point, ...]) -> str:
    """Hash of the domain's rows and of the network: wiring, shapes and weights, bit by bit."""
    return hashlib.sha256(f"{network_hash(net)} {rows!r}".encode()).hexdigest()
