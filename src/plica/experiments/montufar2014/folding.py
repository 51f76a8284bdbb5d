"""Figs 2 to 5: space folded along axes and along skew lines, and what is identified by it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from plica.analyses.regions.chain import Chain
from plica.analyses.regions.constructions import absolute_value_network, fold_line, folding_network
from plica.analyses.regions.neighbourhoods import NeighbourhoodsResult, identified_neighbourhoods
from plica.core.domain import Box
from plica.core.network import Network
from plica.core.result import Standing
from plica.experiments.figure import Claim, Made, Panel, Setting
from plica.experiments.montufar2014.whole import all_regions, number_of


def absolute_values(setting: Setting) -> Made:
    """Fig. 2: two foldings along both axes identify 16 neighbourhoods."""
    built = absolute_value_network(2, 2)
    target = Box([0.1, 0.2], [0.25, 0.4]).polyhedron()
    tree = identified_neighbourhoods(built.network, target, layers=["abs1", "abs2"], domain=built.domain,
                                     progress=setting.progress)  # fmt: skip
    found = number_of(built.network, built.domain, setting)
    sizes = [len(c) for c in tree.counts]
    claims = (
        Claim("|x| identifies the four quadrants", "4", f"{sizes[1]}", sizes[1] == 4),
        Claim("(c) neighbourhoods of the input, eq. (3)", "16", f"{tree.count}", tree.count == 16 == sizes[0]),
        Claim("(b) regions of the input: those on the right, in each fold", "16", f"{found}", found == 16),
    )
    return claims, tuple(_levels(tree)), Standing.NUMERICAL


def skew_network() -> Network:
    """Two foldings along skew lines that do not keep lengths: y = |V x + c| twice."""
    chain = Chain(2)
    chain.affine("units1", [[1.0, 0.25], [-0.5, 1.0]], [0.125, -0.125])
    chain.choose("fold1", "abs")
    chain.affine("units2", [[1.0, -0.5], [0.25, 1.0]], [-0.25, -0.625])
    chain.choose("fold2", "abs")
    return chain.network()


def skew(setting: Setting) -> Made:
    """Fig. 3: identified neighbourhoods differ in size and orientation."""
    net, box = skew_network(), Box([-2.0, -2.0], [2.0, 2.0])
    target = Box([0.1, 0.1], [0.2, 0.25]).polyhedron()
    tree = identified_neighbourhoods(net, target, layers=["fold1", "fold2"], domain=box, progress=setting.progress)
    wide = folded_once_by_two_lengths()
    areas = [_area(corners) for corners in wide.corners[0]]
    listed = all_regions(net, box, setting)
    identified = len(tree.corners[0])
    turned = sorted({round(_angle(corners), 6) for corners in tree.corners[0]})
    claims = (
        Claim("a folding along skew lines identifies neighbourhoods", "more than 1", f"{identified}", identified > 1),
        Claim("their orientations may differ", "differ", f"{len(turned)} orientations", len(turned) > 1),
        Claim("their sizes may differ", "differ", " and ".join(f"{a:.4g}" for a in sorted(areas)),
              max(areas) > 1.5 * min(areas),
              "max(x, -2x) in place of |x|: two slopes, so two sizes; |x| alone keeps the sizes equal."),
    )  # fmt: skip
    cells = {f"_{_letter(i)}{i}": _ring(listed.region(i)) for i in range(listed.count)}
    panel = Panel("areas", f"{listed.count} regions of the two skew foldings", cells, "x1", "x2")
    return claims, (panel, *_levels(tree)), Standing.NUMERICAL


def folded_once_by_two_lengths() -> NeighbourhoodsResult:
    """The folding y = (max{x_1, -2 x_1}, x_2): the left half is half as long."""
    chain = Chain(2)
    chain.affine("units1", [[1.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, 1.0]], np.zeros(4))
    chain.choose("fold1", "maxout", 2)
    target = Box([0.2, 0.2], [0.6, 0.6]).polyhedron()
    return identified_neighbourhoods(chain.network(), target, layers=["fold1"])


def line(setting: Setting) -> Made:
    """Fig. 4: a sum of p rectifiers folds the line p times."""
    claims, series = [], {}
    for p in (2, 3, 5):
        net = _fold(p, 2.0)
        x = np.linspace(-0.5, p, 1 + 4 * (2 * p + 1))[:, None]
        series[f"p = {p}"] = np.stack([x[:, 0], net(x)[:, 0]])
        count = number_of(net, Box([0.0], [float(p)]), setting)
        whole = number_of(net, None, setting)
        corners = net(np.arange(p + 1.0)[:, None])[:, 0]
        onto = bool((np.sort(np.stack([corners[:-1], corners[1:]]), axis=0) == [[0.0], [1.0]]).all())
        claims += [
            Claim(f"p = {p}: linear regions", f"{p}", f"{count} in (0, p), {whole} on the line", count == p,
                  "The paper lists p + 1 intervals: the ray x < 0 is one more." if whole == p + 1 else ""),
            Claim(f"p = {p}: each (k - 1, k) is mapped onto (0, 1)", "all", f"{'all' if onto else 'not all'}", onto),
        ]  # fmt: skip
    printed = _fold(3, 1.0)(np.arange(4.0)[:, None])[:, 0]
    inside = bool(((printed >= 0) & (printed <= 1)).all())
    claims.append(Claim("p = 3 with max{0, 2x - (k - 1)} as printed in s. 3.1 stays in [0, 1]", "yes",
                        f"values {', '.join(f'{v:g}' for v in printed)} at 0, 1, 2, 3", inside,
                        "A slip: appendix B has the kinks at whole numbers, which is 2x - 2(k - 1)."))  # fmt: skip
    panels = [Panel("lines", f"Alternating sum of rectifiers, {name}", {name: drawn}, "x", "sum")
              for name, drawn in series.items()]  # fmt: skip
    return claims, panels, Standing.RIGOROUS


def proof(setting: Setting) -> Made:
    """Fig. 5 and appendix B: parts of one coordinate each, counted by eq. (6) and eq. (7)."""
    built = folding_network(2, [4, 4, 3], join=False)
    target = Box([0.3, 0.3], [0.6, 0.7]).polyhedron()
    tree = identified_neighbourhoods(built.network, target, layers=["fold1", "fold2"], domain=built.domain,
                                     progress=setting.progress)  # fmt: skip
    listed = all_regions(built.network, built.domain, setting, maps=True)
    eq6, eq7 = (2 * 2) ** 2, (2 * 2) ** 2 * 7
    claims = (
        Claim("eq. (6): neighbourhoods mapped onto one, 2-4-4-3", f"{eq6}", f"{tree.count}", tree.count == eq6),
        Claim("eq. (7): activation regions in the box", f"{eq7}", f"{listed.count}", listed.count == eq7),
        Claim("as many linear regions", f"{eq7}", f"{listed.linear_count}", listed.linear_count == eq7,
              "With units that look in alternating directions in the last layer."),
        Claim("the figure illustrates", "Theorem 8", "Theorem 4", None, "A slip of the caption."),
    )  # fmt: skip
    cells = {f"_{_letter(i)}{i}": _ring(listed.region(i)) for i in range(listed.count)}
    panel = Panel("areas", "Regions of the whole network in (0, 2) x (0, 2)", cells, "x1", "x2")
    return claims, (*_levels(tree), panel), Standing.NUMERICAL


def _fold(p: int, gap: float) -> Network:
    """The alternating sum of p rectifiers; `gap` 2 as in appendix B, 1 as printed in s. 3.1."""
    weight, bias, signs, shift, _ = fold_line(p)
    if gap != 2.0:
        bias = -gap * np.arange(p, dtype=np.float64)
    chain = Chain(1)
    chain.affine("units", np.reshape(weight, (p, 1)), bias)
    chain.choose("relu", "relu")
    chain.affine("sum", np.reshape(signs, (1, p)), np.atleast_1d(shift))
    return chain.network()


def _levels(tree: NeighbourhoodsResult) -> Iterator[Panel]:
    """Neighbourhoods of every layer; those that go to one of the next layer share a colour."""
    for level, name in enumerate(tree.layers):
        parents = [max(int(p), 0) for p in tree.parents[level]]
        series = {f"_{_letter(p)}{i}": _ring(corners)
                  for i, (p, corners) in enumerate(zip(parents, tree.corners[level], strict=True))}  # fmt: skip
        yield Panel("areas", f"{name}: {len(parents)} neighbourhoods", series, "first", "second")


def _letter(number: int) -> str:
    """Areas whose names share a letter share a colour."""
    return "abcdefghij"[number % 10]


def _ring(corners: np.ndarray) -> np.ndarray:
    """Corners in order around their middle, shape (2, n)."""
    gap = corners - corners.mean(0)
    return corners[np.argsort(np.arctan2(gap[:, 1], gap[:, 0]))].T


def _area(corners: np.ndarray) -> float:
    """By the shoelace formula."""
    x, y = _ring(corners)
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def _angle(corners: np.ndarray) -> float:
    """Direction of the longest side, in degrees from 0 to 180."""
    ring = _ring(corners)
    sides = np.roll(ring, -1, axis=1) - ring
    longest = sides[:, np.argmax((sides**2).sum(0))]
    return float(np.degrees(np.arctan2(longest[1], longest[0]))) % 180.0
