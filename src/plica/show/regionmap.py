"""The region map: what it draws of the regions of a plane, and a still picture of it."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from plica.analyses.regions.result import RegionsResult
from plica.show.regionplot import HUES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Points = tuple[tuple[str, tuple[float, float]], ...]
STILL = 100_000  # largest regions drawn in the still picture
OUTLINED = 1_500  # and those of them with an outline
COLOURS = 48  # of the still picture
ROWS = 1 << 14  # regions whose branches are unpacked at once

CALL = "found = plica.load_result('results/MODEL/regions-0.npz')\nfound.matrices[{}]"


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
    maps: np.ndarray | None = None
    points: Points = ()
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


def picture_of(result: RegionsResult, points: Points = (), call: str = CALL) -> RegionPicture:
    """What the map draws of regions in a plane.

    Parameters
    ----------
    result : RegionsResult
        Two-dimensional, with a region. Classes and gains are drawn where it has `matrices`.
    points : tuple of (str, (float, float))
        Marks, in the plane's coordinates.
    call : str
        Python that gives the map of region {}.
    """
    assert result.dimension == 2 and result.count
    two = [bits == 1 for bits in result.bits]  # choices between two branches: a unit is on or off
    bits, active = _patterns(result, np.repeat(two, result.units))
    label, classes = _classes(result)
    gain = np.zeros(result.count) if result.singular_values is None else result.singular_values[:, 0]
    maps = None
    if result.matrices is not None and result.offsets is not None:
        maps = np.concatenate([result.matrices, result.offsets[:, :, None]], axis=2)
    return RegionPicture(
        corners=result.vertices,
        start=result.first,
        loop=result.corners,
        label=label,
        classes=classes,
        gain=gain,
        active=active,
        layers=tuple((n, k) for n, k, binary in zip(result.layers, result.units, two, strict=True) if binary),
        bits=bits,
        maps=maps,
        points=points,
        call="" if maps is None else call,
    )


def _patterns(result: RegionsResult, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Branches of the units with two, packed, and how many are on, some regions at a time."""
    bits, active = [], []
    for a in range(0, result.count, ROWS):
        on = result.branches(slice(a, a + ROWS))[:, columns] > 0
        bits.append(np.packbits(on, axis=1, bitorder="little"))
        active.append(on.sum(1))
    return np.concatenate(bits), np.concatenate(active)


def _classes(result: RegionsResult) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class at the middle of every region, and the classes' names; one without a name where maps are not known."""
    if result.matrices is None or result.offsets is None:
        return np.zeros(result.count, dtype=int), ("",)
    values = np.einsum("rkd,rd->rk", result.matrices, result.centres()) + result.offsets
    names = tuple(map(str, range(max(values.shape[1], 2))))
    return values.argmax(1) if values.shape[1] > 1 else (values[:, 0] > 0).astype(int), names


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
    axes.add_collection(PolyCollection(shapes, facecolors=colours, edgecolors="face", linewidths=0.1))
    axes.add_collection(PolyCollection(shapes[:OUTLINED], facecolors="none", edgecolors="black", linewidths=0.25))
    for name, at in picture.points:
        axes.plot(*at, "o", color="black", markeredgecolor="white", markersize=8)
        axes.annotate(name, at, (7, 7), textcoords="offset points", weight="bold")
    axes.set(xlim=(picture.corners[:, 0].min(), picture.corners[:, 0].max()), aspect="equal")
    axes.set_ylim(picture.corners[:, 1].min(), picture.corners[:, 1].max())
    axes.set_axis_off()
    return _png_uri(figure)


def _png_uri(figure: Figure) -> str:
    """A figure as a PNG of few colours in a data address."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas, out = FigureCanvasAgg(figure), io.BytesIO()
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[:, :, :3]
    Image.fromarray(np.ascontiguousarray(pixels)).quantize(COLOURS, dither=Image.Dither.NONE).save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode("ascii")
