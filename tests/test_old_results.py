"""Files of every format that was ever released stay readable.

The files under tests/data/results were written once, by ``python tests/test_old_results.py``, which never overwrites
one: a new format adds a folder, and a new type of result a file.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from plica.store import FORMAT, RESULTS, load_result, save

FOLDER = Path(__file__).parent / "data" / "results"
FILES = sorted(FOLDER.glob("format-*/*.npz"))
spec = importlib.util.spec_from_file_location("examples_of_old_results", Path(__file__).parent / "test_store.py")
examples = importlib.util.module_from_spec(spec)
sys.modules["examples_of_old_results"] = examples
spec.loader.exec_module(examples)


def test_every_format_has_files():
    formats = sorted(int(folder.name.removeprefix("format-")) for folder in FOLDER.iterdir())
    assert formats == list(range(1, FORMAT + 1)), "write the files of the new format: python tests/test_old_results.py"
    assert {path.stem for path in FILES} <= set(RESULTS)


@pytest.mark.parametrize("path", FILES, ids=[f"{path.parent.name}-{path.stem}" for path in FILES])
def test_an_old_file_is_read(path):
    """Type, standing and every stored array come back; fields that came later have a default."""
    result = load_result(path)
    with zipfile.ZipFile(path) as archive:
        body = json.loads(archive.read("header.json"))
        arrays = {name: np.load(archive.open(name)) for name in archive.namelist() if name.endswith(".npy")}
    assert (type(result).__name__, body["type"]) == (path.stem, path.stem)
    assert body["format"] == int(path.parent.name.removeprefix("format-"))
    assert (result.standing, result.completeness) == (body["standing"], body["completeness"])
    for name, array in arrays.items():
        field = name.removesuffix(".npy").split(".")[0].split("~")[0]
        value = getattr(result, field)
        if isinstance(value, np.ndarray) and name == f"{field}.npy":
            assert np.array_equal(value, array, equal_nan=array.dtype.kind == "f")
    assert repr(result).startswith(f"{path.stem}: ")


if __name__ == "__main__":
    for name, make in examples.EXAMPLES.items():
        target = FOLDER / f"format-{FORMAT}" / f"{name}.npz"
        if not target.exists():
            save(make(), target)
