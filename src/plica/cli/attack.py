"""Smallest perturbations: plica attack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from plica.cli import options as opt
from plica.cli.command import Answer, add
from plica.cli.reading import DeviceOptions, LabelledOptions, RunOptions, layer_or_none, open_both
from plica.errors import ArgumentError

if TYPE_CHECKING:
    from plica.core.domain import Box
    from plica.core.network import Network
    from plica.loaders.images import ImageSet


def _norm(text: str | float) -> float:
    try:
        return float(text)
    except ValueError:
        raise ArgumentError(f"--norm {text}: use 2, inf or 1.") from None


Norm = Annotated[
    float, typer.Option(help="Norm of the distance, or of the balls: 2, inf or 1.", metavar="NORM", parser=_norm)
]
Targets = Annotated[
    str, typer.Option(help="Class to reach: all (any wrong one), second, random, least, or a class number.")
]
Method = Annotated[str, typer.Option(help="auto, fast, lbfgs (the paper's, in one batch) or lbfgs_scipy.")]
OneLayer = Annotated[str | None, typer.Option(help="Perturb the values of this layer instead of the images.")]
Lower = Annotated[float | None, typer.Option(help="Least allowed value. Default: black, as the network reads it.")]
Upper = Annotated[float | None, typer.Option(help="Largest allowed value. Default: white, as the network reads it.")]
Exact = Annotated[bool, typer.Option("--exact", help="Also prove that nothing is nearer, image by image.")]
Dtype = Annotated[str, typer.Option(help="Arithmetic: own (the model file's), float32 or float64.")]


def register(app: typer.Typer) -> None:
    """Add the command of this module; in Python it is plica.min_distortion."""
    add(app, attack)


def attack(
    model: DeviceOptions,
    data: LabelledOptions,
    run: RunOptions,
    norm: Norm = 2.0,
    targets: Targets = "all",
    method: Method = "auto",
    layer: OneLayer = None,
    lower: Lower = None,
    upper: Upper = None,
    dtype: Dtype = "own",
    exact: Exact = False,
    seed: opt.Seed = 0,
) -> Answer:
    """Find for every image the nearest one that the network gets wrong."""
    from plica.analyses.adversarial import min_distortion

    net, images = open_both(model, data)
    given: dict[str, Any] = {"norm": norm, "targets": target_rule(targets), "method": method, "exact": exact}
    given |= {"layer": layer_or_none(layer), "box": pixel_box(images, lower, upper, at_layer=layer is not None)}
    with run.watch() as watch:
        found = min_distortion(in_dtype(net, dtype), images.images, images.labels, seed=seed, progress=watch, **given)
    return Answer(found, net, images)


def target_rule(text: str) -> str | int:
    """A rule, or a class for all images."""
    return int(text) if text.isdigit() else text


def in_dtype(net: Network, dtype: str) -> Network:
    """The network in the arithmetic that was asked for."""
    import torch

    name = net.origin.dtype if dtype == "own" else dtype
    if name not in ("float32", "float64"):
        if dtype != "own":
            raise ArgumentError(f"--dtype {dtype}: use own, float32 or float64.")
        name = "float64"  # half precision has no kernels for every layer on the CPU
    return net.cast(getattr(torch, name))


def pixel_box(images: ImageSet, lower: float | None, upper: float | None, *, at_layer: bool) -> Box | None:
    """From black to white, or as given; no limits at a layer unless they are given."""
    import numpy as np

    from plica.core.domain import Box

    black, white = images.limits or (None, None)
    if at_layer:
        if lower is None and upper is None:
            return None
        black, white = np.array([-np.inf]), np.array([np.inf])
    low = np.full_like(black, lower) if black is not None and lower is not None else black
    high = np.full_like(white, upper) if white is not None and upper is not None else white
    if low is None or high is None:
        if lower is None or upper is None:
            raise ArgumentError(
                f"The numbers in '{images.name}' go from {images.raw_range[0]:g} to {images.raw_range[1]:g}, which are "
                "no pixels; give --lower and --upper, the values that an input may have."
            )
        low, high = np.array([lower]), np.array([upper])
    return Box(np.ravel(low), np.ravel(high))
