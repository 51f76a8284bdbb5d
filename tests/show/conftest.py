"""Results with made-up numbers of a realistic size, to draw pages from."""

import numpy as np
import pytest

from plica.analyses.preimage.result import FacetResult, ImpostorResult, KindResult
from plica.core.result import Completeness, Standing
from plica.show import ModelPart, ReportData


def kinds(layer, source, shape, chances, *, n=200, standing=Standing.CERTIFIED, completeness=Completeness.COMPLETE):
    rng = np.random.default_rng(len(layer) + shape[0])
    names = np.array(list(chances))[np.searchsorted(np.cumsum(list(chances.values())), rng.random(n) * 0.9999)]
    middle = {"unbounded": 0.45, "compact": 0.55, "singleton": 0.62}
    centre = np.array([middle.get(k, 0.5) * shape[0] for k in names])
    positive = np.clip(rng.normal(centre, 0.06 * shape[0]), 0, shape[0]).astype(int)
    standings = np.where(rng.random(n) < 0.97, standing.value, Standing.RIGOROUS.value)
    sentence = "3,072 inequalities in 3,072 variables (0.1 GiB as float64) do not fit in 0.05 GiB."
    reasons = tuple(sentence if k == "undecided" else "Decided by rank." for k in names)
    dimensions = np.where(names == "undecided", -1, np.maximum(shape[1] - positive, 0))
    return KindResult(
        standing, completeness, {"seconds": 1.25}, layer, source, names, dimensions, positive, standings, reasons, shape
    )


def facets(layers, *, n=200, seed=0):
    rng = np.random.default_rng(seed)
    scales = 0.05 * 2.0 ** np.arange(len(layers))
    distances = scales * np.exp(rng.normal(size=(n, len(layers))))
    distances[0, -1] = np.inf
    units = rng.integers(0, 32, distances.shape)
    return FacetResult(Standing.NUMERICAL, Completeness.COMPLETE, {"seconds": 2.5}, layers, distances, units)


def digit(seed, shape):
    """A blob that could be a digit."""
    y, x = np.mgrid[:8, :8]
    centre, radius = (3.5 + seed % 2, 3.2), 1.8 + 0.4 * (seed % 3)
    ring = np.exp(-((np.hypot(y - centre[0], x - centre[1]) - radius) ** 2) / 0.5)
    return ring.reshape(shape)


def impostor(layer, shape, seed, classes=(3, 8, 3)):
    x, towards = digit(seed, shape), digit(seed + 1, shape)
    return ImpostorResult(
        Standing.NUMERICAL, Completeness.COMPLETE, {"seconds": 0.5}, layer, x, towards, 0.3 * x + 0.7 * towards,
        3.1e-15, 2.4e-7, "float32", 4.25, 3.2, 0.96 + 0.1 * seed, *classes,
        "Euclidean projection on the set of equal features, in the piece of the first image.",
    )  # fmt: skip


def part_mlp():
    return ModelPart(
        "digits-mlp",
        {
            "architecture": "64-32-32-10", "units": 64, "parameters": 3466, "accuracy": 0.961, "images": 200,
            "data": "scikit-learn digits", "dtype": "float32", "import_difference": 2.2e-7, "file": "digits.onnx",
            "timings": {"kinds": 3.1, "facets": 2.5}, "notices": ["Pixels are whole numbers and are divided by 16."],
        },
        (
            kinds("relu1", ("input",), (32, 64), {"unbounded": 1.0}),
            kinds("relu2", ("relu1",), (32, 32), {"unbounded": 0.81, "compact": 0.12, "singleton": 0.07}),
            kinds("fc3", ("relu2",), (10, 32), {"unbounded": 1.0}),
            facets(("relu1", "relu2")),
            *(impostor("relu1" if s < 2 else "relu2", (64,), s) for s in range(4)),
        ),
        (8, 8),
    )  # fmt: skip


def part_conv():
    return ModelPart(
        "digits-conv",
        {
            "architecture": "64-512-128-128-10", "units": 768, "parameters": 2538, "accuracy": 0.983, "images": 200,
            "dtype": "float32", "import_difference": 4.1e-7, "data": "scikit-learn digits",
        },
        (
            kinds("relu1", ("input",), (512, 64), {"compact": 0.36, "singleton": 0.5, "undecided": 0.14},
                  completeness=Completeness.BUDGET),
            kinds("pool", ("relu1",), (128, 512), {"unbounded": 1.0}),
            kinds("relu3", ("pool", "conv3"), (128, 256), {"unbounded": 1.0}, standing=Standing.NUMERICAL),
            facets(("relu1", "pool", "relu2", "relu3"), seed=1),
            impostor("relu3", (1, 8, 8), 1),
        ),
        (1, 8, 8),
    )  # fmt: skip


@pytest.fixture
def data():
    """A report on two models."""
    facts = {
        "model": "digits", "file": "embedded example", "images": 200, "data": "scikit-learn digits", "seconds": 52.3,
        "cores": 2, "seed": 0, "notices": ["Two networks were trained on the spot."],
        "versions": {"plica": "0.1.0", "torch": "2.7.0", "numpy": "2.2.0", "python": "3.12.3"},
        "hashes": {"network": "sha256:" + "5f" * 32, "data": "sha256:" + "a1" * 32}, "options": {"limit": 200},
    }  # fmt: skip
    return ReportData(facts, (part_mlp(), part_conv()))


@pytest.fixture
def empty_data():
    """A run that was stopped before anything was done."""
    nothing = kinds("relu1", ("input",), (32, 64), {"unbounded": 1.0}, n=0, completeness=Completeness.INTERRUPTED)
    none = FacetResult(
        Standing.NUMERICAL, Completeness.INTERRUPTED, {}, ("relu1",), np.zeros((0, 1)), np.zeros((0, 1), int)
    )
    return ReportData({}, (ModelPart("bare", {}, (nothing, none)),))
