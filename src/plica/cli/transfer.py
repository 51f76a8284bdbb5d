"""Perturbations carried from one model to others: plica transfer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from plica.cli import options as opt
from plica.cli.attack import Dtype, Lower, Method, Targets, Upper, in_dtype, pixel_box, target_rule
from plica.cli.ending import finish
from plica.cli.live import progress
from plica.cli.reading import DataOptions, ModelOptions, numbers, open_both, open_model, plain, stamped_result
from plica.errors import DataError

Models = Annotated[list[Path], typer.Argument(metavar="MODEL...", help="Two or more model files.")]
Noise = Annotated[str, typer.Option(help="Standard deviations of noise, in the network's pixels; '' for none.")]
Amplify = Annotated[
    str, typer.Option(help="Sizes to which perturbations are stretched, in both readings; '' for none.")
]
Clip = Annotated[bool, typer.Option("--clip/--no-clip", help="Move noisy and amplified images into the box.")]


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("transfer")(transfer)


def transfer(
    models: Models,
    data: opt.Data,
    noise: Noise = "0.1,0.3",
    amplify: Amplify = "0.1",
    clip: Clip = True,
    targets: Targets = "all",
    method: Method = "auto",
    lower: Lower = None,
    upper: Upper = None,
    dtype: Dtype = "own",
    split: opt.Split = "test",
    scale: opt.Scale = None,
    mean: opt.Mean = None,
    std: opt.Std = None,
    layout: opt.Layout = None,
    labels: opt.Labels = None,
    limit: opt.Limit = 200,
    input_shape: opt.InputShape = None,
    trust_pickle: opt.TrustPickle = False,
    out: opt.Out = None,
    seed: opt.Seed = 0,
    max_seconds: opt.MaxSeconds = None,
    device: opt.Device = "cpu",
    threads: opt.Threads = None,
    as_json: opt.Json = False,
) -> None:
    """Make the smallest perturbations for each network and let all of them read the images."""
    from plica.analyses.adversarial import transfer as carry

    opened = [ModelOptions(path, input_shape, trust_pickle, device, threads) for path in models]
    read = DataOptions(data, split, scale, mean, std, layout, labels, limit)
    levels, sizes = numbers(noise or None, "--noise") or (), numbers(amplify or None, "--amplify") or ()
    net, images = open_both(opened[0], read)
    if images.labels is None:
        raise DataError(f"{data} has no labels; give --labels FILE.")
    nets = [net, *(open_model(one) for one in opened[1:])]
    given: dict[str, Any] = {
        "targets": target_rule(targets),
        "method": method,
        "seed": seed,
        "noise": levels,
        "amplify": sizes,
    }
    named = dict(zip(_names(models), (in_dtype(one, dtype) for one in nets), strict=True))
    with progress(max_seconds) as watch:
        result = carry(
            named, images.images, images.labels,
            box=pixel_box(images, lower, upper, at_layer=False), clip=clip, progress=watch, **given,
        )  # fmt: skip
    options = {**given, "targets": targets, "clip": clip, "lower": lower, "upper": upper, "dtype": dtype}
    kept = {"models": [str(path) for path in models], **plain(opened[0]), **plain(read)}
    finish(stamped_result(result, net, images, {**options, **kept}), as_json=as_json, out=out)


def _names(models: list[Path]) -> list[str]:
    """File names; whole paths where two files share a name."""
    short = [path.name for path in models]
    return short if len(set(short)) == len(short) else [f"{k} {path}" for k, path in enumerate(models)]
