"""Commands about a model alone: info."""

from __future__ import annotations

import typer

from plica.cli import options as opt
from plica.cli.ending import finish
from plica.cli.reading import ModelOptions, open_model


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("info")(info)


def info(
    model: opt.Model,
    input_shape: opt.InputShape = None,
    trust_pickle: opt.TrustPickle = False,
    out: opt.Out = None,
    as_json: opt.Json = False,
) -> None:
    """Show a model's layers: the names and indices that --layer takes, shapes, units, and what loading changed."""
    from plica.loaders import info as describe

    net = open_model(ModelOptions(model, input_shape, trust_pickle))
    finish(describe(net), as_json=as_json, out=out)
