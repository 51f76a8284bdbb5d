"""The command mixing."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from plica.cli.command import Answer, add
from plica.cli.reading import LabelledOptions, ModelOptions, RunOptions, labels_of, layers_of, open_both, open_model

Few = Annotated[LabelledOptions, {"limit": 20}]
Layers = Annotated[list[str] | None, typer.Option("--layers", help="Layer; repeat for several. Default: all choices.")]
Reference = Annotated[
    Path | None, typer.Option(help="A second model, whose answers on the preimages are asked for.", metavar="MODEL")
]
Radius = Annotated[float | None, typer.Option(help="Size of the domain around the data's own range.")]
Extent = Annotated[
    str, typer.Option(help="Nearest points: in the image's own piece, in all pieces (nearest), or none.")
]
Each = Annotated[float, typer.Option(help="Time for each reading by --reference, and for each search over all pieces.")]

FiveMinutes = Annotated[RunOptions, {"max_seconds": 300.0}]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add(app, mixing)


def mixing(
    model: ModelOptions,
    data: Few,
    run: FiveMinutes,
    layers: Layers = None,
    reference: Reference = None,
    radius: Radius = None,
    extent: Extent = "piece",
    max_seconds_each: Each = 10.0,
) -> Answer:
    """Ask whether a layer gives images of different labels the same activity, or nearly so."""
    import numpy as np

    from plica.analyses.preimage import mixing as ask
    from plica.core.domain import Box

    net, images = open_both(model, data)
    labels, X, box = labels_of(images, data), images.images, None
    second = None if reference is None else open_model(replace(model, model=reference))
    if radius is not None:
        box = Box(np.full(math.prod(net.input_shape), float(X.min()) - radius), float(X.max()) + radius)
    with run.watch() as watch:
        found = ask(
            net, X, labels, layer=layers_of(layers), reference=second, domain=box, extent=extent,
            max_seconds_each=max_seconds_each, progress=watch,
        )  # fmt: skip
    return Answer(found, net, images)
