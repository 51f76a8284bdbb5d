"""Gaussian noise at the input: plica moments."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from plica.cli import options as opt
from plica.cli.ending import finish
from plica.cli.live import progress
from plica.cli.reading import DataOptions, ModelOptions, open_both, plain, stamped_result
from plica.cli.reading import layer as read_layer
from plica.errors import ArgumentError

Variance = Annotated[float, typer.Option(help="Variance of the noise of every input.", min=0.0)]
Image = Annotated[int, typer.Option(help="Number of the image that is the mean, from 0.", min=0)]
Method = Annotated[
    str | None,
    typer.Option(help="exact, moment_matching, two_stage or monte_carlo. Default: exact where it can be."),
]
OneLayer = Annotated[str | None, typer.Option(help="The choice layer that two_stage keeps. Default: the last.")]
Samples = Annotated[int, typer.Option(help="Inputs drawn by monte_carlo.", min=2)]


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("moments")(moments)


def moments(
    model: opt.Model,
    data: opt.Data,
    variance: Variance,
    image: Image = 0,
    method: Method = None,
    layer: OneLayer = None,
    samples: Samples = 100_000,
    split: opt.Split = "test",
    scale: opt.Scale = None,
    mean: opt.Mean = None,
    std: opt.Std = None,
    layout: opt.Layout = None,
    input_shape: opt.InputShape = None,
    trust_pickle: opt.TrustPickle = False,
    out: opt.Out = None,
    seed: opt.Seed = 0,
    max_seconds: opt.MaxSeconds = None,
    threads: opt.Threads = None,
    as_json: opt.Json = False,
) -> None:
    """Mean and covariance of the network's output when Gaussian noise is added to one image."""
    from plica.analyses.moments import moments as compute

    opened = ModelOptions(model, input_shape, trust_pickle, "cpu", threads)
    read = DataOptions(data, split, scale, mean, std, layout, None, image + 1)
    net, images = open_both(opened, read)
    if len(images) <= image:
        raise ArgumentError(f"{data} has {len(images)} images; there is no image {image} (they count from 0).")
    settings: dict[str, Any] = {"method": method, "samples": samples, "seed": seed}
    with progress(max_seconds) as watch:
        kept = None if layer is None else read_layer(layer)
        result = compute(net, images.images[image], variance, layer=kept, progress=watch, **settings)
    options = {"variance": variance, "image": image, "layer": layer, **settings, **plain(opened), **plain(read)}
    finish(stamped_result(result, net, images, options), as_json=as_json, out=out)
