"""Long work: plica run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from plica.cli import options as opt
from plica.cli.command import Answer, add
from plica.cli.reading import DeviceOptions, ImageOptions, RunOptions, open_both
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
    add(app, run)


def run(
    analysis: Analysis,
    model: DeviceOptions,
    data: ImageOptions,
    folder: opt.Kept,
    time: RunOptions,
    set_: Set = None,
    workers: opt.Workers = 1,
    cluster: opt.Cluster = None,
    chunk: Chunk = None,
    wait: opt.Wait = False,
    limit: Limit = None,
    seed: opt.Seed = 0,
) -> Answer:
    """Run an analysis over many images in chunks that survive everything; a second run continues."""
    from plica.jobs import ANALYSES
    from plica.jobs import run as compute

    given = arguments(set_ or [])
    if (found := ANALYSES.get(analysis.replace("-", "_"))) is not None and found.seeded:
        given.setdefault("seed", seed)
    net, images = open_both(model, data, limit=limit)
    where: dict[str, Any] = {"folder": folder, "workers": workers, "cluster": cluster, "chunk": chunk, "wait": wait}
    if found is not None and "y" in found.each and images.labels is not None:
        given.setdefault("y", images.labels)
    with time.watch() as watch:
        return Answer(compute(analysis, net, images.images, progress=watch, **where, **given), net, images)


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
