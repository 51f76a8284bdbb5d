"""Tables and pictures of every result type; what has none says so."""

from __future__ import annotations

import csv
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from plica.errors import ArgumentError
from plica.show.plot import PLOTS, save_plot
from plica.show.tables import NAMES, RECORDS, ROWS, columns, save_table
from plica.store import RESULTS

spec = importlib.util.spec_from_file_location("examples_of_results", Path(__file__).parent.parent / "test_store.py")
examples = importlib.util.module_from_spec(spec)
sys.modules["examples_of_results"] = examples
spec.loader.exec_module(examples)
EXAMPLES = examples.EXAMPLES


@pytest.mark.parametrize("name", sorted(RESULTS))
def test_every_result_shows_itself(name):
    result = EXAMPLES[name]()
    shown = result._repr_html_()
    assert f"{name}: {result.standing}, {result.completeness}" in shown
    found = columns(result)
    assert len({len(column) for column in found.values()}) <= 1
    if not found:
        for method in (result.to_csv, result.to_latex, result.to_dataframe):
            with pytest.raises(ArgumentError, match="has no rows"):
                method()
        return
    rows = list(csv.reader(result.to_csv().splitlines()[1:]))
    assert rows[0] == list(found)
    assert len(rows) == len(next(iter(found.values()))) + 1
    assert result.to_latex().count(r"\\") >= len(rows)


@pytest.mark.parametrize("name", sorted(RESULTS))
def test_pictures(name, tmp_path):
    result = EXAMPLES[name]()
    if name not in PLOTS:
        with pytest.raises(ArgumentError, match=f"{name} has no picture"):
            result.plot()
        return
    options = {"ImpostorResult": {"shape": (2, 2, 3)}, "MixingResult": {"shape": (1, 2)}}.get(name, {})
    figure = result.plot(**options)
    assert figure.axes
    assert save_plot(result, tmp_path / "p.png", **options).read_bytes().startswith(b"\x89PNG")


def test_pictures_as_svg_and_pdf(tmp_path):
    result = EXAMPLES["FacetResult"]()
    assert b"<svg" in save_plot(result, tmp_path / "a.svg").read_bytes()
    assert save_plot(result, tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    with pytest.raises(ArgumentError, match=r"\.png, \.svg, \.pdf"):
        save_plot(result, tmp_path / "a.gif")
    with pytest.raises(ArgumentError, match="cannot be written"):
        save_plot(result, tmp_path / "a.svg" / "b.svg")


def test_tables_name_types_that_exist():
    assert (set(ROWS) | set(NAMES) | set(RECORDS) | set(PLOTS)) <= set(RESULTS)


def test_columns_of_layers_are_named_and_numbers_are_whole():
    facets = EXAMPLES["FacetResult"]()
    found = columns(facets)
    assert list(found) == ["distances.a", "distances.b", "units.a", "units.b"]
    text = facets.to_csv().splitlines()
    assert text[:2] == ["# FacetResult: certified, budget reached", "distances.a,distances.b,units.a,units.b"]
    assert text[2] == "0.5,inf,1,-1"
    assert float(EXAMPLES["FacetResult"]().to_csv().splitlines()[2].split(",")[0]) == 0.5


def test_every_digit_survives_csv():
    import dataclasses

    values = np.random.default_rng(0).normal(size=(50, 2)) * 10.0 ** np.arange(-150, 150, 6)[:, None]
    facets = dataclasses.replace(EXAMPLES["FacetResult"](), distances=values, units=np.zeros((50, 2), int))
    rows = list(csv.reader(facets.to_csv().splitlines()[2:]))
    assert np.array_equal(np.array([[float(v) for v in row[:2]] for row in rows]), values)


def test_dataframe():
    pd = pytest.importorskip("pandas")
    frame = EXAMPLES["KindResult"]().to_dataframe()
    assert isinstance(frame, pd.DataFrame)
    assert frame["kinds"].tolist() == ["singleton", "unbounded"]
    assert frame.attrs["standing"] == "certified"


def test_without_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ArgumentError, match="pandas is not installed"):
        EXAMPLES["KindResult"]().to_dataframe()


def test_markup_in_names_does_nothing(tmp_path):
    import dataclasses

    kinds = dataclasses.replace(EXAMPLES["KindResult"](), layer="<b>", reasons=("a & b_1 50%", "<script>"))
    assert "<script>" not in kinds._repr_html_()
    assert r"a \& b\_1 50\%" in kinds.to_latex()
    assert save_table(kinds, tmp_path / "t.tex").read_text(encoding="utf-8") == kinds.to_latex()
    with pytest.raises(ArgumentError, match=r"\.csv or \.tex"):
        save_table(kinds, tmp_path / "t.xls")
