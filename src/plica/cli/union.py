"""Commands about unions of pieces: preimage, preimage-of."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plica.cli import options as opt
from plica.cli.command import Answer, add
from plica.cli.reading import (
    ImageOptions,
    ModelOptions,
    RunOptions,
    array,
    box_of,
    layer_of,
    layer_or_none,
    open_model,
    open_one,
    property_case,
)
from plica.errors import ArgumentError

if TYPE_CHECKING:
    import numpy as np

    from plica.core.domain import Box

Own = Annotated[int, typer.Option("--x", help="Number of the image whose activity is kept, from 0.", min=0)]
Radius = Annotated[float | None, typer.Option(help="Only inputs this near to the image, pixel by pixel.", min=0.0)]
Lower = Annotated[float | None, typer.Option(help="Only inputs with no entry below this.")]
Upper = Annotated[float | None, typer.Option(help="Only inputs with no entry above this.")]
FromLayer = Annotated[str | None, typer.Option(help="A layer before it, in whose space the preimage is wanted.")]
MaxPieces = Annotated[int, typer.Option(help="Stop after so many pieces.", min=1)]
Wins = Annotated[int | None, typer.Option(help="Number of the unit that is to be a largest one, from 0.")]
Outputs = Annotated[Path | None, typer.Option(help="Outputs, as .npy or .csv.", metavar="FILE")]
Tolerance = Annotated[float, typer.Option(help="How far each unit may be from --y.", min=0.0)]

AMinute = Annotated[RunOptions, {"max_seconds": 60.0}]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add(app, preimage, preimage_of)


def preimage(
    model: ModelOptions,
    data: ImageOptions,
    layer: opt.Layer,
    run: AMinute,
    x: Own = 0,
    from_layer: FromLayer = None,
    radius: Radius = None,
    lower: Lower = None,
    upper: Upper = None,
    max_pieces: MaxPieces = 10_000,
) -> Answer:
    """Find all inputs with exactly the activity of an image at a layer: a union of polyhedra, piece by piece."""
    from plica.analyses.preimage import preimage as union_of

    net, images, image = open_one(model, data, x)
    source = layer_or_none(from_layer)
    if source is not None and radius is not None:
        raise ArgumentError("--radius is about the image; with --from-layer give --lower and --upper.")
    size = math.prod(net.input_shape if source is None else net.shape_of(net.resolve(source)))
    box = box_of(size, lower, upper) if radius is None else _around(image, radius, lower, upper)
    with run.watch() as watch:
        union = union_of(net, image, layer=layer_of(layer), from_layer=source, domain=box, progress=watch)
        return Answer(union.result(max_pieces), net, images)


def preimage_of(
    model: ModelOptions,
    layer: opt.Layer,
    run: AMinute,
    wins: Wins = None,
    y: Outputs = None,
    tolerance: Tolerance = 0.0,
    property_: opt.Property = None,
    case: opt.Case = None,
    lower: Lower = None,
    upper: Upper = None,
    max_pieces: MaxPieces = 10_000,
) -> Answer:
    """Find all inputs that a layer sends to given outputs (--y), or that make one unit a largest one (--wins)."""
    from plica.analyses.preimage import preimage_of as union_of

    if sum(given is not None for given in (wins, y, property_)) != 1:
        raise ArgumentError("Give either --wins UNIT, --y FILE or --property FILE.")
    net = open_model(model)
    asked = property_case(property_, case, net)
    target = asked.target if asked is not None else wins if y is None else (array(y), tolerance)
    assert target is not None
    box = box_of(math.prod(net.input_shape), lower, upper) if asked is None else asked.domain
    with run.watch() as watch:
        union = union_of(net, target, layer=layer_of(layer), domain=box, progress=watch)
        return Answer(union.result(max_pieces), net)


def _around(image: np.ndarray, radius: float, lower: float | None, upper: float | None) -> Box:
    """The inputs within the limits that are this near to an image, entry by entry."""
    import numpy as np

    from plica.core.domain import Box

    flat = np.asarray(image, dtype=np.float64).ravel()
    limits = (-np.inf if lower is None else lower, np.inf if upper is None else upper)
    low, high = np.maximum(flat - radius, limits[0]), np.minimum(flat + radius, limits[1])
    if limits[0] <= limits[1] and (far := np.flatnonzero(low > high)).size:
        raise ArgumentError(
            f"--radius {radius:g}: no input this near to the image is within --lower and --upper; entry {far[0]} of "
            f"the image is {flat[far[0]]:g}."
        )
    return Box(low, high)
