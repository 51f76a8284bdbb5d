"""What a budget leaves undone in the plane, as plain arrays that can be saved and taken up again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from plica.analyses.regions.planar_rows import FormBound, Rows
from plica.analyses.regions.planar_state import Chunk, Found, Polygons, Waiting
from plica.analyses.regions.solid_frontier import check_mark, read_arrays, write_arrays


@dataclass(frozen=True, eq=False)
class PlanarFrontier:
    """Cells that wait for their next stage, and what was counted before.

    Attributes
    ----------
    waiting : tuple of Waiting
    count : int
        Regions that are done.
    layers : tuple of int
        Cells after every choice node so far.
    mark : str
        Of the network and domain that it belongs to, see `plica.analyses.regions.solid_frontier.mark_of`.
    """

    waiting: tuple[Waiting, ...]
    count: int
    layers: tuple[int, ...]
    mark: str

    def __len__(self) -> int:
        return sum(len(w.chunk.polygons) for w in self.waiting)

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
        out = {"size": np.array(len(self.waiting)), "count": np.array(str(self.count)), "mark": np.array(self.mark)}
        out["layers"] = np.array(self.layers, np.int64)
        for i, waiting in enumerate(self.waiting):
            out |= {f"{i}.{name}": a for name, a in _arrays_of(waiting).items()}
        return out

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> PlanarFrontier:
        """The frontier of `arrays`."""
        waiting = []
        for i in range(int(arrays["size"])):
            head = f"{i}."
            waiting.append(_waiting_of({k[len(head) :]: a for k, a in arrays.items() if k.startswith(head)}))
        layers = tuple(int(n) for n in arrays["layers"])
        return cls(tuple(waiting), int(str(arrays["count"])), layers, str(arrays["mark"]))

    def split(self, parts: int) -> Iterator[PlanarFrontier]:
        """The same cells in at most so many frontiers, none empty; with them no regions are done."""
        for i in range(parts):
            part = PlanarFrontier(self.waiting[i::parts], 0, (0,) * len(self.layers), self.mark)
            if len(part):
                yield part

    def save(self, path: str | Path) -> None:
        """Write everything to an .npz file of arrays."""
        write_arrays(path, self.arrays())

    @classmethod
    def load(cls, path: str | Path) -> PlanarFrontier:
        """Read what `save` wrote.

        Raises
        ------
        DataError
            When the file holds something else.
        """
        return read_arrays(path, cls.of)


def _arrays_of(waiting: Waiting) -> dict[str, np.ndarray]:
    """A chunk as arrays."""
    k = waiting.chunk
    p = k.polygons
    out = {
        "path": np.array(waiting.path, np.int64), "stage": np.array([k.stage, k.again]), "base": k.base, "X": k.X,
        "keys": k.keys, "offset": p.offset, "index": p.index, "label": p.label, "words": p.words,
        "row": k.forms.row, "shift": k.forms.offset, "bounds": np.array([k.forms.reach, k.forms.rounding]),
        "source": np.array(k.forms.source),
    }  # fmt: skip
    for name, values in k.rows.values.items():
        out[f"value.{name}"], out[f"error.{name}"], out[f"norm.{name}"] = values, k.rows.error[name], k.rows.norm[name]
    return out


def _waiting_of(arrays: Mapping[str, np.ndarray]) -> Waiting:
    """The chunk of `_arrays_of`."""
    parts = {head: {k[6:]: a for k, a in arrays.items() if k.startswith(f"{head}.")} for head in ("value", "error")}
    norm = {k[5:]: a for k, a in arrays.items() if k.startswith("norm.")}
    polygons = Polygons(arrays["offset"], arrays["index"], arrays["label"], arrays["words"])
    stage, again = (int(v) for v in arrays["stage"])
    rows = Rows(parts["value"], parts["error"], norm)
    reach, rounding = (float(v) for v in arrays["bounds"])
    forms = FormBound(arrays["row"], arrays["shift"], reach, str(arrays["source"]), rounding)
    chunk = Chunk(stage, rows, arrays["base"], forms, bool(again), arrays["X"], arrays["keys"], polygons)
    return Waiting(chunk, tuple(int(v) for v in arrays["path"]))


def found_arrays(found: Sequence[Found]) -> dict[str, np.ndarray]:
    """Finished chunks as plain arrays, for `found_of`: one after the other, `sizes` tells where each ends."""
    polygons = [f.polygons for f in found]
    sizes = [(len(f.X), len(p), len(p.index), len(f.path)) for f, p in zip(found, polygons, strict=True)]
    parts = {
        "path": [np.array(f.path, np.int64) for f in found], "X": [f.X for f in found], "keys": [f.keys for f in found],
        "corners": [np.diff(p.offset).astype(np.int32) for p in polygons],
        "index": [p.index.astype(np.int32) for p in polygons], "label": [p.label for p in polygons],
        "words": [p.words for p in polygons],
    }  # fmt: skip
    joined = {name: np.concatenate(own) for name, own in parts.items() if own}
    return {"sizes": np.array(sizes, np.int64).reshape(-1, 4)} | joined


def found_of(arrays: Mapping[str, np.ndarray]) -> list[Found]:
    """The chunks of `found_arrays`."""
    ends, found = np.vstack([np.zeros((1, 4), np.int64), np.cumsum(arrays["sizes"], axis=0)]), []
    for start, end in pairwise(ends.tolist()):
        vertex, cell, side, step = (slice(a, b) for a, b in zip(start, end, strict=True))
        offset = np.concatenate([[0], np.cumsum(arrays["corners"][cell], dtype=np.int64)])
        polygons = Polygons(
            offset, arrays["index"][side].astype(np.int64), arrays["label"][side], arrays["words"][cell]
        )
        found.append(Found(arrays["X"][vertex], arrays["keys"][vertex], polygons, tuple(arrays["path"][step].tolist())))
    return found
