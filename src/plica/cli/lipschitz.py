"""Lipschitz constants and spectra of convolutions: plica lipschitz, plica conv-spectrum."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plica.cli import options as opt
from plica.cli.command import Answer, add
from plica.cli.reading import (
    ImageOptions,
    ModelOptions,
    RunOptions,
    box_of,
    layer_of,
    one_of,
    open_images,
    open_model,
    property_case,
    say,
)
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
Convolution = Annotated[
    str, typer.Option("--layer", help="Name of the convolution's node; all are listed when it is not found.")
]


@dataclass(frozen=True)
class LocalOptions:
    """Where a local constant is wanted: in a box, in the box of a property, or around an image."""

    lower: Lower = None
    upper: Upper = None
    data: Images = None
    image: Image = 0
    radius: Radius = 0.01
    property_: opt.Property = None
    case: opt.Case = None
    split: opt.Split = "test"
    scale: opt.Scale = None
    mean: opt.Mean = None
    std: opt.Std = None
    layout: opt.Layout = None


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add(app, lipschitz, conv_spectrum)


def lipschitz(
    model: ModelOptions,
    where: LocalOptions,
    run: RunOptions,
    tight: Tight = True,
    steps: Steps = 60,
    tolerance: Tolerance = 0.01,
    max_pieces: MaxPieces = 200,
) -> Answer:
    """Proven bounds of the Lipschitz constant of every layer and of the network, in the Euclidean norm."""
    from plica.analyses.lipschitz import lipschitz as compute

    net = open_model(model)
    say(*net.origin.notices)
    domain = _domain(net, where)
    with run.watch() as watch:
        found = compute(net, tight=tight, steps=steps, tolerance=tolerance, domain=domain, max_pieces=max_pieces,
                        progress=watch)  # fmt: skip
    return Answer(found, net)


def _domain(net: Network, where: LocalOptions) -> Box | None:
    """The box of the options, if any."""
    import numpy as np

    from plica.core.domain import Box

    asked = property_case(where.property_, where.case, net)
    if asked is not None:
        return asked.domain
    if where.data is not None:
        read = ImageOptions(where.data, where.split, where.scale, where.mean, where.std, where.layout)
        image = one_of(open_images(read, net, limit=where.image + 1), read, where.image)
        x = np.asarray(image, dtype=np.float64).ravel()
        return Box(x - where.radius, x + where.radius)
    if (where.lower is None) is not (where.upper is None):
        raise ArgumentError("--lower and --upper belong together: the smallest and largest value of every input.")
    return box_of(math.prod(net.input_shape), where.lower, where.upper)


def conv_spectrum(model: ModelOptions, layer: Convolution, run: RunOptions) -> Answer:
    """All singular values of one convolution of the model, taken with circular padding."""
    from plica.analyses.lipschitz import conv_spectrum as compute
    from plica.core.conv import Conv

    net = open_model(model)
    found = {node.name: node.op for node in net.nodes if isinstance(node.op, Conv)}
    name = layer_of(layer)
    if name not in found:
        raise ArgumentError(f"--layer {layer}: no convolution of that name. There are: {', '.join(found) or 'none'}.")
    op = found[str(name)]
    with run.watch() as watch:
        return Answer(compute(op, op.input_shape, progress=watch), net)
