"""Commands about preimages: preimage-kind, nearest-facet, impostor, is-omnidirectional."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plica.cli import options as opt
from plica.cli.ending import finish
from plica.cli.live import progress
from plica.cli.reading import DataOptions, ModelOptions, open_both, plain, stamped_result
from plica.cli.reading import layer as read_layer
from plica.errors import ArgumentError, DataError

if TYPE_CHECKING:
    import numpy as np


Layers = Annotated[list[str] | None, typer.Option("--layers", help="Choice layer; repeat for several. Default: all.")]
Matrix = Annotated[Path, typer.Argument(metavar="MATRIX", help="The matrix A: .npy, or .csv with a row per line.")]
Vector = Annotated[Path | None, typer.Option(help="Vector, as .npy or .csv.", metavar="FILE")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("preimage-kind")(preimage_kind)
    app.command("nearest-facet")(nearest_facet)
    app.command("impostor")(impostor)
    app.command("is-omnidirectional")(is_omnidirectional)
    app.command("dual-cone")(dual_cone)


def preimage_kind(
    model: opt.Model,
    data: opt.Data,
    layer: opt.Layer,
    split: opt.Split = "test",
    scale: opt.Scale = None,
    mean: opt.Mean = None,
    std: opt.Std = None,
    layout: opt.Layout = None,
    limit: opt.Limit = 200,
    input_shape: opt.InputShape = None,
    trust_pickle: opt.TrustPickle = False,
    out: opt.Out = None,
    max_seconds: opt.MaxSeconds = None,
    device: opt.Device = "cpu",
    threads: opt.Threads = None,
    as_json: opt.Json = False,
) -> None:
    """Decide for every image what the layer cannot distinguish from it: a point, a bounded or an unbounded set."""
    from plica.analyses.preimage import preimage_kind as decide

    opened = ModelOptions(model, input_shape, trust_pickle, device, threads)
    read = DataOptions(data, split, scale, mean, std, layout, None, limit)
    net, images = open_both(opened, read)
    with progress(max_seconds) as watch:
        result = decide(net, images.images, layer=read_layer(layer), progress=watch)
    options = {"layer": layer, **plain(opened), **plain(read)}
    finish(stamped_result(result, net, images, options), as_json=as_json, out=out)


def nearest_facet(
    model: opt.Model,
    data: opt.Data,
    layers: Layers = None,
    split: opt.Split = "test",
    scale: opt.Scale = None,
    mean: opt.Mean = None,
    std: opt.Std = None,
    layout: opt.Layout = None,
    limit: opt.Limit = 200,
    input_shape: opt.InputShape = None,
    trust_pickle: opt.TrustPickle = False,
    out: opt.Out = None,
    max_seconds: opt.MaxSeconds = None,
    device: opt.Device = "cpu",
    threads: opt.Threads = None,
    as_json: opt.Json = False,
) -> None:
    """Measure for every image how far it is from the nearest place where a unit of each layer switches."""
    from plica.analyses.preimage import nearest_facet as measure

    opened = ModelOptions(model, input_shape, trust_pickle, device, threads)
    read = DataOptions(data, split, scale, mean, std, layout, None, limit)
    net, images = open_both(opened, read)
    chosen = None if not layers else [read_layer(name) for name in layers]
    with progress(max_seconds) as watch:
        result = measure(net, images.images, chosen, progress=watch)
    options = {"layers": layers or [], **plain(opened), **plain(read)}
    finish(stamped_result(result, net, images, options), as_json=as_json, out=out)


def impostor(
    model: opt.Model,
    data: opt.Data,
    layer: opt.Layer,
    x: Annotated[int, typer.Option("--x", help="Number of the image whose features are kept, from 0.", min=0)],
    towards: Annotated[int, typer.Option(help="Number of the image to look like, from 0.", min=0)],
    tolerance: Annotated[float, typer.Option(help="How far each feature may move.", min=0.0)] = 0.0,
    extent: Annotated[
        str, typer.Option(help="piece: the image's own piece; nearest, farthest: over the whole preimage.")
    ] = "piece",
    split: opt.Split = "test",
    scale: opt.Scale = None,
    mean: opt.Mean = None,
    std: opt.Std = None,
    layout: opt.Layout = None,
    input_shape: opt.InputShape = None,
    trust_pickle: opt.TrustPickle = False,
    out: opt.Out = None,
    max_seconds: opt.MaxSeconds = None,
    device: opt.Device = "cpu",
    threads: opt.Threads = None,
    as_json: opt.Json = False,
) -> None:
    """Find the input with the features of one image that looks most like another."""
    from plica.analyses.preimage import impostor as search

    opened = ModelOptions(model, input_shape, trust_pickle, device, threads)
    read = DataOptions(data, split, scale, mean, std, layout, None, max(x, towards) + 1)
    net, images = open_both(opened, read)
    if len(images) <= max(x, towards):
        raise ArgumentError(
            f"{data} has {len(images)} images; there is no image {max(x, towards)} (they count from 0)."
        )
    own, other = images.images[x], images.images[towards]
    with progress(max_seconds) as watch:
        result = search(net, own, other, layer=read_layer(layer), tolerance=tolerance, extent=extent, progress=watch)
    options = {
        "layer": layer, "x": x, "towards": towards, "tolerance": tolerance, "extent": extent, **plain(opened),
        **plain(read),
    }  # fmt: skip
    finish(stamped_result(result, net, images, options), as_json=as_json, out=out)


def is_omnidirectional(
    matrix: Matrix,
    b: Vector = None,
    point: Vector = None,
    out: opt.Out = None,
    max_seconds: opt.MaxSeconds = None,
    as_json: opt.Json = False,
) -> None:
    """Decide exactly whether A v <= 0 holds for v = 0 only (and, with --b and --point, whether b = -A p)."""
    from plica.analyses.preimage import is_omnidirectional as decide

    A = _array(matrix)
    vectors = [None if path is None else _array(path).reshape(-1) for path in (b, point)]
    with progress(max_seconds) as watch:
        result = decide(A, *vectors, progress=watch)
    finish(stamped_result(result, None, A, {"matrix": str(matrix)}), as_json=as_json, out=out)


def dual_cone(
    matrix: Annotated[Path, typer.Argument(metavar="MATRIX", help="The matrix W: .npy, or .csv with a row per line.")],
    x: Annotated[Path, typer.Option("--x", help="An input with the activity, as .npy or .csv.", metavar="FILE")],
    b: Vector = None,
    out: opt.Out = None,
    as_json: opt.Json = False,
) -> None:
    """Write the preimage of one ReLU layer's activity by its dual basis: a point, rays and the null space."""
    from plica.analyses.preimage import dual_cone as write

    W = _array(matrix)
    result = write(W, _array(x).reshape(-1), None if b is None else _array(b).reshape(-1))
    finish(stamped_result(result, None, W, {"matrix": str(matrix)}), as_json=as_json, out=out)


def _array(path: Path) -> np.ndarray:
    """Read a matrix of numbers."""
    import numpy as np

    try:
        read = np.load(path, allow_pickle=False) if path.suffix == ".npy" else np.loadtxt(path, delimiter=",", ndmin=2)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"'{path}' is not a matrix of numbers ({error}). Give .npy, or .csv with a row per line."
        ) from None
    return np.asarray(read)
