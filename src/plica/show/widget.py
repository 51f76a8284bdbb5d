"""The region map in a notebook: the report's engine in a frame of its own, with a still picture beside it."""

from __future__ import annotations

import html
import os
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from plica.errors import ArgumentError
from plica.show.regionmap import Points, picture_of, still
from plica.show.regionpack import payload
from plica.store import whole_file

if TYPE_CHECKING:
    from plica.analyses.regions.result import RegionsResult

AT_ONCE = 20_000  # regions that a notebook shows without being asked: about half a megabyte
HEIGHT = 780  # of the frame, in pixels
CALL = "regions.matrices[{}], regions.offsets[{}]"
NAMES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, eq=False)
class RegionMap:
    """The interactive map of regions in a plane.

    Attributes
    ----------
    result : RegionsResult
        In two dimensions.
    points : array, shape (n, 2), optional
        Marked A, B, C ..., in the plane's coordinates.
    height : int
        Of the frame in a notebook, in pixels.

    Raises
    ------
    ArgumentError
        For regions that are not in a plane, or none.
    """

    result: RegionsResult
    points: npt.ArrayLike | None = None
    height: int = HEIGHT

    def __post_init__(self) -> None:
        if self.result.dimension != 2 or not self.result.count:
            raise ArgumentError(
                f"show: a map is drawn of regions in a plane; these are {self.result.count} in "
                f"{self.result.dimension} dimensions. Find those on a slice, plica.Plane.through(points)."
            )

    def page(self) -> str:
        """The map as one self-contained HTML page; it makes no request."""
        drawn = picture_of(self.result, self._marks(), CALL)
        words = f"{self.result.count:,} regions: {self.result.standing}, {self.result.completeness}"
        return _template().render(picture=still(drawn), data=payload(drawn), words=words, **_sources())

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page to a file, .html."""
        target = Path(path)
        if target.suffix != ".html":
            raise ArgumentError(f"'{path}': the map is written as .html; for .png, .svg, .pdf use plot().")
        with whole_file(target) as file:
            file.write(self.page().encode())
        return target

    def _repr_html_(self) -> str:
        page = html.escape(self.page(), quote=True)
        return (
            f'<iframe srcdoc="{page}" sandbox="allow-scripts allow-downloads" title="Map of the regions" '
            f'style="width: 100%; height: {self.height}px; border: 0"></iframe>' + _still(self.result, self._marks())
        )

    def _marks(self) -> Points:
        if self.points is None:
            return ()
        places = np.asarray(self.points, dtype=np.float64).reshape(-1, 2)
        return tuple((NAMES[k % len(NAMES)], (float(a), float(b))) for k, (a, b) in enumerate(places))


def framed(result: RegionsResult) -> str:
    """What a notebook shows of regions besides the table: the map, or for very many a still picture; else nothing."""
    if result.dimension != 2 or not result.count:
        return ""
    if result.count > AT_ONCE:
        return f"<p>{result.count:,} regions: <code>.show()</code> draws the interactive map.</p>" + _still(result, ())
    return RegionMap(result)._repr_html_()


def _still(result: RegionsResult, marks: Points) -> str:
    """For viewers that drop frames and scripts."""
    opened = " open" if result.count > AT_ONCE else ""
    picture = still(picture_of(result, marks, CALL), dpi=80)
    return (
        f"<details{opened}><summary>Still picture</summary>"
        f'<img src="{picture}" alt="{result.count:,} regions of a plane" style="max-width: 100%"></details>'
    )


@cache
def _sources() -> dict[str, str]:
    folder = files("plica.show") / "templates"
    return {name: (folder / file).read_text(encoding="utf-8")
            for name, file in (("css", "report.css"), ("own", "regionmap.css"), ("js", "regionmap.js"))}  # fmt: skip


@cache
def _template() -> Any:
    from jinja2 import Environment, PackageLoader

    return Environment(loader=PackageLoader("plica.show"), autoescape=False).get_template("widget.html.j2")
