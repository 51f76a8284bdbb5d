"""What units respond to: plica units, plica maximisers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from plica.cli import options as opt
from plica.cli.ending import finish
from plica.cli.live import progress
from plica.cli.reading import DataOptions, ModelOptions, open_both, plain, stamped_result
from plica.cli.reading import layer as read_layer
from plica.errors import ArgumentError

if TYPE_CHECKING:
    from plica.core.result import Result

Units = Annotated[str | None, typer.Option(help="Flat indices of units, such as 0,3,17; default: all.", metavar="N,N")]
Side = Annotated[str, typer.Option(help="post: after the layer's choices; pre: before them.")]
Clusters = Annotated[
    int | None,
    typer.Option(help="Also cluster each unit's maps by k-means into so many, and save the clusters.", min=1),
]
Level = Annotated[
    float | None, typer.Option(help="Instead find inputs at which the one unit named has exactly this value.")
]
Directions = Annotated[str, typer.Option(help="natural (single units), gaussian, orthogonal or centred.")]
Count = Annotated[int | None, typer.Option(help="So many directions; default: as many as units.", min=1)]
Top = Annotated[int, typer.Option(help="Images kept for each direction.", min=1)]


def register(app: typer.Typer) -> None:
    """Add the commands of this module; in Python they are plica.unit_maps and plica.maximisers."""
    app.command("units")(units)
    app.command("maximisers")(maximisers)


def units(
    model: opt.Model,
    data: opt.Data,
    layer: opt.Layer,
    units: Units = None,
    side: Side = "post",
    clusters: Clusters = None,
    level: Level = None,
    split: opt.Split = "test",
    scale: opt.Scale = None,
    mean: opt.Mean = None,
    std: opt.Std = None,
    layout: opt.Layout = None,
    limit: opt.Limit = 200,
    input_shape: opt.InputShape = None,
    trust_pickle: opt.TrustPickle = False,
    out: opt.Out = None,
    seed: opt.Seed = 0,
    max_seconds: opt.MaxSeconds = None,
    device: opt.Device = "cpu",
    threads: opt.Threads = None,
    as_json: opt.Json = False,
) -> None:
    """Linear map of units at every image, the units with the most different ones, or images of equal activation."""
    from plica.analyses.units import cluster_maps, equal_activation, unit_maps

    opened = ModelOptions(model, input_shape, trust_pickle, device, threads)
    read = DataOptions(data, split, scale, mean, std, layout, None, limit)
    chosen = _indices(units)
    if level is not None and len(chosen or ()) != 1:
        raise ArgumentError("--level needs one unit: --units 7, say.")
    net, images = open_both(opened, read)
    with progress(max_seconds) as watch:
        if level is not None and chosen:
            place: dict[str, Any] = {"layer": read_layer(layer), "side": side}
            result: Result = equal_activation(net, images.images, unit=chosen[0], level=level, progress=watch, **place)
        else:
            maps = unit_maps(net, images.images, layer=read_layer(layer), units=chosen, side=side, progress=watch)
            result = maps if clusters is None else cluster_maps(maps, clusters, seed=seed, progress=watch)
    options = {"layer": layer, "units": units, "side": side, "clusters": clusters, "level": level}
    finish(stamped_result(result, net, images, {**options, **plain(opened), **plain(read)}), as_json=as_json, out=out)


def maximisers(
    model: opt.Model,
    data: opt.Data,
    layer: opt.Layer,
    directions: Directions = "natural",
    count: Count = None,
    top: Top = 8,
    split: opt.Split = "test",
    scale: opt.Scale = None,
    mean: opt.Mean = None,
    std: opt.Std = None,
    layout: opt.Layout = None,
    labels: opt.Labels = None,
    limit: opt.Limit = 10_000,
    input_shape: opt.InputShape = None,
    trust_pickle: opt.TrustPickle = False,
    out: opt.Out = None,
    seed: opt.Seed = 0,
    max_seconds: opt.MaxSeconds = None,
    device: opt.Device = "cpu",
    threads: opt.Threads = None,
    as_json: opt.Json = False,
) -> None:
    """The images that stimulate units of a layer, or random directions, most; and how pure their labels are."""
    from plica.analyses.units import maximisers as find

    opened = ModelOptions(model, input_shape, trust_pickle, device, threads)
    read = DataOptions(data, split, scale, mean, std, layout, labels, limit)
    net, images = open_both(opened, read)
    with progress(max_seconds) as watch:
        result = find(net, images.images, layer=read_layer(layer), directions=directions, count=count, top=top,
                      labels=images.labels, seed=seed, progress=watch)  # fmt: skip
    options = {"layer": layer, "directions": directions, "count": count, "top": top, "seed": seed}
    finish(stamped_result(result, net, images, {**options, **plain(opened), **plain(read)}), as_json=as_json, out=out)


def _indices(text: str | None) -> list[int] | None:
    """Read ``0,3,17`` as unit indices."""
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ArgumentError(f"--units {text}: not a list of numbers. Write it like 0,3,17.") from None
