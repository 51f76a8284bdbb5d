"""Around the smallest perturbation: certified-radius, error-rate, shared-activity, largest-activation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plica.cli import options as opt
from plica.cli.attack import Lower, Upper, _norm, pixel_box
from plica.cli.ending import finish
from plica.cli.live import progress
from plica.cli.reading import DataOptions, ModelOptions, numbers, open_both, plain, stamped_result
from plica.cli.reading import layer as read_layer
from plica.cli.units import Side, Units, _indices
from plica.errors import ArgumentError, DataError

if TYPE_CHECKING:
    import numpy as np

    from plica.loaders.images import ImageSet

Norm = Annotated[str, typer.Option(help="Norm of the distance: 2, inf or 1.")]
BallNorm = Annotated[str, typer.Option("--norm", help="Norm of the balls: 2, inf or 1.")]
Radii = Annotated[str, typer.Option(help="Sizes of the balls, in the network's pixels.", metavar="R,R")]
Samples = Annotated[int, typer.Option(help="Points in each ball.", min=1)]
Sphere = Annotated[bool, typer.Option("--sphere/--ball", help="Draw from the surface of the balls.")]
Others = Annotated[Path, typer.Option(help="Result of plica attack on the same images, saved with --out.")]
Starts = Annotated[bool, typer.Option("--from-images/--from-middle", help="Also climb from the strongest image.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module, named as the functions."""
    app.command("certified-radius")(certified_radius)
    app.command("error-rate")(error_rate)
    app.command("shared-activity")(shared_activity)
    app.command("largest-activation")(largest_activation)


def certified_radius(
    model: opt.Model,
    data: opt.Data,
    norm: Norm = "2",
    lower: Lower = None,
    upper: Upper = None,
    split: opt.Split = "test",
    scale: opt.Scale = None,
    mean: opt.Mean = None,
    std: opt.Std = None,
    layout: opt.Layout = None,
    labels: opt.Labels = None,
    limit: opt.Limit = 20,
    input_shape: opt.InputShape = None,
    trust_pickle: opt.TrustPickle = False,
    out: opt.Out = None,
    max_seconds: opt.MaxSeconds = None,
    device: opt.Device = "cpu",
    threads: opt.Threads = None,
    as_json: opt.Json = False,
) -> None:
    """Prove for every image a distance within which the network keeps its class; also for larger networks."""
    from plica.analyses.adversarial.certified import certified_radius as prove

    opened = ModelOptions(model, input_shape, trust_pickle, device, threads)
    read = DataOptions(data, split, scale, mean, std, layout, labels, limit)
    net, images = open_both(opened, read)
    box = pixel_box(images, lower, upper, at_layer=False)
    with progress(max_seconds) as watch:
        result = prove(net, images.images, images.labels, norm=_norm(norm), box=box, progress=watch)
    options = {"norm": norm, "lower": lower, "upper": upper}
    finish(stamped_result(result, net, images, {**options, **plain(opened), **plain(read)}), as_json=as_json, out=out)


def error_rate(
    model: opt.Model,
    data: opt.Data,
    radii: Radii,
    norm: BallNorm = "2",
    samples: Samples = 1000,
    sphere: Sphere = False,
    lower: Lower = None,
    upper: Upper = None,
    split: opt.Split = "test",
    scale: opt.Scale = None,
    mean: opt.Mean = None,
    std: opt.Std = None,
    layout: opt.Layout = None,
    labels: opt.Labels = None,
    limit: opt.Limit = 20,
    input_shape: opt.InputShape = None,
    trust_pickle: opt.TrustPickle = False,
    out: opt.Out = None,
    seed: opt.Seed = 0,
    max_seconds: opt.MaxSeconds = None,
    device: opt.Device = "cpu",
    threads: opt.Threads = None,
    as_json: opt.Json = False,
) -> None:
    """Estimate how often random changes of given sizes make the network wrong, and where never, by proof."""
    from plica.analyses.adversarial.often import error_rate as estimate

    opened = ModelOptions(model, input_shape, trust_pickle, device, threads)
    read = DataOptions(data, split, scale, mean, std, layout, labels, limit)
    given: dict[str, Any] = {"norm": _norm(norm), "radii": numbers(radii, "--radii") or ()}
    given |= {"samples": samples, "sphere": sphere, "seed": seed}
    net, images = open_both(opened, read)
    box = pixel_box(images, lower, upper, at_layer=False)
    with progress(max_seconds) as watch:
        result = estimate(net, images.images, images.labels, box=box, progress=watch, **given)
    options = {**given, "lower": lower, "upper": upper}
    finish(stamped_result(result, net, images, {**options, **plain(opened), **plain(read)}), as_json=as_json, out=out)


