"""Fig. 6 and Example 9: maxout layers whose regions are those of the Shi and Catalan arrangements."""

from __future__ import annotations

from plica.analyses.regions.constructions import catalan_network, shi_network
from plica.core.domain import Box, Plane
from plica.core.result import Standing
from plica.experiments.figure import Claim, Made, Panel, Setting
from plica.experiments.montufar2014.whole import all_regions, number_of

WIDE = 3.0  # half the window; every region of both arrangements reaches into it


def shi(setting: Setting) -> Made:
    """Fig. 6: the section x1 + x2 + x3 = 1 through the Shi arrangement, and through the Catalan arrangement."""
    section = Plane([1 / 3, 1 / 3, 1 / 3], [[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]],
                    Box([-WIDE, -WIDE], [WIDE, WIDE]))  # fmt: skip
    claims, panels = [], []
    for name, built, paper in (("Shi", shi_network(3), 16), ("Catalan", catalan_network(3), 30)):
        found = number_of(built.network, None, setting)
        cut = all_regions(built.network, section, setting)
        claims += [
            Claim(f"{name} arrangement of 3 variables: regions", f"{paper}", f"{found}", found == paper),
            Claim(f"all of them meet the section x1 + x2 + x3 = 1 ({name})", "drawn so", f"{cut.count} of {found}",
                  cut.count == found, "The hyperplanes do not change along (1, 1, 1)."),
        ]  # fmt: skip
        areas = {f"_{'abcdefghij'[i % 10]}{i}": cut.region(i).T for i in range(cut.count)}
        panels.append(Panel("areas", f"{name}: {cut.count} regions", areas, "first", "second"))
    return claims, panels, Standing.RIGOROUS
