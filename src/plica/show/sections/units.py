"""Units: what single units of a layer see, beside random directions of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from markupsafe import Markup

from plica.analyses.units.maximisers import MaximisersResult
from plica.analyses.units.result import EqualActivationResult, UnitClustersResult
from plica.core.result import Completeness, Result, Standing
from plica.show import charts
from plica.show.data import ModelPart, ReportData, completeness_of, standing_of
from plica.show.finding import Finding
from plica.show.pictures import data_uri
from plica.show.sections.view import Section, View, csv_uri
from plica.show.words import number, plural, slug

LINK = ("units", "Units")
NEAR = 1e-9  # distances below this are not told
SURE = 2.0  # standard errors by which two means have to differ
WIDE, LEFT, ROW, TOP = 520, 120, 34, 26  # of the chart, in its own units

Pair = tuple[MaximisersResult, MaximisersResult]


def units_view(data: ReportData) -> View | None:
    """Purity of units and of random directions, strongest images, templates, points of equal activity."""
    parts = [part for part in data.models if _pairs(part)]
    if not parts:
        return None
    kinds = (MaximisersResult, UnitClustersResult, EqualActivationResult)
    results: tuple[Result, ...] = tuple(r for p in parts for r in p.results if isinstance(r, kinds))
    return View(
        " ".join(_sentence(part.name, _pairs(part)[-1]) for part in parts),
        "For a unit, or for a random mixture of all units of its layer, take the images that stimulate it most. How "
        "alike they are is measured by their purity: the share of the most frequent class among them. If mixtures are "
        "as pure as units, meaning is in the layer and not in its units (Szegedy et al. 2013).",
        standing_of(results),
        completeness_of(results),
        "plica.maximisers(net, images, layer=layer, labels=labels)\n"
        "plica.maximisers(net, images, layer=layer, directions='gaussian', labels=labels)\n"
        "plica.unit_maps(net, images, layer=layer)",
        {"models": [_model(part) for part in parts]},
    )


def _pairs(part: ModelPart) -> list[Pair]:
    """Single units and random directions of every layer, in order."""
    found = part.of(MaximisersResult)
    other = {r.layer: r for r in found if r.kind == "gaussian"}
    pairs = [(r, other[r.layer]) for r in found if r.kind == "natural" and r.layer in other]
    return [pair for pair in pairs if all(len(r.told) for r in pair)]


def _mean(result: MaximisersResult) -> float:
    return float(result.told.mean())


def _gap(pair: Pair) -> tuple[float, float]:
    """Mean purity of units less that of random directions, and its standard error."""
    a, b = (r.told for r in pair)
    spread = sum(float(v.var(ddof=1)) / len(v) if len(v) > 1 else 1.0 for v in (a, b))
    return float(a.mean() - b.mean()), math.sqrt(spread)


def _sentence(name: str, pair: Pair) -> str:
    """What follows for one who looks at single units."""
    gap, error = _gap(pair)
    units, random = (f"{_mean(r):.2f}" for r in pair)
    numbers = f"purity {units} of units, {random} of random directions, {pair[0].baseline[0]:.2f} by chance"
    if gap > SURE * error:
        return f"At {pair[0].layer} of {name} single units are purer than random directions ({numbers}): look at units."
    if gap < -SURE * error:
        words = "random directions are purer than single units"
    else:
        words = "random directions are as pure as single units"
    return f"At {pair[0].layer} of {name} {words} ({numbers}): read the layer as a whole, not unit by unit."


def _model(part: ModelPart) -> dict[str, Any]:
    pairs = _pairs(part)
    last = pairs[-1]
    header = ["layer", "units", "purity of units", "of random directions", "of random images", "from", "to"]
    rows = [[a.layer, len(a.told), *(f"{v:.4f}" for v in (_mean(a), _mean(b), *a.baseline))] for a, b in pairs]
    dead = len(last[0].purity) - len(last[0].told)
    return {
        "name": part.name, "slug": slug(part.name), "svg": _chart(pairs), "csv": csv_uri(header, rows),
        "csv_name": f"{slug(part.name)}-units.csv", "of": str(last[0].header.get("of", "label")),
        "count": plural(len(last[0].told), "unit"), "dead": dead, "top": last[0].images.shape[1],
        "layer": last[0].layer, "strips": [*_strips(last[0], "unit"), *_strips(last[1], "random direction")],
        "templates": _templates(part), "equal": _equal(part),
    }  # fmt: skip


def _chart(pairs: list[Pair]) -> Markup:
    """A row for each layer: a disc for units, a square for random directions, a strip for random images."""
    high = TOP + ROW * len(pairs)
    x = lambda purity: LEFT + (WIDE - LEFT - 20) * purity  # noqa: E731
    words = "; ".join(f"{a.layer}: units {_mean(a):.2f}, random directions {_mean(b):.2f}" for a, b in pairs)
    parts = [f'<svg viewBox="0 0 {WIDE} {high + 26}" role="img" aria-label="Purity. {words}" class="purity">']
    for k, (a, b) in enumerate(pairs):
        y = TOP + ROW * k
        mean, low, top = (x(v) for v in a.baseline)
        parts.append(
            Markup('<text x="{}" y="{}" text-anchor="end" class="name">{}</text>').format(LEFT - 10, y + 5, a.layer)
        )
        parts += [
            f'<line x1="{x(0):.1f}" x2="{x(1):.1f}" y1="{y}" y2="{y}" class="axis"/>',
            f'<rect x="{low:.1f}" y="{y - 9}" width="{max(top - low, 1):.1f}" height="18" class="chance"/>',
            f'<line x1="{mean:.1f}" x2="{mean:.1f}" y1="{y - 9}" y2="{y + 9}" class="chance-mean"/>',
            f'<rect x="{x(_mean(b)) - 5:.1f}" y="{y - 5}" width="10" height="10" class="mixed"/>',
            f'<circle cx="{x(_mean(a)):.1f}" cy="{y}" r="6" class="unit"/>',
        ]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(f'<text x="{x(tick):.1f}" y="{high + 14}" text-anchor="middle" class="tick">{tick:g}</text>')
    return Markup("".join([*map(str, parts), "</svg>"]))


def _strips(result: MaximisersResult, what: str) -> list[dict[str, Any]]:
    """The strongest images of some directions."""
    out = []
    units = result.header.get("units") or []
    for k, pictures in zip(result.header.get("shown", []), result.header.get("pictures", []), strict=True):
        name = f"{what} {units[k]}" if units else f"{what} {k + 1}"
        labels = [str(int(v)) for v in result.labels[k]]
        uris = [data_uri(np.array(p, np.uint8)) for p in pictures]
        out.append({
            "name": name, "purity": f"{result.purity[k]:.2f}", "images": list(zip(uris, labels, strict=True)),
        })  # fmt: skip
    return out


def _templates(part: ModelPart) -> dict[str, Any] | None:
    """Templates of the unit with the most different ones."""
    found = next((r for r in part.of(UnitClustersResult) if len(r.units)), None)
    if found is None or part.image_shape is None:
        return None
    k = int(found.order[0])
    maps = [m for m, member in zip(found.representatives[k], found.members[k], strict=True) if member >= 0]
    if len(maps) < 2:
        return None
    most = max(float(np.abs(m).max()) for m in maps) or 1.0
    shape = part.image_shape
    cards = [
        (data_uri(_signed(m / most, shape)), int(n), int(i))
        for m, n, i in zip(maps, found.sizes[k], found.members[k], strict=False)
    ]
    return {"unit": int(found.units[k]), "layer": found.layer, "cards": cards, "spread": number(float(found.spread[k]))}


def _signed(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers in [-1, 1] as pixels around mid-grey; colours are averaged."""
    grid = np.asarray(values, dtype=np.float64).reshape(shape)
    if grid.ndim == 3:
        grid = grid.mean(2 if shape[-1] in (1, 3) else 0)
    return np.rint(127.5 + 127.5 * grid).astype(np.uint8)


