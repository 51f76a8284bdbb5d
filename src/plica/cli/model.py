"""Commands about a model alone: info."""

from __future__ import annotations

import typer

from plica.cli.command import add
from plica.cli.ending import finish
from plica.cli.reading import FileOptions, ShowOptions, open_model


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add(app, info)


def info(model: FileOptions, show: ShowOptions) -> None:
    """Show a model's layers: the names and indices that --layer takes, shapes, units, and what loading changed."""
    from plica.loaders import info as describe

    finish(describe(open_model(model)), as_json=show.as_json, out=show.out)
