"""Lipschitz constants and spectra of convolutions: plica lipschitz, plica conv-spectrum."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plica.cli import options as opt
from plica.cli.ending import finish
from plica.cli.live import progress
from plica.cli.reading import DataOptions, ModelOptions, open_images, open_model, plain, property_case, stamped_result
from plica.cli.reading import layer as read_layer
from plica.errors import ArgumentError

if TYPE_CHECKING:
    from plica.core.domain import Box
    from plica.core.network import Network

Tight = Annotated[bool, typer.Option("--tight/--product-only", help="Look for a better bound than the product.")]
Steps = Annotated[int, typer.Option(help="Steps of that search at most; 0: a closed form, still proven.", min=0)]
Tolerance = Annotated[float, typer.Option(help="Relative width of a convolution's bracket that needs no more work.")]
Lower = Annotated[float | None, typer.Option(help="Local constant: smallest value of every input.")]
Upper = Annotated[float | None, typer.Option(help="Local constant: largest value of every input.")]
Images = Annotated[
    Path | None, typer.Option("--data", help="Local constant around an image of this file.", metavar="FILE")
]
Image = Annotated[int, typer.Option(help="Number of the image, from 0.", min=0)]
Radius = Annotated[float, typer.Option(help="Half width of the box around the image.", min=0.0)]
MaxPieces = Annotated[int, typer.Option(help="Splits of the local search at most.", min=0)]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("lipschitz")(lipschitz)
    app.command("conv-spectrum")(conv_spectrum)


def lipschitz(
    model: opt.Model,
    tight: Tight = True,
    steps: Steps = 60,
    tolerance: Tolerance = 0.01,
    lower: Lower = None,
    upper: Upper = None,
    data: Images = None,
    image: Image = 0,
    radius: Radius = 0.01,
    property_: opt.Property = None,
    case: opt.Case = None,
    max_pieces: MaxPieces = 200,
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
    """Proven bounds of the Lipschitz constant of every layer and of the network, in the Euclidean norm."""
    from plica.analyses.lipschitz import lipschitz as compute

    opened = ModelOptions(model, input_shape, trust_pickle, "cpu", threads)
    net = open_model(opened)
    for notice in net.origin.notices:
        typer.echo(f"note: {notice}", err=True)
    read = None if data is None else DataOptions(data, split, scale, mean, std, layout, None, image + 1)
    asked = property_case(property_, case, net)
    domain = _domain(net, (lower, upper), read, image, radius) if asked is None else asked.domain
    settings: dict[str, Any] = {"tight": tight, "steps": steps, "tolerance": tolerance, "max_pieces": max_pieces}
    with progress(max_seconds) as watch:
        result = compute(net, domain=domain, progress=watch, **settings)
    given: dict[str, Any] = {"lower": lower, "upper": upper, "image": image, "radius": radius, "case": case}
    given["property"] = None if property_ is None else str(property_)
    options = {**settings, **given, **plain(opened), **({} if read is None else plain(read))}
    finish(stamped_result(result, net, None, options), as_json=as_json, out=out)


def _domain(
    net: Network, ends: tuple[float | None, float | None], read: DataOptions | None, image: int, radius: float
) -> Box | None:
    """The box of the options, if any."""
    import numpy as np

    from plica.core.domain import Box

    if read is not None:
        images = open_images(read, net)
        if len(images) <= image:
            raise ArgumentError(f"{read.data} has {len(images)} images; there is no image {image} (counted from 0).")
        x = np.asarray(images.images[image], dtype=np.float64).ravel()
        return Box(x - radius, x + radius)
    if ends == (None, None):
        return None
    if None in ends:
        raise ArgumentError("--lower and --upper belong together: the smallest and largest value of every input.")
    size = int(np.prod(net.input_shape))
    return Box(np.full(size, ends[0]), np.full(size, ends[1]))


def conv_spectrum(
    model: opt.Model,
    layer: Annotated[str, typer.Option(help="Name of the convolution's node; all are listed when it is not found.")],
    input_shape: opt.InputShape = None,
    trust_pickle: opt.TrustPickle = False,
    out: opt.Out = None,
    max_seconds: opt.MaxSeconds = None,
    threads: opt.Threads = None,
    as_json: opt.Json = False,
) -> None:
    """All singular values of one convolution of the model, taken with circular padding."""
    from plica.analyses.lipschitz import conv_spectrum as compute
    from plica.core.conv import Conv

    opened = ModelOptions(model, input_shape, trust_pickle, "cpu", threads)
    net = open_model(opened)
    found = {node.name: node.op for node in net.nodes if isinstance(node.op, Conv)}
    name = read_layer(layer)
    if name not in found:
        raise ArgumentError(f"--layer {layer}: no convolution of that name. There are: {', '.join(found) or 'none'}.")
    op = found[str(name)]
    with progress(max_seconds) as watch:
        result = compute(op, op.input_shape, progress=watch)
    finish(stamped_result(result, net, None, {"layer": layer, **plain(opened)}), as_json=as_json, out=out)
