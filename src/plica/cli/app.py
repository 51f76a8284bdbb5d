"""The application: which commands there are, and how errors and interrupts end."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from plica.cli import (
    attack,
    bounds,
    distances,
    lipschitz,
    long_work,
    mixing,
    model,
    moments,
    noise,
    preimage,
    proof,
    regions,
    report,
    reproduce,
    results,
    spectrum,
    transfer,
    union,
    units,
)
from plica.cli.ending import BAD_INPUT, BUDGET_REACHED, INTERRUPTED, one_line
from plica.errors import BudgetReached, PlicaError

DEBUG = "--debug"
EPILOG = (
    "Exit codes: 0 done, 2 bad input, 3 budget reached, 130 interrupted (what was done by then is kept). "
    "`plica diff` alone has 1: different. "
    "Every command is also a Python function: preimage-kind is plica.preimage_kind."
)

app = typer.Typer(
    name="plica",
    help="Exact answers about piecewise-linear neural networks.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
GROUPS = {
    "Start here": (report, model),
    "What can a layer not distinguish?": (preimage, union, mixing),
    "Into how many linear pieces does the network fold its inputs?": (regions, bounds),
    "How stable is it?": (spectrum, lipschitz),
    "What does noise do?": (moments, noise),
    "How near is the nearest mistake, and what do single units see?": (attack, distances, transfer, units),
    "Proof, results, long work, papers": (proof, results, long_work, reproduce),
}
for title, modules in GROUPS.items():
    for module in modules:
        known = len(app.registered_commands)
        module.register(app)
        for command in app.registered_commands[known:]:
            command.rich_help_panel = title


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(versions())
        raise typer.Exit


def versions() -> str:
    """plica's version and those of what it needs, a line each; nothing of it is imported."""
    import platform
    import re
    from importlib.metadata import PackageNotFoundError, requires, version

    from plica import __version__

    lines = [f"plica {__version__}", f"python {platform.python_version()}"]
    for requirement in requires("plica") or ():
        if "extra ==" in requirement:
            continue
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        try:
            lines.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            lines.append(f"{name} is missing")
    return "\n".join(lines)


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the versions of plica and its parts.", callback=_show_version,
                     is_eager=True),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error comes from; in any place.")] = False,
) -> None:  # fmt: skip
    """Exact answers about piecewise-linear neural networks."""


def run() -> None:
    """Run the command line and leave with its exit code.

    An error is one line on stderr; with ``--debug``, wherever it stands in the line, Python's traceback comes first.
    """
    arguments = [word for word in sys.argv[1:] if word != DEBUG]
    try:
        app(arguments)
    except (Exception, KeyboardInterrupt) as error:
        if DEBUG in sys.argv:
            import traceback

            typer.echo(traceback.format_exc(), err=True)
        text, code = _ending(error)
        typer.echo(f"plica: {text}", err=True)
        sys.exit(code)


def _ending(error: BaseException) -> tuple[str, int]:
    """What to say about an error, and the exit code."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted.", INTERRUPTED
    if isinstance(error, BudgetReached):
        return one_line(error), BUDGET_REACHED
    if isinstance(error, PlicaError):
        return one_line(error), BAD_INPUT
    if isinstance(error, MemoryError):
        return "out of memory. Use fewer images (--limit) or a smaller model.", BAD_INPUT
    what = f"{type(error).__name__}: {one_line(error)}"
    return f"unexpected {what} This is a mistake in plica; run again with {DEBUG} and report what it shows.", 1
