"""Figures of Montúfar et al. (2014): what the paper proves holds in exact counts."""

import math

import pytest

from plica.experiments.figure import Setting
from plica.experiments.montufar2014 import FIGURES


def made(name, tmp_path):
    (row,) = [row for row in FIGURES if row.name == name]
    claims, panels, standing = row.make(Setting(models=tmp_path))
    return list(claims), list(panels), standing


def test_no_bound_is_passed_and_constructions_attain_theirs(tmp_path):
    claims, panels, standing = made("bounds", tmp_path)
    assert standing == "rigorous" and len(panels) == 2
    judged = [claim for claim in claims if claim.holds is not None]
    assert all(claim.holds for claim in judged)
    held = {claim.what: claim for claim in claims}
    # eq. (7) by hand: groups of 2 and 3, 2 and 2 units; then three lines in general position
    assert held["construction: eq. (7), 2-5-4-3"].plica == str(2 * 3 * 2 * 2 * (1 + 3 + 3))
    assert held["construction: Example 9: Catalan arrangement of 3 variables"].plica == str(math.factorial(3) * 5)
    # one layer of six lines in general position, always attained
    assert held["2-6: Zaslavsky"].plica.startswith(f"{1 + 6 + 15} ")
    assert sum("Theorem 8" in claim.what for claim in judged) >= 2


@pytest.mark.parametrize("name", ["fig2", "fig3", "fig5", "fig6", "fig10"])
def test_what_the_figures_claim_holds(name, tmp_path):
    claims, panels, _ = made(name, tmp_path)
    judged = [claim.holds for claim in claims if claim.holds is not None]
    assert panels and len(judged) >= 2 and all(judged)


def test_the_sum_of_rectifiers_as_printed_does_not_fold(tmp_path):
    claims, _, standing = made("fig4", tmp_path)
    assert standing == "rigorous"
    assert [claim.holds for claim in claims] == [True] * 6 + [False]
