"""The main job: plica report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from plica.cli import options as opt
from plica.cli.command import add
from plica.cli.ending import finish
from plica.cli.live import progress
from plica.cli.reading import DeviceOptions, LabelledOptions, checked_device, open_model, use_threads
from plica.errors import ArgumentError

OptionalModel = Annotated[
    Path | None, typer.Argument(metavar="[MODEL]", help="Model file; without it, two small example networks.")
]
OptionalData = Annotated[
    Path | None,
    typer.Option(
        help="Images: .npz, .npy, .csv, idx, or a folder. Needed with MODEL.", metavar="FILE", rich_help_panel="Data"
    ),
]
Folder = Annotated[Path, typer.Option(help="Folder to write the report to.", metavar="DIR", rich_help_panel="Run")]
MaxSeconds = Annotated[
    float,
    typer.Option(help="Stop after this time; the report says what is missing (exit code 3).", min=0.0,
                 rich_help_panel="Run"),
]  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add(app, report)


def report(
    model: OptionalModel = None,
    data: OptionalData = None,
    split: opt.Split = "test",
    scale: opt.Scale = None,
    mean: opt.Mean = None,
    std: opt.Std = None,
    layout: opt.Layout = None,
    labels: opt.Labels = None,
    limit: opt.Limit = 200,
    input_shape: opt.InputShape = None,
    trust_pickle: opt.TrustPickle = False,
    out: Folder = Path("report"),
    seed: opt.Seed = 0,
    max_seconds: MaxSeconds = 600.0,
    device: opt.Device = "cpu",
    threads: opt.Threads = None,
    as_json: opt.Json = False,
) -> None:
    """Study a network on images and write a report: one self-contained page that opens in any browser.

    Without MODEL, two small networks are trained on scikit-learn's digits and studied: the report of the README.
    """
    from plica.experiments.report import report as make

    use_threads(threads)
    net = None
    reading: dict[str, Any] = {"limit": limit}
    if model is not None:
        if data is None:
            raise ArgumentError("plica report MODEL needs images. Give them with --data FILE.")
        net = open_model(DeviceOptions(model, input_shape, trust_pickle, threads, device))
        reading = LabelledOptions(data, split, scale, mean, std, layout, limit, labels).arguments()
    else:
        checked_device(device)
    with progress() as watch:
        result = make(net, data, out=out, max_seconds=max_seconds, seed=seed, progress=watch, **reading)
    finish(result, as_json=as_json)
