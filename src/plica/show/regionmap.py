"""The region map: a plane of regions as a payload for the page's own WebGL engine, and as a still picture."""

from __future__ import annotations

import base64
import gzip
import io
import json
from dataclasses import dataclass

import numpy as np

STEPS = 1 << 30  # fixed-point steps of the longer side: a corner is off by at most its 2^31st part
MAP_BYTES = 6_000_000  # of affine maps, above which the page shows the call instead
BIT_BYTES = 12_000_000  # of patterns, likewise
STILL = 20_000  # largest regions drawn in the still picture

# Tol muted and grey: smallest distance for the colour-blind 15.6. The engine has the same table.
HUES = ("#332288", "#cc6677", "#117733", "#ddcc77", "#88ccee", "#882255", "#44aa99", "#999933", "#aa4499", "#dddddd")


@dataclass(frozen=True, eq=False)
class RegionPicture:
    """Convex regions of a plane, and what is known of each.

    Attributes
    ----------
    corners : ndarray, shape (V, 2)
        Coordinates in the plane.
    start : ndarray of int, shape (n + 1,)
        Where the corners of every region begin in `loop`.
    loop : ndarray of int
        Corner numbers of region after region, in their order around it.
    label : ndarray of int, shape (n,)
        Class at the middle of every region.
    classes : tuple of str
        Their names.
    gain : ndarray, shape (n,)
        Largest singular value of the region's map from the plane.
    active : ndarray of int, shape (n,)
        Number of units that are on.
    layers : tuple of (str, int)
        Name and number of units of every choice layer.
    bits : ndarray of uint8, shape (n, ceil(units / 8)), optional
        Which units are on, the first in the lowest bit.
    pairs, across : ndarray of int, shapes (m, 2) and (m,), optional
        Regions that share a facet, and the unit that changes there; -1 for several.
    maps : ndarray, shape (n, outputs, 3), optional
        output = a s + b t + c.
    points : tuple of (str, (float, float))
        Marks to draw, such as the images that the plane passes through.
    call : str
        Python that gives the map of region {}.
    """

    corners: np.ndarray
    start: np.ndarray
    loop: np.ndarray
    label: np.ndarray
    classes: tuple[str, ...]
    gain: np.ndarray
    active: np.ndarray
    layers: tuple[tuple[str, int], ...]
    bits: np.ndarray | None = None
    pairs: np.ndarray | None = None
    across: np.ndarray | None = None
    maps: np.ndarray | None = None
    points: tuple[tuple[str, tuple[float, float]], ...] = ()
    call: str = ""

    @property
    def count(self) -> int:
        """Number of regions."""
        return len(self.start) - 1

    def areas(self) -> np.ndarray:
        """Area of every region, by the shoelace formula about its first corner."""
        owner = np.repeat(np.arange(self.count), np.diff(self.start))
        here = self.corners[self.loop] - self.corners[self.loop[self.start[:-1]]][owner]
        after = np.arange(1, len(self.loop) + 1)
        after[self.start[1:] - 1] = self.start[:-1]
        twice = here[:, 0] * here[after, 1] - here[:, 1] * here[after, 0]
        return np.abs(np.bincount(owner, twice, self.count)) / 2


