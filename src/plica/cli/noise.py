"""What noise does: plica moment-bounds, class-probabilities, fooling-rate, fooling-map and noise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plica.cli import options as opt
from plica.cli.command import Answer, add
from plica.cli.moments import Image, OneLayer, Variance
from plica.cli.reading import DataOptions, ImageOptions, ModelOptions, RunOptions, layer_or_none, open_both, open_one
from plica.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    from plica.core.network import Network

Few = Annotated[DataOptions, {"limit": 20}]
Draws = Annotated[int, typer.Option(help="Inputs drawn by monte_carlo, per Gaussian.", min=1)]
Means = Annotated[str | None, typer.Option(help="two_stage or monte_carlo. Default: two_stage, exact where it can be.")]
Covariance = Annotated[bool, typer.Option(help="Bound the covariance too: an integral per pair of units.")]
Method = Annotated[str | None, typer.Option(help="gaussian or monte_carlo. Default: monte_carlo.")]
Confidence = Annotated[float, typer.Option(help="Of the intervals of monte_carlo.")]
Shift = Annotated[Path | None, typer.Option(help="Added to every image: .npy.", metavar="FILE")]
Window = Annotated[int, typer.Option(help="Side of the window in pixels.", min=1)]
Stride = Annotated[int, typer.Option(help="Step of the window in pixels.", min=1)]
MeanLimit = Annotated[float, typer.Option("--shift", help="Bound of the absolute mean of the noise at every input.")]
Largest = Annotated[float, typer.Option("--variance", help="Largest variance of the noise.")]
Support = Annotated[float, typer.Option(help="Share of the inputs that may change, drawn by the seed.")]
Rounds = Annotated[int, typer.Option(help="Rounds of linearisation.", min=1)]
Target = Annotated[int | None, typer.Option(help="Class aimed at. Default: any other.", min=0)]
Checks = Annotated[int, typer.Option("--samples", help="Draws that verify the result.", min=2)]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add(app, moment_bounds, class_probabilities, fooling_rate, fooling_map, noise)


def moment_bounds(
    model: ModelOptions,
    data: ImageOptions,
    variance: Variance,
    run: RunOptions,
    image: Image = 0,
    covariance: Covariance = True,
) -> Answer:
    """Proven bounds of mean and covariance of the output, for a network with one layer of choices, around one image."""
    from plica.analyses.moments import moment_bounds as compute

    net, images, x = open_one(model, data, image)
    with run.watch() as watch:
        return Answer(compute(net, x, variance, covariance=covariance, progress=watch), net, images)


def class_probabilities(
    model: ModelOptions,
    data: ImageOptions,
    variance: Variance,
    run: RunOptions,
    image: Image = 0,
    method: Method = None,
    samples: Draws = 100_000,
    confidence: Confidence = 0.95,
    seed: opt.Seed = 0,
) -> Answer:
    """Probability of each class when Gaussian noise is added to one image."""
    from plica.analyses.moments.uses import class_probabilities as compute

    net, images, x = open_one(model, data, image)
    settings: dict[str, Any] = {"method": method, "confidence": confidence, "samples": samples, "seed": seed}
    with run.watch() as watch:
        return Answer(compute(net, x, variance, progress=watch, **settings), net, images)


def fooling_rate(
    model: ModelOptions,
    data: DataOptions,
    variance: Variance,
    run: RunOptions,
    shift: Shift = None,
    method: Means = None,
    layer: OneLayer = None,
    samples: Draws = 1000,
) -> Answer:
    """How often a shift changes the class of images, without and with small Gaussian noise on top."""
    from plica.analyses.moments.uses import fooling_rate as compute

    net, images = open_both(model, data)
    settings: dict[str, Any] = {"method": method, "layer": layer_or_none(layer), "samples": samples}
    moved = None if shift is None else _shift(shift, net)
    with run.watch() as watch:
        return Answer(compute(net, images.images, variance, shift=moved, progress=watch, **settings), net, images)


def fooling_map(
    model: ModelOptions,
    data: Few,
    variance: Variance,
    run: RunOptions,
    window: Window = 7,
    stride: Stride = 1,
    method: Means = None,
    layer: OneLayer = None,
    samples: Draws = 1000,
) -> Answer:
    """Where noise in a window, slid over the images, changes their class."""
    from plica.analyses.moments.uses import fooling_map as compute

    net, images = open_both(model, data)
    settings: dict[str, Any] = {"window": window, "stride": stride, "method": method, "samples": samples}
    kept = layer_or_none(layer)
    with run.watch() as watch:
        return Answer(compute(net, images.images, variance, layer=kept, progress=watch, **settings), net, images)


def noise(
    model: ModelOptions,
    data: ImageOptions,
    shift: MeanLimit,
    run: RunOptions,
    variance: Largest = 2.0,
    support: Support = 1.0,
    rounds: Rounds = 1,
    target: Target = None,
    image: Image = 0,
    layer: OneLayer = None,
    samples: Checks = 10_000,
    seed: opt.Seed = 0,
) -> Answer:
    """Construct Gaussian noise under which the mean outputs for one image have another class."""
    from plica.analyses.moments.uses import NoiseLimits
    from plica.analyses.moments.uses import noise as construct

    net, images, x = open_one(model, data, image)
    limits = NoiseLimits(shift=shift, variance=variance, support=support, rounds=rounds)
    settings: dict[str, Any] = {"target": target, "layer": layer_or_none(layer), "samples": samples, "seed": seed}
    with run.watch() as watch:
        return Answer(construct(net, x, limits, progress=watch, **settings), net, images)


def _shift(path: Path, net: Network) -> np.ndarray:
    """Read a shift of the input."""
    import numpy as np

    try:
        return np.load(path, allow_pickle=False).reshape(net.input_shape)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"'{path}' is not an array of {net.input_shape} numbers ({error}). Give a .npy file.") from None
