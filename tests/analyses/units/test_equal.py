"""equal_activation: the exact points have exactly the level, by an oracle in rationals."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import zoo
from oracles import networks as oracle
from plica.analyses.units import equal_activation
from plica.core.domain import Box
from plica.core.progress import Progress
from plica.core.result import Completeness, Standing
from plica.errors import ArgumentError


@pytest.mark.parametrize("kind", zoo.KINDS)
@pytest.mark.parametrize("degenerate", [True, False])
def test_exactly_equal_in_rationals(kind, degenerate):
    data, draw = zoo.random_net(kind, 4, degenerate=degenerate)
    net = zoo.build(data)
    x = np.stack([draw.rng.normal(size=net.input_shape) * 2 for _ in range(60)])
    values = net(x).flatten(1).numpy()
    unit = int(np.argmax([len(np.unique(v.round(9))) for v in values.T]))
    level = float(np.median(values[:, unit]))
    result = equal_activation(net, x, layer=net.output, unit=unit, level=level)
    assert result.standing is Standing.CERTIFIED
    assert len(result.sources) >= 1 or not degenerate or np.ptp(values[:, unit]) == 0
    exact = [oracle.output(data, result.exact_point(i))[unit] for i in range(len(result.sources))]
    assert exact == [Fraction(level)] * len(exact)
    assert np.abs(result.errors).max(initial=0) < 1e-9
    assert len(set(net.upto(net.output).pattern(result.points).keys())) == len(result.points)
    assert np.allclose(result.before, values[result.sources, unit])


def test_the_level_may_be_out_of_reach():
    net = zoo.build(zoo.chain((1,), ("dense", {"W": [[1.0]]}), ("abs", {})))
    result = equal_activation(net, [[1.0], [-2.0]], layer=-1, unit=0, level=-1.0)
    assert len(result.sources) == 0
    assert "0 of 3 points" in result.reason
    found = equal_activation(net, [[1.0], [-2.0], [3.0]], layer=-1, unit=0, level=2.5)
    assert sorted(found.points[:, 0].tolist()) == [-2.5, 2.5]
    assert "2 of 3 points" in repr(found)


def test_points_stay_in_the_box():
    data, draw = zoo.random_net("conv", 1, degenerate=False)
    net = zoo.build(data).within(Box(np.zeros(6), np.ones(6)))
    x = np.clip(np.stack([draw.rng.normal(size=(1, 2, 3)) for _ in range(40)]), 0, 1)
    values = net(x).numpy()[:, 0]
    result = equal_activation(net, x, layer=-1, unit=0, level=float(np.quantile(values, 0.6)), count=2)
    assert len(result.sources) == 2
    for part in (result.low, result.high):
        assert part.min() >= 0
        assert part.max() <= 1
    for i in range(2):
        assert oracle.output(data, result.exact_point(i))[0] == Fraction(result.level)


def test_the_default_level_is_the_median_of_the_positive_values():
    net = zoo.build(zoo.chain((2,), ("dense", {"W": [[1.0, 0.0]]}), ("relu", {})))
    x = [[1.0, 0.0], [2.0, 0.0], [7.0, 0.0], [-9.0, 0.0]]
    result = equal_activation(net, x, layer=-1, unit=0, count=1)
    assert result.level == 2.0
    assert result.distances.tolist() == [0.0]
    assert result.maps.tolist() == [[1.0, 0.0]]
    with pytest.raises(ArgumentError, match="positive at none"):
        equal_activation(net, [[-1.0, 0.0]], layer=-1, unit=0)


def test_before_the_choice_an_inactive_unit_moves_too():
    net = zoo.build(zoo.chain((2,), ("dense", {"W": [[1.0, 1.0]]}), ("relu", {})))
    assert len(equal_activation(net, [[-1.0, -1.0]], layer=-1, unit=0, level=1.0).sources) == 0
    found = equal_activation(net, [[-1.0, -1.0]], layer=-1, unit=0, level=1.0, side="pre")
    assert found.points.tolist() == [[0.5, 0.5]]


def test_budget_and_bad_input():
    net = zoo.build(zoo.chain((2,), ("dense", {"W": [[1.0, 1.0]]}), ("relu", {})))
    with pytest.raises(ArgumentError, match="has the units 0 to 0"):
        equal_activation(net, [[1.0, 1.0]], layer=-1, unit=1)
    stopped = equal_activation(net, [[1.0, 1.0]], layer=-1, unit=0, level=1.0, progress=Progress(max_seconds=0.0))
    assert stopped.completeness is Completeness.BUDGET
    assert "stopped" in stopped.reason
