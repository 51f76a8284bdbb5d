"""The command mixing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from plica.cli import options as opt
from plica.cli.ending import finish
from plica.cli.live import progress
from plica.cli.reading import DataOptions, ModelOptions, open_both, open_model, plain, stamped_result
from plica.cli.reading import layer as read_layer
from plica.errors import DataError

Layers = Annotated[list[str] | None, typer.Option("--layers", help="Layer; repeat for several. Default: all choices.")]
Reference = Annotated[
    Path | None, typer.Option(help="A second model, whose answers on the preimages are asked for.", metavar="MODEL")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("mixing")(mixing)


def mixing(
    model: opt.Model,
    data: opt.Data,
    layers: Layers = None,
    reference: Reference = None,
    radius: Annotated[float | None, typer.Option(help="Size of the domain around the data's own range.")] = None,
    extent: Annotated[
        str, typer.Option(help="Nearest points: in the image's own piece, in all pieces (nearest), or none.")
    ] = "piece",
    max_seconds_each: Annotated[
        float, typer.Option(help="Time for each reading by --reference, and for each search over all pieces.")
    ] = 10.0,
    split: opt.Split = "test",
    scale: opt.Scale = None,
    mean: opt.Mean = None,
    std: opt.Std = None,
    layout: opt.Layout = None,
    labels: opt.Labels = None,
    limit: opt.Limit = 20,
    input_shape: opt.InputShape = None,
    trust_pickle: opt.TrustPickle = False,
    out: opt.Out = None,
    max_seconds: opt.MaxSeconds = None,
    threads: opt.Threads = None,
    as_json: opt.Json = False,
) -> None:
    """Ask whether a layer gives images of different labels the same activity, or nearly so."""
    import numpy as np

    from plica.analyses.preimage import mixing as ask
    from plica.core.domain import Box

    opened = ModelOptions(model, input_shape, trust_pickle, "cpu", threads)
    read = DataOptions(data, split, scale, mean, std, layout, labels, limit)
    net, images = open_both(opened, read)
    if images.labels is None:
        raise DataError(f"{data} has no labels; give --labels FILE.")
    second = None
    if reference is not None:
        second = open_model(ModelOptions(reference, input_shape, trust_pickle, "cpu", threads))
    X = images.images
    box = None
    if radius is not None:
        size = int(np.prod(net.input_shape))
        box = Box(np.full(size, float(X.min()) - radius), float(X.max()) + radius)
    chosen = None if not layers else [read_layer(name) for name in layers]
    with progress(max_seconds) as watch:
        result = ask(
            net, X, images.labels, layer=chosen, reference=second, domain=box, extent=extent,
            max_seconds_each=max_seconds_each, progress=watch,
        )  # fmt: skip
    options = {
        "layers": layers or [], "reference": None if reference is None else str(reference), "radius": radius,
        "extent": extent, "max_seconds_each": max_seconds_each, **plain(opened),
        **plain(read),
    }  # fmt: skip
    finish(stamped_result(result, net, images, options), as_json=as_json, out=out)
