"""Bounds for the number of linear regions: plica bounds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from plica.cli import options as opt
from plica.cli.ending import finish
from plica.cli.live import progress
from plica.cli.reading import ModelOptions, open_model, plain, shape, stamped_result

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
    app.command("bounds")(bounds)


def bounds(
    widths: Widths,
    inputs: Inputs = None,
    kind: Kind = "relu",
    rank: Rank = None,
    input_shape: opt.InputShape = None,
    trust_pickle: opt.TrustPickle = False,
    out: opt.Out = None,
    max_seconds: opt.MaxSeconds = None,
    as_json: opt.Json = False,
) -> None:
    """Lower and upper bounds for the number of linear regions, exact numbers, each with its source."""
    from plica.analyses.regions.bounds import region_bounds

    options: dict[str, Any] = {"widths": widths, "inputs": inputs, "kind": kind, "rank": rank}
    with progress(max_seconds) as watch:
        if re.fullmatch(r"\d+([,x]\d+)*", widths) and not Path(widths).exists():
            result = region_bounds(list(shape(widths) or ()), inputs=inputs, kind=kind, rank=rank, progress=watch)
            finish(stamped_result(result, None, None, options), as_json=as_json, out=out)
            return
        opened = ModelOptions(Path(widths), input_shape, trust_pickle)
        net = open_model(opened)
        result = region_bounds(net, inputs=inputs, progress=watch)
    finish(stamped_result(result, net, None, {**options, **plain(opened)}), as_json=as_json, out=out)
