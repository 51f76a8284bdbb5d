"""Commands about saved results: load-result, diff."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from plica.cli import options as opt
from plica.cli.command import add
from plica.cli.ending import DIFFERENT, finish
from plica.cli.reading import ShowOptions

Saved = Annotated[Path, typer.Argument(metavar="FILE", help="A result saved with --out or plica.save.")]
First = Annotated[Path, typer.Argument(metavar="A", help="A saved result, or a folder of them (a report's).")]
Second = Annotated[Path, typer.Argument(metavar="B", help="The other.")]
Tolerance = Annotated[float, typer.Option(help="Numbers may differ by this, relative above 1.", min=0.0)]
Plot = Annotated[Path | None, typer.Option(help="Draw it: .png, .svg or .pdf.", metavar="FILE")]
Table = Annotated[Path | None, typer.Option(help="Write its rows: .csv or .tex.", metavar="FILE")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add(app, load_result, diff)


def load_result(file: Saved, plot: Plot = None, table: Table = None, as_json: opt.Json = False) -> None:
    """Show a saved result and how it was made; draw it, or write its rows as a table."""
    from plica.store import load_result as read

    result = read(file)
    if plot is not None:
        from plica.show.plot import save_plot

        save_plot(result, plot)
    if table is not None:
        from plica.show.tables import save_table

        save_table(result, table)
    lines = [f"{key}: {value}" for key, value in result.header.items()]
    written = [f"saved: {path}" for path in (plot, table) if path is not None]
    finish(result, as_json=as_json, extra="\n".join([*lines, *written]))


def diff(a: First, b: Second, show: ShowOptions, tolerance: Tolerance = 0.0) -> None:
    """Compare two saved results, or two reports. Exit code 0: equal; 1: different."""
    from plica.compare import diff as compare

    result = compare(a, b, tolerance=tolerance)
    finish(result, as_json=show.as_json, out=show.out)
    if not result:
        raise typer.Exit(DIFFERENT)
