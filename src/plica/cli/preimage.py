"""Commands about preimages of one layer: preimage-kind, nearest-facet, impostor, is-omnidirectional, dual-cone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from plica.cli import options as opt
from plica.cli.command import Answer, add
from plica.cli.reading import (
    DataOptions,
    DeviceOptions,
    ImageOptions,
    RunOptions,
    ShowOptions,
    array,
    layer_of,
    layers_of,
    one_of,
    open_both,
    open_one,
)

Layers = Annotated[list[str] | None, typer.Option("--layers", help="Choice layer; repeat for several. Default: all.")]
Matrix = Annotated[Path, typer.Argument(metavar="MATRIX", help="The matrix A: .npy, or .csv with a row per line.")]
Weights = Annotated[Path, typer.Argument(metavar="MATRIX", help="The matrix W: .npy, or .csv with a row per line.")]
Vector = Annotated[Path | None, typer.Option(help="Vector, as .npy or .csv.", metavar="FILE")]
Point = Annotated[Path, typer.Option("--x", help="An input with the activity, as .npy or .csv.", metavar="FILE")]
Own = Annotated[int, typer.Option("--x", help="Number of the image whose features are kept, from 0.", min=0)]
Other = Annotated[int, typer.Option(help="Number of the image to look like, from 0.", min=0)]
Tolerance = Annotated[float, typer.Option(help="How far each feature may move.", min=0.0)]
AMinute = Annotated[RunOptions, {"max_seconds": 60.0}]
Extent = Annotated[str, typer.Option(help="piece: the image's own piece; nearest, farthest: over the whole preimage.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add(app, preimage_kind, nearest_facet, impostor, is_omnidirectional, dual_cone)


def preimage_kind(model: DeviceOptions, data: DataOptions, layer: opt.Layer, run: RunOptions) -> Answer:
    """Decide for every image what the layer cannot distinguish from it: a point, a bounded or an unbounded set."""
    from plica.analyses.preimage import preimage_kind as decide

    net, images = open_both(model, data)
    with run.watch() as watch:
        return Answer(decide(net, images.images, layer=layer_of(layer), progress=watch), net, images)


def nearest_facet(model: DeviceOptions, data: DataOptions, run: RunOptions, layers: Layers = None) -> Answer:
    """Measure for every image how far it is from the nearest place where a unit of each layer switches."""
    from plica.analyses.preimage import nearest_facet as measure

    net, images = open_both(model, data)
    with run.watch() as watch:
        return Answer(measure(net, images.images, layers_of(layers), progress=watch), net, images)


def impostor(
    model: DeviceOptions,
    data: ImageOptions,
    layer: opt.Layer,
    x: Own,
    towards: Other,
    run: AMinute,
    tolerance: Tolerance = 0.0,
    extent: Extent = "piece",
) -> Answer:
    """Find the input with the features of one image that looks most like another."""
    from plica.analyses.preimage import impostor as search

    net, images, _ = open_one(model, data, max(x, towards))
    pair = one_of(images, data, x), one_of(images, data, towards)
    with run.watch() as watch:
        found = search(net, *pair, layer=layer_of(layer), tolerance=tolerance, extent=extent, progress=watch)
    return Answer(found, net, images)


def is_omnidirectional(matrix: Matrix, run: RunOptions, b: Vector = None, point: Vector = None) -> Answer:
    """Decide exactly whether A v <= 0 holds for v = 0 only (and, with --b and --point, whether b = -A p)."""
    from plica.analyses.preimage import is_omnidirectional as decide

    A = array(matrix)
    vectors = [None if path is None else array(path).reshape(-1) for path in (b, point)]
    with run.watch() as watch:
        return Answer(decide(A, *vectors, progress=watch), None, A)


def dual_cone(matrix: Weights, x: Point, show: ShowOptions, b: Vector = None) -> Answer:
    """Write the preimage of one ReLU layer's activity by its dual basis: a point, rays and the null space."""
    from plica.analyses.preimage import dual_cone as write

    W = array(matrix)
    return Answer(write(W, array(x).reshape(-1), None if b is None else array(b).reshape(-1)), None, W)
