"""Commands about unions of pieces: preimage, preimage-of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plica.cli import options as opt
from plica.cli.ending import finish
from plica.cli.live import progress
from plica.cli.preimage import _array
from plica.cli.reading import DataOptions, ModelOptions, open_both, open_model, plain, property_case, stamped_result
from plica.cli.reading import layer as read_layer
from plica.errors import ArgumentError

if TYPE_CHECKING:
    import numpy as np

    from plica.core.domain import Box

Radius = Annotated[float | None, typer.Option(help="Only inputs this near to the image, pixel by pixel.", min=0.0)]
Lower = Annotated[float | None, typer.Option(help="Only inputs with no entry below this.")]
Upper = Annotated[float | None, typer.Option(help="Only inputs with no entry above this.")]
FromLayer = Annotated[str | None, typer.Option(help="A layer before it, in whose space the preimage is wanted.")]
MaxPieces = Annotated[int, typer.Option(help="Stop after so many pieces.", min=1)]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("preimage")(preimage)
    app.command("preimage-of")(preimage_of)


def preimage(
    model: opt.Model,
    data: opt.Data,
    layer: opt.Layer,
    x: Annotated[int, typer.Option("--x", help="Number of the image whose activity is kept, from 0.", min=0)] = 0,
    from_layer: FromLayer = None,
    radius: Radius = None,
    lower: Lower = None,
    upper: Upper = None,
    max_pieces: MaxPieces = 10_000,
    split: opt.Split = "test",
    scale: opt.Scale = None,
    mean: opt.Mean = None,
    std: opt.Std = None,
    layout: opt.Layout = None,
    input_shape: opt.InputShape = None,
    trust_pickle: opt.TrustPickle = False,
    out: opt.Out = None,
    max_seconds: opt.MaxSeconds = None,
    threads: opt.Threads = None,
    as_json: opt.Json = False,
) -> None:
    """Find all inputs with exactly the activity of an image at a layer: a union of polyhedra, piece by piece."""
    from plica.analyses.preimage import preimage as union_of

    opened = ModelOptions(model, input_shape, trust_pickle, "cpu", threads)
    read = DataOptions(data, split, scale, mean, std, layout, None, x + 1)
    net, images = open_both(opened, read)
    if len(images) <= x:
        raise ArgumentError(f"{data} has {len(images)} images; there is no image {x} (they count from 0).")
    source = None if from_layer is None else read_layer(from_layer)
    if source is not None and radius is not None:
        raise ArgumentError("--radius is about the image; with --from-layer give --lower and --upper.")
    image = images.images[x]
    size = int(image.size) if source is None else None
    with progress(max_seconds) as watch:
        size = size or _size(net, source)
        box = _box(size, lower, upper, image if radius is not None else None, radius or 0.0)
        union = union_of(net, image, layer=read_layer(layer), from_layer=source, domain=box, progress=watch)
        result = union.result(max_pieces)
    options = {
        "layer": layer, "x": x, "from_layer": from_layer, "radius": radius, "lower": lower, "upper": upper,
        "max_pieces": max_pieces, **plain(opened), **plain(read),
    }  # fmt: skip
    finish(stamped_result(result, net, images, options), as_json=as_json, out=out)


def preimage_of(
    model: opt.Model,
    layer: opt.Layer,
    wins: Annotated[int | None, typer.Option(help="Number of the unit that is to be a largest one, from 0.")] = None,
    y: Annotated[Path | None, typer.Option(help="Outputs, as .npy or .csv.", metavar="FILE")] = None,
    tolerance: Annotated[float, typer.Option(help="How far each unit may be from --y.", min=0.0)] = 0.0,
    property_: opt.Property = None,
    case: opt.Case = None,
    lower: Lower = None,
    upper: Upper = None,
    max_pieces: MaxPieces = 10_000,
    input_shape: opt.InputShape = None,
    trust_pickle: opt.TrustPickle = False,
    out: opt.Out = None,
    max_seconds: opt.MaxSeconds = None,
    threads: opt.Threads = None,
    as_json: opt.Json = False,
) -> None:
    """Find all inputs that a layer sends to given outputs (--y), or that make one unit a largest one (--wins)."""
    from plica.analyses.preimage import preimage_of as union_of

    if sum(given is not None for given in (wins, y, property_)) != 1:
        raise ArgumentError("Give either --wins UNIT, --y FILE or --property FILE.")
    opened = ModelOptions(model, input_shape, trust_pickle, "cpu", threads)
    net = open_model(opened)
    asked = property_case(property_, case, net)
    target = asked.target if asked is not None else wins if y is None else (_array(y), tolerance)
    assert target is not None
    with progress(max_seconds) as watch:
        box = _box(_size(net, None), lower, upper, None, 0.0) if asked is None else asked.domain
        result = union_of(net, target, layer=read_layer(layer), domain=box, progress=watch).result(max_pieces)
    options = {
        "layer": layer, "wins": wins, "y": None if y is None else str(y), "tolerance": tolerance, "lower": lower,
        "upper": upper, "max_pieces": max_pieces, "case": case,
        "property": None if property_ is None else str(property_), **plain(opened),
    }  # fmt: skip
    finish(stamped_result(result, net, None, options), as_json=as_json, out=out)


def _size(net, source: str | int | None) -> int:
    """Number of variables of the input, or of a layer's output."""
    import math

    return math.prod(net.input_shape if source is None else net.shape_of(net.resolve(source)))


def _box(size: int, lower: float | None, upper: float | None, image: np.ndarray | None, radius: float) -> Box | None:
    """The domain that the options describe; None without any."""
    import numpy as np

    from plica.core.domain import Box

    if lower is None and upper is None and image is None:
        return None
    low = np.full(size, -np.inf if lower is None else lower)
    high = np.full(size, np.inf if upper is None else upper)
    if image is not None:
        flat = np.asarray(image, dtype=np.float64).ravel()
        low, high = np.maximum(low, flat - radius), np.minimum(high, flat + radius)
    return Box(low, high)
