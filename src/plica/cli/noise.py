"""What noise does: plica moment-bounds, class-probabilities, fooling-rate, fooling-map and noise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plica.cli import options as opt
from plica.cli.ending import finish
from plica.cli.live import progress
from plica.cli.moments import Image, OneLayer, Variance
from plica.cli.reading import DataOptions, ModelOptions, open_both, plain, stamped_result
from plica.cli.reading import layer as read_layer
from plica.errors import ArgumentError, DataError

if TYPE_CHECKING:
    import numpy as np

    from plica.core.network import Network
    from plica.loaders.images import ImageSet

Draws = Annotated[int, typer.Option(help="Inputs drawn by monte_carlo, per Gaussian.", min=1)]
Means = Annotated[str | None, typer.Option(help="two_stage or monte_carlo. Default: two_stage, exact where it can be.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("moment-bounds")(moment_bounds)
    app.command("class-probabilities")(class_probabilities)
    app.command("fooling-rate")(fooling_rate)
    app.command("fooling-map")(fooling_map)
    app.command("noise")(noise)


def moment_bounds(
    model: opt.Model,
    data: opt.Data,
    variance: Variance,
    image: Image = 0,
    covariance: Annotated[bool, typer.Option(help="Bound the covariance too: an integral per pair of units.")] = True,
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
    """Proven bounds of mean and covariance of the output, for a network with one layer of choices, around one image."""
    from plica.analyses.moments import moment_bounds as compute

    opened = ModelOptions(model, input_shape, trust_pickle, "cpu", threads)
    read = DataOptions(data, split, scale, mean, std, layout, None, image + 1)
    net, images = open_both(opened, read)
    with progress(max_seconds) as watch:
        result = compute(net, _one(images, data, image), variance, covariance=covariance, progress=watch)
    options = {"variance": variance, "image": image, "covariance": covariance, **plain(opened), **plain(read)}
    finish(stamped_result(result, net, images, options), as_json=as_json, out=out)


def class_probabilities(
    model: opt.Model,
    data: opt.Data,
    variance: Variance,
    image: Image = 0,
    method: Annotated[str | None, typer.Option(help="gaussian or monte_carlo. Default: monte_carlo.")] = None,
    samples: Draws = 100_000,
    confidence: Annotated[float, typer.Option(help="Of the intervals of monte_carlo.")] = 0.95,
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
    """Probability of each class when Gaussian noise is added to one image."""
    from plica.analyses.moments.uses import class_probabilities as compute

    opened = ModelOptions(model, input_shape, trust_pickle, "cpu", threads)
    read = DataOptions(data, split, scale, mean, std, layout, None, image + 1)
    net, images = open_both(opened, read)
    settings: dict[str, Any] = {"method": method, "confidence": confidence, "samples": samples, "seed": seed}
    with progress(max_seconds) as watch:
        result = compute(net, _one(images, data, image), variance, progress=watch, **settings)
    options = {"variance": variance, "image": image, **settings, **plain(opened), **plain(read)}
    finish(stamped_result(result, net, images, options), as_json=as_json, out=out)


def fooling_rate(
    model: opt.Model,
    data: opt.Data,
    variance: Variance,
    shift: Annotated[Path | None, typer.Option(help="Added to every image: .npy.", metavar="FILE")] = None,
    method: Means = None,
    layer: OneLayer = None,
    samples: Draws = 1000,
    split: opt.Split = "test",
    scale: opt.Scale = None,
    mean: opt.Mean = None,
    std: opt.Std = None,
    layout: opt.Layout = None,
    limit: opt.Limit = 200,
    input_shape: opt.InputShape = None,
    trust_pickle: opt.TrustPickle = False,
    out: opt.Out = None,
    max_seconds: opt.MaxSeconds = None,
    threads: opt.Threads = None,
    as_json: opt.Json = False,
) -> None:
    """How often a shift changes the class of images, without and with small Gaussian noise on top."""
    from plica.analyses.moments.uses import fooling_rate as compute

    opened = ModelOptions(model, input_shape, trust_pickle, "cpu", threads)
    read = DataOptions(data, split, scale, mean, std, layout, None, limit)
    net, images = open_both(opened, read)
    settings: dict[str, Any] = {"method": method, "samples": samples}
    kept = None if layer is None else read_layer(layer)
    moved = None if shift is None else _array(shift, net)
    with progress(max_seconds) as watch:
        result = compute(net, images.images, variance, shift=moved, layer=kept, progress=watch, **settings)
    shown = {"shift": None if shift is None else str(shift), "layer": layer}
    options = {"variance": variance, **shown, **settings, **plain(opened), **plain(read)}
    finish(stamped_result(result, net, images, options), as_json=as_json, out=out)


def fooling_map(
    model: opt.Model,
    data: opt.Data,
    variance: Variance,
    window: Annotated[int, typer.Option(help="Side of the window in pixels.", min=1)] = 7,
    stride: Annotated[int, typer.Option(help="Step of the window in pixels.", min=1)] = 1,
    method: Means = None,
    layer: OneLayer = None,
    samples: Draws = 1000,
    split: opt.Split = "test",
    scale: opt.Scale = None,
    mean: opt.Mean = None,
    std: opt.Std = None,
    layout: opt.Layout = None,
    limit: opt.Limit = 20,
    input_shape: opt.InputShape = None,
    trust_pickle: opt.TrustPickle = False,
    out: opt.Out = None,
    max_seconds: opt.MaxSeconds = None,
    threads: opt.Threads = None,
    as_json: opt.Json = False,
) -> None:
    """Where noise in a window, slid over the images, changes their class."""
    from plica.analyses.moments.uses import fooling_map as compute

    opened = ModelOptions(model, input_shape, trust_pickle, "cpu", threads)
    read = DataOptions(data, split, scale, mean, std, layout, None, limit)
    net, images = open_both(opened, read)
    settings: dict[str, Any] = {"window": window, "stride": stride, "method": method, "samples": samples}
    kept = None if layer is None else read_layer(layer)
    with progress(max_seconds) as watch:
        result = compute(net, images.images, variance, layer=kept, progress=watch, **settings)
    options = {"variance": variance, "layer": layer, **settings, **plain(opened), **plain(read)}
    finish(stamped_result(result, net, images, options), as_json=as_json, out=out)


def noise(
    model: opt.Model,
    data: opt.Data,
    shift: Annotated[float, typer.Option(help="Bound of the absolute mean of the noise at every input.")],
    variance: Annotated[float, typer.Option(help="Largest variance of the noise.")] = 2.0,
    support: Annotated[float, typer.Option(help="Share of the inputs that may change, drawn by the seed.")] = 1.0,
    rounds: Annotated[int, typer.Option(help="Rounds of linearisation.", min=1)] = 1,
    target: Annotated[int | None, typer.Option(help="Class aimed at. Default: any other.", min=0)] = None,
    image: Image = 0,
    layer: OneLayer = None,
    samples: Annotated[int, typer.Option(help="Draws that verify the result.", min=2)] = 10_000,
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
    """Construct Gaussian noise under which the mean outputs for one image have another class."""
    from plica.analyses.moments.uses import NoiseLimits
    from plica.analyses.moments.uses import noise as construct

    opened = ModelOptions(model, input_shape, trust_pickle, "cpu", threads)
    read = DataOptions(data, split, scale, mean, std, layout, None, image + 1)
    net, images = open_both(opened, read)
    bounds: dict[str, Any] = {"shift": shift, "variance": variance, "support": support, "rounds": rounds}
    settings: dict[str, Any] = {"target": target, "samples": samples, "seed": seed}
    kept, x = None if layer is None else read_layer(layer), _one(images, data, image)
    with progress(max_seconds) as watch:
        result = construct(net, x, NoiseLimits(**bounds), layer=kept, progress=watch, **settings)
    options = {"image": image, "layer": layer, **bounds, **settings, **plain(opened), **plain(read)}
    finish(stamped_result(result, net, images, options), as_json=as_json, out=out)


def _one(images: ImageSet, data: Path, image: int) -> np.ndarray:
    if len(images) <= image:
        raise ArgumentError(f"{data} has {len(images)} images; there is no image {image} (they count from 0).")
    return images.images[image]


def _array(path: Path, net: Network) -> np.ndarray:
    """Read a shift of the input."""
    import numpy as np

    try:
        return np.load(path, allow_pickle=False).reshape(net.input_shape)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"'{path}' is not an array of {net.input_shape} numbers ({error}). Give a .npy file.") from None
