"""Commands about saved results: load-result."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from plica.cli import options as opt
from plica.cli.ending import finish

Saved = Annotated[Path, typer.Argument(metavar="FILE", help="A result saved with --out or plica.save.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("load-result")(load_result)


def load_result(file: Saved, as_json: opt.Json = False) -> None:
    """Show a saved result and how it was made."""
    from plica.store import load_result as read

    result = read(file)
    finish(result, as_json=as_json, extra="\n".join(f"{key}: {value}" for key, value in result.header.items()))
