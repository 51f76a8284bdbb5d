"""Bounded domains in two variables as windows of the planar engine."""

from __future__ import annotations

from plica.analyses.regions.planar_exact import Line, Point, sign
from plica.analyses.regions.planar_state import Window
from plica.analyses.regions.solid_domain import Domain, exact_row


def window_of(domain: Domain) -> Window:
    """The corners of a polygon in counter-clockwise order, exactly, with the line of the side that each begins."""
    points: list[Point] = [(int(x), int(y), int(w)) for x, y, w in domain.solid.points]
    sides: dict[tuple[int, int], Line] = {}
    for i, name in enumerate(domain.solid.rows):
        on = [c for c, tight in enumerate(domain.solid.tight) if tight >> i & 1]
        if len(on) == 2:  # a row that is tight at one corner alone is no side
            a, b, c = (int(v) for v in exact_row(domain, name))
            first, last = on if _goes_along((a, b, c), points[on[0]], points[on[1]]) else on[::-1]
            sides.setdefault((first, last), (a, b, c))
    after = {first: (last, line) for (first, last), line in sides.items()}
    corners, lines, at = [], [], 0
    for _ in points:
        corners.append(points[at])
        at, line = after[at]
        lines.append(line)
    return Window(lines, corners)


def _goes_along(line: Line, p: Point, q: Point) -> bool:
    """Whether the positive side of a line is to the left on the way from p to q."""
    dx, dy = q[0] * p[2] - p[0] * q[2], q[1] * p[2] - p[1] * q[2]
    return sign(line[1] * dx - line[0] * dy) > 0
