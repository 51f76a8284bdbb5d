"""Perturbations carried from one model to others: plica transfer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from plica.cli import options as opt
from plica.cli.attack import Dtype, Lower, Method, Targets, Upper, in_dtype, pixel_box, target_rule
from plica.cli.command import Answer, add
from plica.cli.reading import (
    DeviceOptions,
    LabelledOptions,
    RunOptions,
    labels_of,
    numbers,
    open_both,
    open_model,
)

Models = Annotated[list[Path], typer.Argument(metavar="MODEL...", help="Two or more model files.")]
Noise = Annotated[str, typer.Option(help="Standard deviations of noise, in the network's pixels; '' for none.")]
Amplify = Annotated[
    str, typer.Option(help="Sizes to which perturbations are stretched, in both readings; '' for none.")
]
Clip = Annotated[bool, typer.Option("--clip/--no-clip", help="Move noisy and amplified images into the box.")]


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    add(app, transfer)


def transfer(
    models: Models,
    data: LabelledOptions,
    run: RunOptions,
    noise: Noise = "0.1,0.3",
    amplify: Amplify = "0.1",
    clip: Clip = True,
    targets: Targets = "all",
    method: Method = "auto",
    lower: Lower = None,
    upper: Upper = None,
    dtype: Dtype = "own",
    input_shape: opt.InputShape = None,
    trust_pickle: opt.TrustPickle = False,
    seed: opt.Seed = 0,
    device: opt.Device = "cpu",
    threads: opt.Threads = None,
) -> Answer:
    """Make the smallest perturbations for each network and let all of them read the images."""
    from plica.analyses.adversarial import transfer as carry

    opened = [DeviceOptions(path, input_shape, trust_pickle, threads, device) for path in models]
    levels, sizes = numbers(noise or None, "--noise") or (), numbers(amplify or None, "--amplify") or ()
    net, images = open_both(opened[0], data)
    labels = labels_of(images, data)
    nets = [net, *(open_model(one) for one in opened[1:])]
    given: dict[str, Any] = {"targets": target_rule(targets), "method": method, "seed": seed, "clip": clip}
    given |= {"noise": levels, "amplify": sizes, "box": pixel_box(images, lower, upper, at_layer=False)}
    named = dict(zip(_names(models), (in_dtype(one, dtype) for one in nets), strict=True))
    with run.watch() as watch:
        return Answer(carry(named, images.images, labels, progress=watch, **given), net, images)


def _names(models: list[Path]) -> list[str]:
    """File names; whole paths where two files share a name."""
    short = [path.name for path in models]
    return short if len(set(short)) == len(short) else [f"{k} {path}" for k, path in enumerate(models)]