def shared_activity(
    model: opt.Model,
    data: opt.Data,
    others: Others,
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
    device: opt.Device = "cpu",
    threads: opt.Threads = None,
    as_json: opt.Json = False,
) -> None:
    """Compare the activity of images with that of the adversarial examples that plica attack found for them."""
    from plica.analyses.adversarial.activity import shared_activity as compare

    opened = ModelOptions(model, input_shape, trust_pickle, device, threads)
    read = DataOptions(data, split, scale, mean, std, layout, None, limit)
    net, images = open_both(opened, read)
    first, second = _pairs(images, others)
    with progress(max_seconds) as watch:
        result = compare(net, first, second, progress=watch)
    options = {"others": str(others), **plain(opened), **plain(read)}
    finish(stamped_result(result, net, images, options), as_json=as_json, out=out)


def _pairs(images: ImageSet, others: Path) -> tuple[np.ndarray, np.ndarray]:
    """The images for which something was found, and that."""
    import numpy as np

    from plica.store import load_result

    saved = load_result(others)
    found = getattr(saved, "x_adv", None)
    if found is None:
        raise ArgumentError(f"{others} is a {type(saved).__name__}; give what plica attack saved.")
    n = len(found)
    if n > len(images.images) or np.prod(found.shape[1:]) != np.prod(images.images.shape[1:]):
        raise DataError(f"{others} has {n} images of shape {found.shape[1:]}; these are {images.images.shape}.")
    ok = np.isfinite(found.reshape(n, -1)).all(1) & (saved.distance > 0)  # type: ignore[attr-defined]
    if not ok.any():
        raise DataError(f"{others} has no adversarial example.")
    return images.images[:n][ok], found[ok].reshape(-1, *images.images.shape[1:]).astype(np.float64)


def largest_activation(
    model: opt.Model,
    data: opt.Data,
    layer: opt.Layer,
    units: Units = None,
    side: Side = "post",
    lower: Lower = None,
    upper: Upper = None,
    from_images: Starts = True,
    split: opt.Split = "test",
    scale: opt.Scale = None,
    mean: opt.Mean = None,
    std: opt.Std = None,
    layout: opt.Layout = None,
    limit: opt.Limit = 200,
    input_shape: opt.InputShape = None,
    trust_pickle: opt.TrustPickle = False,
    out: opt.Out = None,
    max_seconds: opt.MaxSeconds = 60.0,
    device: opt.Device = "cpu",
    threads: opt.Threads = None,
    as_json: opt.Json = False,
) -> None:
    """Find the input of a box with the largest value of a unit, and bound what any input reaches."""
    from plica.analyses.adversarial.activation import largest_activation as search
    from plica.analyses.units import maximisers

    opened = ModelOptions(model, input_shape, trust_pickle, device, threads)
    read = DataOptions(data, split, scale, mean, std, layout, None, limit)
    net, images = open_both(opened, read)
    box, chosen, place = pixel_box(images, lower, upper, at_layer=False), _indices(units), read_layer(layer)
    starts = None
    if from_images:
        strongest = maximisers(net, images.images, layer=place, top=1).images[:, 0]
        starts = images.images[sorted({int(strongest[u]) for u in chosen or range(len(strongest))})]
    with progress(max_seconds) as watch:
        result = search(net, layer=place, units=chosen, side=side, box=box, starts=starts, progress=watch)
    options = {"layer": layer, "units": units, "side": side, "lower": lower, "upper": upper}
    finish(stamped_result(result, net, images, {**options, **plain(opened), **plain(read)}), as_json=as_json, out=out)
