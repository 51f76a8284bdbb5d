"""Every notebook under examples runs, cell after cell, and every result in it shows itself."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "examples").glob("*.ipynb"))


def shown(value: object) -> str:
    """What a notebook shows of a cell's last value."""
    if hasattr(value, "_repr_png_"):  # a figure
        assert value._repr_png_().startswith(b"\x89PNG")
        return "picture"
    return value._repr_html_() if hasattr(value, "_repr_html_") else repr(value)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_notebook_runs(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "notebook"}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code":
            continue
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, path.name, "exec"), names)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), path.name, "eval"), names)
            assert value is None or shown(value)
        assert cell["outputs"] == []


def test_there_is_one_for_each_topic():
    assert [path.stem[0] for path in NOTEBOOKS] == list("123456")


def test_a_kernel_runs_one(tmp_path):
    """In Jupyter's own kernel, where it is installed."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    book = nbformat.read(NOTEBOOKS[1], as_version=4)
    nbclient.NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
    shown = ["".join(output.get("data", {}).get("text/html", "")) for output in outputs]
    assert any(shown) and sum("<iframe srcdoc=" in text for text in shown) == 1  # the map of regions
    assert any("image/png" in output.get("data", {}) for output in outputs)
