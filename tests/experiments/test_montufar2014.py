"""Figures of Montúfar et al. (2014): what the paper proves holds in exact counts."""

import math
from importlib import import_module

import pytest

from plica.core.progress import Progress
from plica.errors import BudgetReached
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


def test_regions_per_parameter(tmp_path):
    claims, (panel,), _ = made("parameters", tmp_path)
    assert all(claim.holds for claim in claims)
    deep, wide = panel.series.values()
    # by hand: one layer of 8 units on 2 inputs has 24 parameters and at most 1 + 8 + 28 regions; two have 24 + 72
    assert (deep[1, 0], wide[1, 0]) == pytest.approx((37 / 24, 37 / 24))
    assert (deep[1, 1], wide[1, 1]) == pytest.approx((16 * 37 / 96, (1 + 16 + 120) / 48))


def test_convolutions_are_dense_layers_written_out(tmp_path):
    claims, (panel,), _ = made("convolutions", tmp_path)
    judged = [claim.holds for claim in claims if claim.holds is not None]
    assert len(judged) == 4 and all(judged)
    conv, _, upper = (values[1] for values in panel.series.values())
    assert (conv > 1).all() and (conv <= upper).all()


def test_small_changes_keep_every_linear_region(tmp_path):
    claims, (panel,), _ = made("stability", tmp_path)
    judged = [claim.holds for claim in claims if claim.holds is not None]
    assert judged == [True] * 3
    assert claims[0].paper == f"at least {16 * 7}" and claims[2].paper == "at least 16"
    shares = panel.series["random weights, 2-8-8-1"]
    assert shares[1:, 0].tolist() == [1.0] * 3 and shares[2].min() < 1.0


@pytest.mark.parametrize("name", ["fig2", "fig3", "fig5", "fig6", "fig10"])
def test_what_the_figures_claim_holds(name, tmp_path):
    claims, panels, _ = made(name, tmp_path)
    judged = [claim.holds for claim in claims if claim.holds is not None]
    assert panels and len(judged) >= 2 and all(judged)


def test_two_layers_can_have_more_pieces_than_one(tmp_path):
    """By hand: 1 + 20 + 190 for twenty lines; 5 x 5 folds of the 1 + 10 + 45 pieces of ten lines."""
    module = import_module("plica.experiments.montufar2014.sinusoid")
    shallow, deep = module._reach(Setting(models=tmp_path), 200)
    assert (shallow.paper, shallow.plica, shallow.holds) == ("at most 211 (Zaslavsky)", "200", True)
    assert (deep.plica, deep.holds) == ("1,400", True)
    assert module._reach(Setting(models=tmp_path), 212)[0].holds is False


def test_what_a_budget_cut_short_is_not_compared(tmp_path):
    (row,) = [row for row in FIGURES if row.name == "fig6"]
    with pytest.raises(BudgetReached, match="The time ended"):
        row.make(Setting(models=tmp_path, progress=Progress(max_seconds=0.0)))


def test_the_sum_of_rectifiers_as_printed_does_not_fold(tmp_path):
    claims, _, standing = made("fig4", tmp_path)
    assert standing == "rigorous"
    assert [claim.holds for claim in claims] == [True] * 6 + [False]
