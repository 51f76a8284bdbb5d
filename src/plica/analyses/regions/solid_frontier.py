"""What a budget leaves undone, as plain arrays that can be saved and taken up again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from plica.analyses.regions.solid_arithmetic import Cells
from plica.analyses.regions.solid_domain import Domain
from plica.analyses.regions.solid_engine import Batch
from plica.core.network import Network
from plica.errors import ArgumentError, DataError


@dataclass(frozen=True, eq=False)
class Frontier:
    """Cells that wait for their next decision, and what was counted before.

    Attributes
    ----------
    batches : tuple of Batch
    count : int
        Regions that are done.
    mark : str
        Of the network and domain that it belongs to, see `mark_of`.
    """

    batches: tuple[Batch, ...]
    count: int
    mark: str

    def __len__(self) -> int:
        return sum(len(b.cells.at) for b in self.batches)

    def checked(self, net: Network, domain: Domain) -> list[Batch]:
        """The batches, for the network and domain that they came from.

        Raises
        ------
        ArgumentError
            For another network or domain.
        """
        if self.mark != mark_of(net, domain):
            raise ArgumentError("resume: this frontier belongs to another network or domain; count from the start.")
        return list(self.batches)

    def save(self, path: str | Path) -> None:
        """Write everything to an .npz file of arrays."""
        arrays = {f"{i}.{name}": a for i, b in enumerate(self.batches) for name, a in b.cells._asdict().items()}
        stages = np.array([b.stage for b in self.batches], np.int64)
        with Path(path).open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays, stages=stages, count=np.array(str(self.count)),
                     mark=np.array(self.mark))  # fmt: skip

    @classmethod
    def load(cls, path: str | Path) -> Frontier:
        """Read what `save` wrote.

        Raises
        ------
        DataError
            When the file holds something else.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                batches = tuple(
                    Batch(int(stage), Cells(*(file[f"{i}.{name}"] for name in Cells._fields)))
                    for i, stage in enumerate(file["stages"])
                )
                return cls(batches, int(str(file["count"])), str(file["mark"]))
        except (KeyError, ValueError, TypeError, EOFError) as error:
            raise DataError(f"{path} is not a saved frontier ({error}).") from error


def mark_of(net: Network, domain: Domain) -> str:
    """Hash of the domain's rows and of the network's outputs at eight fixed points."""
    d = len(domain.size)
    points = np.random.default_rng(0).uniform(-1, 1, (8, d)) * np.where(np.isfinite(domain.size), domain.size, 1.0)
    with torch.no_grad():
        out = net(torch.from_numpy(points).reshape(8, *net.input_shape).to(net.dtype)).double().cpu().numpy()
    digest = hashlib.sha256(domain.rows.tobytes())
    digest.update(repr([(n.name, n.shape) for n in net.nodes]).encode())
    digest.update(np.round(out, 6).tobytes())
    return digest.hexdigest()
