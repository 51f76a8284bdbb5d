"""plica.diff sees every difference, and no more."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import plica
from plica.analyses.preimage.result import FacetResult, KindResult
from plica.compare import diff
from plica.core.result import Completeness, Standing
from plica.errors import ArgumentError, DataError

COMMON = {"standing": Standing.NUMERICAL, "completeness": Completeness.COMPLETE, "header": {}}


def facets(distances=((0.5, np.inf), (np.nan, -0.0)), units=((1, -1), (0, 2)), **changes):
    arrays = {"distances": np.array(distances), "units": np.array(units)}
    return FacetResult(**{**COMMON, **changes}, layers=changes.get("layers", ("a", "b")), **arrays)


def test_a_result_equals_itself_and_its_copy(tmp_path):
    result = facets()
    path = plica.save(result, tmp_path / "a.npz")
    for other in (result, copy.deepcopy(result), path):
        found = diff(result, other)
        assert (found.equal, found.exact, found.differences, found.headers) == (True, True, (), ())
        assert found.compared > 8


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"standing": Standing.RIGOROUS}, "standing: numerical and rigorous"),
        ({"completeness": Completeness.BUDGET}, "completeness"),
        ({"distances": np.array([[0.5, np.inf], [np.nan, 1e-300]])}, "1 of 4 entries differ, by at most 1e-300"),
        ({"distances": np.array([[0.5, -np.inf], [np.nan, 0.0]])}, "by at most inf"),
        ({"distances": np.array([[0.5, np.inf], [0.0, 0.0]])}, "by at most inf"),
        ({"distances": np.zeros((2, 3))}, r"shapes (2, 2) and (2, 3)"),
        ({"distances": np.zeros((2, 2), dtype=int)}, "numbers of type float64 and int64"),
        ({"units": np.array([[1, -1], [0, 3]])}, "units: 1 of 4 entries differ, by at most 1"),
        ({"layers": ("a", "c")}, "layers[1]: b and c"),
        ({"layers": ("a",)}, "layers: 2 and 1 entries"),
    ],
)
def test_every_change_is_seen(change, words):
    found = diff(facets(), dataclasses.replace(facets(), **change))
    assert not found
    assert any(words in line for line in found.differences), found.differences
    assert words in found.summary()


def test_tolerance_is_relative_above_one_and_absolute_below():
    a, b = facets(distances=((1000.0, 0.001), (np.inf, 0.0))), facets(distances=((1000.9, 0.0019), (np.inf, 0.0)))
    assert diff(a, b, tolerance=1e-3)
    assert not diff(a, b, tolerance=1e-3).exact
    assert not diff(a, b, tolerance=8e-4)
    with pytest.raises(ArgumentError):
        diff(a, b, tolerance=-1)
    with pytest.raises(ArgumentError):
        diff(a, b, tolerance=float("nan"))


@given(st.integers(-(2**62), 2**62), st.integers(1, 5))
def test_large_integers_are_compared_exactly(value, step):
    a, b = facets(units=((value, 0), (0, 0))), facets(units=((value + step, 0), (0, 0)))
    assert not diff(a, b)
    assert diff(a, b, tolerance=step)


def test_unsigned_numbers_do_not_wrap():
    one = facets(units=np.array([[0, 1], [2, 3]], dtype=np.uint64))
    other = facets(units=np.array([[5, 1], [2, 3]], dtype=np.uint64))
    assert "by at most 5" in diff(one, other).differences[0]


def test_words_types_and_headers():
    kinds = KindResult(
        **COMMON, layer="a", source=("input",), kinds=np.array(["compact"]), dimensions=np.array([1]),
        positive=np.array([1]), standings=np.array(["numerical"]), reasons=("",), shape=(1, 1),
    )  # fmt: skip
    other = dataclasses.replace(kinds, kinds=np.array(["unbounded"]))
    assert diff(kinds, other).differences == ("kinds: 1 of 1 entries differ",)
    assert diff(kinds, facets()).differences == ("KindResult and FacetResult",)
    headers = dataclasses.replace(kinds, header={"plica": "0.1", "time": "now", "options": {"limit": 3}})
    found = diff(kinds, headers)
    assert found.equal
    assert found.headers == ('options: nothing and {"limit": 3}', 'plica: nothing and "0.1"')


def test_folders_are_compared_name_by_name(tmp_path):
    for folder, value in (("a", 0.5), ("b", 0.6)):
        plica.save(facets(distances=((value, 0), (0, 0))), tmp_path / folder / "results" / "facets.npz")
        plica.save(facets(), tmp_path / folder / "same.npz")
    plica.save(facets(), tmp_path / "b" / "more.npz")
    found = diff(tmp_path / "a", tmp_path / "b", tolerance=0.2)
    assert len(found.differences) == 2
    assert found.differences[0].startswith("more.npz: only in")
    assert found.differences[1].startswith("results/facets.npz: distances: 1 of 4")
    assert not found
    (tmp_path / "b" / "more.npz").unlink()
    assert diff(tmp_path / "a", tmp_path / "b", tolerance=0.2)
    assert diff(tmp_path / "a", tmp_path / "a").exact


def test_what_cannot_be_compared(tmp_path):
    path = plica.save(facets(), tmp_path / "a.npz")
    with pytest.raises(ArgumentError, match="a file and a folder"):
        diff(path, tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        diff(path, tmp_path / "none.npz")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="neither"):
        diff(tmp_path / "empty", tmp_path / "empty")
