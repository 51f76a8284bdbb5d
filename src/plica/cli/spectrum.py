"""Stability of the map and of its inverse: spectrum, removed-rows, admissible-sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from plica.cli.command import Answer, add
from plica.cli.reading import (
    DataOptions,
    DeviceOptions,
    RunOptions,
    ShowOptions,
    array,
    integers,
    layers_of,
    open_both,
)
from plica.errors import ArgumentError

Few = Annotated[DataOptions, {"limit": 10}]
Layers = Annotated[list[str] | None, typer.Option("--layers", help="Layer; repeat for several. Default: all.")]
Side = Annotated[str, typer.Option(help="pre: before a layer's choice; post: after it; both.")]
Vectors = Annotated[int, typer.Option(help="Keep so many most and least amplified directions.", min=0)]
Window = Annotated[
    str | None,
    typer.Option(help="Only these inputs vary: start:stop per axis of the input.", metavar="A:B,A:B,..."),
]
Matrix = Annotated[Path, typer.Argument(metavar="MATRIX", help="The matrix A: .npy, or .csv with a row per line.")]
Removed = Annotated[str | None, typer.Option(help="Rows that are removed, such as 0,3,17.", metavar="N,N")]
Bias = Annotated[Path | None, typer.Option(help="Vector b, as .npy or .csv. Default: zero.", metavar="FILE")]
Slopes = Annotated[float | None, typer.Option(help="Slope of a leaky unit in place of zero.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add(app, spectrum, removed_rows, admissible_sets)


def spectrum(
    model: DeviceOptions,
    data: Few,
    run: RunOptions,
    layers: Layers = None,
    side: Side = "both",
    vectors: Vectors = 0,
    window: Window = None,
) -> Answer:
    """Singular values of the network's linearisation at every image, up to every layer."""
    from plica.analyses.spectrum import spectrum as compute

    net, images = open_both(model, data)
    chosen, cut = layers_of(layers), _window(window)
    with run.watch() as watch:
        found = compute(net, images.images, chosen, side=side, vectors=vectors, window=cut, progress=watch)
    return Answer(found, net, images)


def _window(text: str | None) -> list[slice] | None:
    """Read ``:,8:16,8:16`` as slices."""
    if text is None:
        return None
    cuts = []
    for part in text.split(","):
        ends = part.split(":")
        if len(ends) != 2 or not all(end.strip().removeprefix("-").isdigit() or not end.strip() for end in ends):
            raise ArgumentError(f"--window {text}: write start:stop per axis of the input, like :,8:16,8:16.")
        cuts.append(slice(*(int(end) if end.strip() else None for end in ends)))
    return cuts


def removed_rows(matrix: Matrix, show: ShowOptions, removed: Removed = None, slopes: Slopes = None) -> Answer:
    """Singular values of a matrix before and after rows are set to zero, with Lemmas 8 and 9 of Behrmann et al."""
    from plica.analyses.spectrum import removed_rows as compute

    A = array(matrix)
    return Answer(compute(A, integers(removed, "--removed") or [], slopes=slopes), None, A)


def admissible_sets(matrix: Matrix, run: RunOptions, b: Bias = None, removed: Removed = None) -> Answer:
    """Find the sets of rows that relu(Ax + b) can remove, or decide about one (--removed); exact."""
    from plica.analyses.spectrum import admissible_sets as decide

    A = array(matrix)
    offset = None if b is None else array(b).reshape(-1)
    with run.watch() as watch:
        return Answer(decide(A, offset, integers(removed, "--removed"), progress=watch), None, A)
