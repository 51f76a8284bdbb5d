"""What units respond to: plica units, plica maximisers."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from plica.cli import options as opt
from plica.cli.command import Answer, add
from plica.cli.reading import DataOptions, DeviceOptions, LabelledOptions, RunOptions, integers, layer_of, open_both
from plica.errors import ArgumentError

Many = Annotated[LabelledOptions, {"limit": 10_000}]
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
    add(app, units, maximisers)


def units(
    model: DeviceOptions,
    data: DataOptions,
    layer: opt.Layer,
    run: RunOptions,
    units: Units = None,
    side: Side = "post",
    clusters: Clusters = None,
    level: Level = None,
    seed: opt.Seed = 0,
) -> Answer:
    """Linear map of units at every image, the units with the most different ones, or images of equal activation."""
    from plica.analyses.units import cluster_maps, equal_activation, unit_maps

    chosen = integers(units, "--units")
    if level is not None and len(chosen or ()) != 1:
        raise ArgumentError("--level needs one unit: --units 7, say.")
    net, images = open_both(model, data)
    place: dict[str, Any] = {"layer": layer_of(layer), "side": side}
    with run.watch() as watch:
        if level is not None and chosen:
            equal = equal_activation(net, images.images, unit=chosen[0], level=level, progress=watch, **place)
            return Answer(equal, net, images)
        maps = unit_maps(net, images.images, units=chosen, progress=watch, **place)
        found = maps if clusters is None else cluster_maps(maps, clusters, seed=seed, progress=watch)
    return Answer(found, net, images)


def maximisers(
    model: DeviceOptions,
    data: Many,
    layer: opt.Layer,
    run: RunOptions,
    directions: Directions = "natural",
    count: Count = None,
    top: Top = 8,
    seed: opt.Seed = 0,
) -> Answer:
    """The images that stimulate units of a layer, or random directions, most; and how pure their labels are."""
    from plica.analyses.units import maximisers as find

    net, images = open_both(model, data)
    with run.watch() as watch:
        found = find(net, images.images, layer=layer_of(layer), directions=directions, count=count, top=top,
                     labels=images.labels, seed=seed, progress=watch)  # fmt: skip
    return Answer(found, net, images)
