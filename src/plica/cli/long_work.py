"""Long work: plica run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from plica.cli import options as opt
from plica.cli.ending import finish
from plica.cli.live import progress
from plica.cli.reading import DataOptions, ModelOptions, open_both, plain, stamped_result
from plica.errors import ArgumentError, DataError

Analysis = Annotated[
    str, typer.Argument(metavar="ANALYSIS", help="Name of the analysis, such as preimage-kind; a wrong one lists all.")
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Argument of the analysis, named as in Python; @FILE.npy is an array.", metavar="NAME=VALUE"
    ),
]
Chunk = Annotated[int | None, typer.Option(help="Images per chunk. Default: about two seconds' worth.", min=1)]
Limit = Annotated[int | None, typer.Option(help="Use so many images. Default: all.", min=1, rich_help_panel="Data")]


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("run")(run)


def run(
    analysis: Analysis,
    model: opt.Model,
    data: opt.Data,
    folder: opt.Kept,
    set_: Set = None,
    workers: opt.Workers = 1,
    cluster: opt.Cluster = None,
    chunk: Chunk = None,
    wait: opt.Wait = False,
    split: opt.Split = "test",
    scale: opt.Scale = None,
    mean: opt.Mean = None,
    std: opt.Std = None,
    layout: opt.Layout = None,
    limit: Limit = None,
    input_shape: opt.InputShape = None,
    trust_pickle: opt.TrustPickle = False,
    out: opt.Out = None,
    seed: opt.Seed = 0,
    max_seconds: opt.MaxSeconds = None,
    device: opt.Device = "cpu",
    threads: opt.Threads = None,
    as_json: opt.Json = False,
) -> None:
    """Run an analysis over many images in chunks that survive everything; a second run continues."""
    from plica.jobs import ANALYSES
    from plica.jobs import run as compute

    given = arguments(set_ or [])
    if (found := ANALYSES.get(analysis.replace("-", "_"))) is not None and found.seeded:
        given.setdefault("seed", seed)
    opened = ModelOptions(model, input_shape, trust_pickle, device, threads)
    read = DataOptions(data, split, scale, mean, std, layout, None, limit or 2**62)
    net, images = open_both(opened, read)
    where: dict[str, Any] = {"folder": folder, "workers": workers, "cluster": cluster, "chunk": chunk, "wait": wait}
    if found is not None and "y" in found.each and images.labels is not None:
        given.setdefault("y", images.labels)
    with progress(max_seconds) as watch:
        result = compute(analysis, net, images.images, progress=watch, **where, **given)
    shown = {"analysis": analysis, "set": set_ or [], "folder": str(folder), **plain(opened), **plain(read)}
    finish(stamped_result(result, net, images, shown), as_json=as_json, out=out)


def arguments(pairs: list[str]) -> dict[str, Any]:
    """Read NAME=VALUE: JSON where it is JSON, an array for @FILE.npy, else text.

    Raises
    ------
    ArgumentError, DataError
        No "=" in a pair; a file that is no array.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name.isidentifier():
            raise ArgumentError(f"--set {pair}: write NAME=VALUE, such as --set layer=relu1.")
        try:
            found[name] = _array(Path(text[1:])) if text.startswith("@") else json.loads(text)
        except json.JSONDecodeError:
            found[name] = text
    return found


def _array(path: Path) -> Any:
    import numpy as np

    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"'{path}' is not an array ({error}). Give a .npy file.") from None
