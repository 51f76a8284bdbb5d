"""Around the smallest perturbation: certified-radius, error-rate, shared-activity, largest-activation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plica.cli import options as opt
from plica.cli.attack import Lower, Norm, Upper, pixel_box
from plica.cli.command import Answer, add
from plica.cli.reading import (
    DataOptions,
    DeviceOptions,
    LabelledOptions,
    RunOptions,
    integers,
    layer_of,
    numbers,
    open_both,
)
from plica.cli.units import Side, Units
from plica.errors import ArgumentError, DataError

if TYPE_CHECKING:
    import numpy as np

    from plica.loaders.images import ImageSet

Few = Annotated[LabelledOptions, {"limit": 20}]
AMinute = Annotated[RunOptions, {"max_seconds": 60.0}]
Radii = Annotated[str, typer.Option(help="Sizes of the balls, in the network's pixels.", metavar="R,R")]
Samples = Annotated[int, typer.Option(help="Points in each ball.", min=1)]
Sphere = Annotated[bool, typer.Option("--sphere/--ball", help="Draw from the surface of the balls.")]
Others = Annotated[Path, typer.Option(help="Result of plica attack on the same images, saved with --out.")]
Starts = Annotated[bool, typer.Option("--from-images/--from-middle", help="Also climb from the strongest image.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module, named as the functions."""
    add(app, certified_radius, error_rate, shared_activity, largest_activation)


def certified_radius(
    model: DeviceOptions, data: Few, run: RunOptions, norm: Norm = 2.0, lower: Lower = None, upper: Upper = None
) -> Answer:
    """Prove for every image a distance within which the network keeps its class; also for larger networks."""
    from plica.analyses.adversarial.certified import certified_radius as prove

    net, images = open_both(model, data)
    box = pixel_box(images, lower, upper, at_layer=False)
    with run.watch() as watch:
        return Answer(prove(net, images.images, images.labels, norm=norm, box=box, progress=watch), net, images)


def error_rate(
    model: DeviceOptions,
    data: Few,
    radii: Radii,
    run: RunOptions,
    norm: Norm = 2.0,
    samples: Samples = 1000,
    sphere: Sphere = False,
    lower: Lower = None,
    upper: Upper = None,
    seed: opt.Seed = 0,
) -> Answer:
    """Estimate how often random changes of given sizes make the network wrong, and where never, by proof."""
    from plica.analyses.adversarial.often import error_rate as estimate

    sizes = numbers(radii, "--radii") or ()
    given: dict[str, Any] = {"norm": norm, "radii": sizes, "samples": samples, "seed": seed, "sphere": sphere}
    net, images = open_both(model, data)
    box = pixel_box(images, lower, upper, at_layer=False)
    with run.watch() as watch:
        return Answer(estimate(net, images.images, images.labels, box=box, progress=watch, **given), net, images)


def shared_activity(model: DeviceOptions, data: DataOptions, others: Others, run: RunOptions) -> Answer:
    """Compare the activity of images with that of the adversarial examples that plica attack found for them."""
    from plica.analyses.adversarial.activity import shared_activity as compare

    net, images = open_both(model, data)
    first, second = _pairs(images, others)
    with run.watch() as watch:
        return Answer(compare(net, first, second, progress=watch), net, images)


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
    model: DeviceOptions,
    data: DataOptions,
    layer: opt.Layer,
    run: AMinute,
    units: Units = None,
    side: Side = "post",
    lower: Lower = None,
    upper: Upper = None,
    from_images: Starts = True,
) -> Answer:
    """Find the input of a box with the largest value of a unit, and bound what any input reaches."""
    from plica.analyses.adversarial.activation import largest_activation as search
    from plica.analyses.units import maximisers

    net, images = open_both(model, data)
    box, chosen = pixel_box(images, lower, upper, at_layer=False), integers(units, "--units")
    place, starts = layer_of(layer), None
    if from_images:
        strongest = maximisers(net, images.images, layer=place, top=1).images[:, 0]
        starts = images.images[sorted({int(strongest[u]) for u in chosen or range(len(strongest))})]
    with run.watch() as watch:
        found = search(net, layer=place, units=chosen, side=side, box=box, starts=starts, progress=watch)
    return Answer(found, net, images)
