"""The comparison of an import with its original: what it finds, and what it explains."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from plica.core.affine import Dense
from plica.core.choice import clip, relu
from plica.core.conv import Conv
from plica.core.network import INPUT, Graph
from plica.errors import ImportMismatch, MemoryBudgetError, ModelError
from plica.loaders.check import COUNT, TOLERANCE, Original, agree, sample_inputs


def network(weight, low=None):
    weight = torch.as_tensor(np.asarray(weight, dtype=np.float64))
    graph = Graph((weight.shape[1],))
    name = graph.add("line", Dense(weight, None, graph.input_shape), INPUT)
    shape = graph.shapes[name]
    graph.add("act", relu(shape) if low is None else clip(shape, low, np.inf), name)
    return graph.network()


def original(weight, error=0.0, exact=None):
    """The same in float32, off by a relative error."""
    weight = np.asarray(weight, dtype=np.float32)
    run_exactly = None if exact is None else lambda x: np.maximum(x.astype(float) @ np.asarray(exact).T, 0)
    return Original("it", "float32", lambda x: np.maximum(x @ weight.T, 0) * np.float32(1 + error), run_exactly)


W = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


def test_equal_networks_differ_by_rounding():
    difference, explained = agree(network(W), original(W))
    assert 0 < difference < 1e-6
    assert explained == ""


@pytest.mark.parametrize("error", [2e-5, 1e-3, 1.0])
def test_errors_above_the_tolerance_are_found(error):
    with pytest.raises(ImportMismatch, match=r"it: on random inputs plica and the original differ by .*1e-05"):
        agree(network(W), original(W, error))


def test_errors_below_the_tolerance_are_told():
    difference, explained = agree(network(W), original(W, 5e-6))
    assert difference == pytest.approx(5e-6, rel=0.1)
    assert difference < TOLERANCE
    assert explained == ""


def test_rounding_of_the_original_is_explained():
    difference, explained = agree(network(W), original(W, 1e-4, exact=W.astype(float)))
    assert difference == pytest.approx(1e-4, rel=0.01)
    assert "In float32 the original rounds by 1.0e-04" in explained
    assert "agrees with plica to" in explained


def test_a_mistake_is_not_explained_away():
    """In float64 it differs as well: then it is no rounding."""
    with pytest.raises(ImportMismatch):
        agree(network(W), original(W, 1e-4, exact=W * (1 + 1e-4)))


def test_a_knot_far_from_zero_is_reached():
    """A wrong limit at -20 shows in the wide inputs only."""
    right = Original("it", "float32", lambda x: np.maximum(x @ np.eye(2), -20).astype(np.float32))
    assert agree(network(np.eye(2), -20.0), right)[0] < 1e-6
    with pytest.raises(ImportMismatch):
        agree(network(np.eye(2), -25.0), right)


def test_another_size_is_found():
    with pytest.raises(ImportMismatch, match="3 entries, the original's 2"):
        agree(network(W), original(W[:2]))


def test_an_original_that_is_not_finite():
    with pytest.raises(ImportMismatch, match="is not finite"):
        agree(network(W), Original("it", "float32", lambda x: np.full((len(x), 3), np.nan)))


def test_an_original_that_does_not_run():
    def fails(x):
        raise RuntimeError("no\nsuch thing")

    with pytest.raises(ModelError, match="does not run on a random input: no such thing"):
        agree(network(W), Original("it", "float32", fails))
    with pytest.raises(ImportMismatch):
        agree(network(W), Original("it", "float32", original(W, 1.0).run, fails))


def test_an_original_that_is_zero():
    assert agree(network(np.zeros((3, 4))), original(np.zeros((3, 4)))) == (0.0, "")


def test_inputs_are_of_both_kinds_and_the_same_each_time():
    usual, wide = sample_inputs((2, 3))
    assert usual.shape == (2 * COUNT, 2, 3)
    assert wide.shape == (COUNT, 2, 3)
    assert usual.dtype == wide.dtype == np.float32
    assert (usual[:COUNT] < 0).any()
    assert ((usual[COUNT:] >= 0) & (usual[COUNT:] < 1)).all()
    assert np.abs(wide).max() > 30
    np.testing.assert_array_equal(usual, sample_inputs((2, 3))[0])


def test_the_patches_of_a_convolution_count_in_memory():
    """Its values would fit; the patches that torch lays side by side for it would not."""
    graph = Graph((1, 500, 500))
    weight = torch.ones(1, 1, 40, 40, dtype=torch.float64)
    graph.add("z", Conv(weight, None, (1, 500, 500), (1, 1), ((0, 0), (0, 0)), (1, 1)), INPUT)
    with pytest.raises(MemoryBudgetError, match=r"comparing it with the original on one input \(2.5 GiB"):
        agree(graph.network(), Original("it", "float32", lambda x: x))