def _equal(part: ModelPart) -> dict[str, Any] | None:
    """Points of equal activity beside the images that they come from."""
    found = next((r for r in part.of(EqualActivationResult) if len(r.points) and r.header.get("after")), None)
    if found is None:
        return None
    uris = [[data_uri(np.array(p, np.uint8)) for p in found.header[key]] for key in ("before", "after")]
    rows = zip(*uris, found.sources, found.before, found.distances, strict=True)
    cards = [
        {
            "before": a,
            "after": b,
            "image": int(i),
            "value": number(float(v)),
            "distance": number(float(d)) if d > NEAR else f"less than {NEAR:g}",
        }
        for a, b, i, v, d in rows
    ]
    return {"unit": found.unit, "layer": found.layer, "level": number(found.level), "cards": cards,
            "standing": found.standing, "completeness": found.completeness}  # fmt: skip


def _finding(data: ReportData) -> Iterator[Finding]:
    for part in data.models:
        for pair in _pairs(part)[-1:]:
            gap, error = _gap(pair)
            purer = gap > SURE * error
            yield Finding(
                f"{_mean(pair[0]):.2f}", f"purity of units, {_mean(pair[1]):.2f} of mixtures",
                _sentence(part.name, pair),
                f"What stimulates a unit tells {'more' if purer else 'no more'} than what stimulates a mixture.",
                Markup(charts.spark(pair[0].told, f"Purity of {plural(len(pair[0].told), 'unit')}")),
                Standing(pair[0].standing), Completeness(pair[0].completeness), *LINK, 0.2,
            )  # fmt: skip


SECTION = Section(*LINK, "units.html.j2", units_view, (_finding,))
