"""Gaussian noise at the input: plica moments."""

from __future__ import annotations

from typing import Annotated

import typer

from plica.cli import options as opt
from plica.cli.command import Answer, add
from plica.cli.reading import ImageOptions, ModelOptions, RunOptions, layer_or_none, open_one

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
    add(app, moments)


def moments(
    model: ModelOptions,
    data: ImageOptions,
    variance: Variance,
    run: RunOptions,
    image: Image = 0,
    method: Method = None,
    layer: OneLayer = None,
    samples: Samples = 100_000,
    seed: opt.Seed = 0,
) -> Answer:
    """Mean and covariance of the network's output when Gaussian noise is added to one image."""
    from plica.analyses.moments import moments as compute

    net, images, x = open_one(model, data, image)
    kept = layer_or_none(layer)
    with run.watch() as watch:
        found = compute(net, x, variance, method=method, layer=kept, samples=samples, seed=seed, progress=watch)
    return Answer(found, net, images)
