"""Bounds for the number of linear regions: plica bounds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from plica.cli import options as opt
from plica.cli.command import Answer, add
from plica.cli.reading import FileOptions, RunOptions, open_model, shape

Widths = Annotated[
    str, typer.Argument(metavar="WIDTHS|MODEL", help="Units per hidden layer, such as 64,64,64; or a model file.")
]
Inputs = Annotated[
    int | None,
    typer.Option(help="Dimension of the input space; of a model, of a slice of it.", min=1),
]
Kind = Annotated[str, typer.Option(help="Units of WIDTHS: relu or maxout.")]
Rank = Annotated[int | None, typer.Option(help="Affine functions per maxout unit.", min=2)]


def register(app: typer.Typer) -> None:
    """Add the command of this module; in Python it is plica.region_bounds."""
    add(app, bounds)


def bounds(
    widths: Widths,
    run: RunOptions,
    inputs: Inputs = None,
    kind: Kind = "relu",
    rank: Rank = None,
    input_shape: opt.InputShape = None,
    trust_pickle: opt.TrustPickle = False,
) -> Answer:
    """Lower and upper bounds for the number of linear regions, exact numbers, each with its source."""
    from plica.analyses.regions.bounds import region_bounds

    if re.fullmatch(r"\d+([,x]\d+)*", widths) and not Path(widths).exists():
        with run.watch() as watch:
            units = list(shape(widths) or ())
            return Answer(region_bounds(units, inputs=inputs, kind=kind, rank=rank, progress=watch))
    net = open_model(FileOptions(Path(widths), input_shape, trust_pickle))
    with run.watch() as watch:
        return Answer(region_bounds(net, inputs=inputs, progress=watch), net)
