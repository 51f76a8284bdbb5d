"""The application: which commands there are, and how errors and interrupts end."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from plica.cli import (
    attack,
    bounds,
    lipschitz,
    long_work,
    model,
    moments,
    noise,
    preimage,
    proof,
    report,
    reproduce,
    results,
    spectrum,
    union,
    units,
)
from plica.cli.ending import BAD_INPUT, BUDGET_REACHED, INTERRUPTED, one_line
from plica.errors import BudgetReached, PlicaError

EPILOG = (
    "Exit codes: 0 done, 2 bad input, 3 budget reached, 130 interrupted (what was done by then is kept). "
    "Every command is also a Python function: preimage-kind is plica.preimage_kind."
)

app = typer.Typer(
    name="plica",
    help="Exact answers about piecewise-linear neural networks.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (
    report,
    model,
    preimage,
    union,
    moments,
    noise,
    attack,
    bounds,
    units,
    spectrum,
    reproduce,
    lipschitz,
    proof,
    results,
    long_work,
):
    module.register(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        from plica import __version__

        typer.echo(f"plica {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and stop.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Exact answers about piecewise-linear neural networks."""


def run() -> None:
    """Run the command line and leave with its exit code; errors of plica are one line on stderr."""
    try:
        app()
    except BudgetReached as error:
        typer.echo(f"plica: {one_line(error)}", err=True)
        sys.exit(BUDGET_REACHED)
    except PlicaError as error:
        typer.echo(f"plica: {one_line(error)}", err=True)
        sys.exit(BAD_INPUT)
    except KeyboardInterrupt:
        typer.echo("plica: interrupted.", err=True)
        sys.exit(INTERRUPTED)