def payload(picture: RegionPicture) -> str:
    """What the engine reads: a JSON head and raw arrays, gzip, base64.

    Parameters
    ----------
    picture : RegionPicture

    Returns
    -------
    str
        About 45 bytes a region.
    """
    low, high = picture.corners.min(0), picture.corners.max(0)
    step = float((high - low).max()) / STEPS
    areas = picture.areas()
    arrays = {
        "corners": np.rint((picture.corners - low) / step).astype(np.int32),
        "start": picture.start.astype(np.uint32),
        "loop": picture.loop.astype(np.uint32),
        "label": picture.label.astype(np.uint16),
        "gain": picture.gain.astype(np.float32),
        "size": (areas / areas.sum()).astype(np.float32),
        "active": picture.active.astype(np.uint16),
    }
    if picture.bits is not None and picture.bits.nbytes <= BIT_BYTES:
        arrays["bits"] = picture.bits
    if picture.pairs is not None:
        arrays |= _beside(picture)
    if picture.maps is not None and 4 * picture.maps.size <= MAP_BYTES:
        arrays["maps"] = picture.maps.astype(np.float32)
    head = {
        "count": picture.count, "units": sum(n for _, n in picture.layers), "layers": picture.layers,
        "classes": picture.classes, "outputs": 0 if picture.maps is None else picture.maps.shape[1],
        "origin": low.tolist(), "step": step, "full": ((high - low) / step).tolist(), "mapcall": picture.call,
        "pairs": picture.pairs is not None,
        "points": [{"name": name, "at": ((np.array(at) - low) / step).tolist()} for name, at in picture.points],
    }  # fmt: skip
    return base64.b64encode(gzip.compress(_packed(head, arrays), 6, mtime=0)).decode("ascii")


def _beside(picture: RegionPicture) -> dict[str, np.ndarray]:
    """Neighbours of every region, one after the other."""
    assert picture.pairs is not None
    both = np.concatenate([picture.pairs, picture.pairs[:, ::-1]])
    unit = np.full(len(picture.pairs), -1) if picture.across is None else picture.across
    order = np.lexsort((both[:, 1], both[:, 0]))
    first = np.concatenate([[0], np.bincount(both[:, 0], minlength=picture.count).cumsum()])
    names = ("first", "beside", "across")
    values = (first.astype(np.uint32), both[order, 1].astype(np.uint32), np.tile(unit, 2)[order].astype(np.int32))
    return dict(zip(names, values, strict=True))


def _packed(head: dict, arrays: dict[str, np.ndarray]) -> bytes:
    """Length of the head, the head, the arrays, each at a multiple of 8 bytes."""
    table: dict[str, tuple[str, int, int]] = {}
    body, at = [], 0
    for name, values in arrays.items():
        table[name] = (str(values.dtype), at, values.size)
        raw = np.ascontiguousarray(values).tobytes()
        body.append(raw + bytes(-len(raw) % 8))
        at += len(body[-1])
    size = _head_size({**head, "arrays": table})
    shifted = {name: (kind, 4 + size + offset, length) for name, (kind, offset, length) in table.items()}
    text = json.dumps({**head, "arrays": shifted}).encode()
    return size.to_bytes(4, "little") + text.ljust(size) + b"".join(body)


def _head_size(head: dict) -> int:
    """Room for the head once offsets are in it, such that the arrays begin at a multiple of 8."""
    room = len(json.dumps(head).encode()) + 16 * len(head["arrays"])
    return room + (-(room + 4)) % 8


def still(picture: RegionPicture, *, dpi: int = 110) -> str:
    """The regions by class as a PNG in a data address: for print, for pages without WebGL or scripts.

    The largest regions have outlines; the rest are drawn in their class's colour without one.
    """
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure

    order = np.argsort(picture.areas())[::-1][:STILL]
    shapes = [picture.corners[picture.loop[picture.start[r] : picture.start[r + 1]]] for r in order]
    figure = Figure(figsize=(7.2, 6.2), dpi=dpi)
    axes = figure.add_axes((0, 0, 1, 1))
    colours = [HUES[int(k) % len(HUES)] for k in picture.label[order]]
    axes.add_collection(PolyCollection(shapes, facecolors=colours, edgecolors="black", linewidths=0.15))
    for name, at in picture.points:
        axes.plot(*at, "o", color="black", markeredgecolor="white", markersize=8)
        axes.annotate(name, at, (7, 7), textcoords="offset points", weight="bold")
    axes.set(xlim=(picture.corners[:, 0].min(), picture.corners[:, 0].max()), aspect="equal")
    axes.set_ylim(picture.corners[:, 1].min(), picture.corners[:, 1].max())
    axes.set_axis_off()
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode("ascii")
