"""Figures of the papers: plica reproduce."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from plica.cli import options as opt
from plica.cli.command import add
from plica.cli.ending import finish
from plica.cli.live import progress
from plica.cli.reading import use_threads

Paper = Annotated[str, typer.Argument(metavar="PAPER", help="Short name of the paper, such as bibi2018.")]
Figures = Annotated[list[str] | None, typer.Argument(metavar="[FIGURES]...", help="Such as fig2 table1; default: all.")]
Full = Annotated[
    bool, typer.Option("--full/--quick", help="Sizes of the paper; or sizes that take ten minutes in all.")
]
Data = Annotated[Path | None, typer.Option(help="Folder with mnist.npz and cifar10_subset.npz.", metavar="DIR")]
Folder = Annotated[Path, typer.Option(help="Folder to write to; figures that are there are kept.", metavar="DIR")]


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    add(app, reproduce)


def reproduce(
    paper: Paper,
    figures: Figures = None,
    full: Full = False,
    data: Data = None,
    out: Folder = Path("reproduce"),
    seed: opt.Seed = 0,
    max_seconds: opt.MaxSeconds = None,
    threads: opt.Threads = None,
    as_json: opt.Json = False,
) -> None:
    """Make figures and tables of a paper again and compare them with what is printed there."""
    from plica.experiments.reproduce import reproduce as make

    use_threads(threads)
    with progress() as watch:
        result = make(paper, figures, full=full, data=data, out=out, seed=seed, max_seconds=max_seconds, progress=watch)
    finish(result, as_json=as_json)
