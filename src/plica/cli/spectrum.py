"""Stability of the map and of its inverse: spectrum, removed-rows, admissible-sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plica.cli import options as opt
from plica.cli.ending import finish
from plica.cli.live import progress
from plica.cli.reading import DataOptions, ModelOptions, open_both, plain, stamped_result
from plica.cli.reading import layer as read_layer
from plica.errors import ArgumentError, DataError

if TYPE_CHECKING:
    import numpy as np

Layers = Annotated[list[str] | None, typer.Option("--layers", help="Layer; repeat for several. Default: all.")]
Side = Annotated[str, typer.Option(help="pre: before a layer's choice; post: after it; both.")]
Vectors = Annotated[int, typer.Option(help="Keep so many most and least amplified directions.", min=0)]
Window = Annotated[
    str | None,
    typer.Option(help="Only these inputs vary: start:stop per axis of the input.", metavar="A:B,A:B,..."),
]
Matrix = Annotated[Path, typer.Argument(metavar="MATRIX", help="The matrix A: .npy, or .csv with a row per line.")]
Removed = Annotated[str | None, typer.Option(help="Rows that are removed, such as 0,3,17.", metavar="N,N")]
Bias = Annotated[Path | None, typer.Option(help="Vector b, as .npy or .csv. Default: zero.", metavar="FILE")]
Slopes = Annotated[float | None, typer.Option(help="Slope of a leaky unit in place of zero.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("spectrum")(spectrum)
    app.command("removed-rows")(removed_rows)
    app.command("admissible-sets")(admissible_sets)


def spectrum(
    model: opt.Model,
    data: opt.Data,
    layers: Layers = None,
    side: Side = "both",
    vectors: Vectors = 0,
    window: Window = None,
    split: opt.Split = "test",
    scale: opt.Scale = None,
    mean: opt.Mean = None,
    std: opt.Std = None,
    layout: opt.Layout = None,
    limit: opt.Limit = 10,
    input_shape: opt.InputShape = None,
    trust_pickle: opt.TrustPickle = False,
    out: opt.Out = None,
    max_seconds: opt.MaxSeconds = None,
    device: opt.Device = "cpu",
    threads: opt.Threads = None,
    as_json: opt.Json = False,
) -> None:
    """Singular values of the network's linearisation at every image, up to every layer."""
    from plica.analyses.spectrum import spectrum as compute

    opened = ModelOptions(model, input_shape, trust_pickle, device, threads)
    read = DataOptions(data, split, scale, mean, std, layout, None, limit)
    net, images = open_both(opened, read)
    chosen = None if not layers else [read_layer(name) for name in layers]
    settings: dict[str, Any] = {"side": side, "vectors": vectors}
    with progress(max_seconds) as watch:
        result = compute(net, images.images, chosen, window=_window(window), progress=watch, **settings)
    options = {"layers": layers or [], "window": window, **settings, **plain(opened), **plain(read)}
    finish(stamped_result(result, net, images, options), as_json=as_json, out=out)


def _window(text: str | None) -> list[slice] | None:
    """Read ``:,8:16,8:16`` as slices."""
    if text is None:
        return None
    cuts = []
    for part in text.split(","):
        ends = part.split(":")
        if len(ends) != 2 or not all(end.strip().removeprefix("-").isdigit() or not end.strip() for end in ends):
            raise ArgumentError(f"--window {text}: write start:stop per axis of the input, like :,8:16,8:16.")
        cuts.append(slice(*(int(end) if end.strip() else None for end in ends)))
    return cuts


def removed_rows(
    matrix: Matrix,
    removed: Removed = None,
    slopes: Slopes = None,
    out: opt.Out = None,
    as_json: opt.Json = False,
) -> None:
    """Singular values of a matrix before and after rows are set to zero, with Lemmas 8 and 9 of Behrmann et al."""
    from plica.analyses.spectrum import removed_rows as compute

    A = _array(matrix)
    result = compute(A, _rows(removed) or [], slopes=slopes)
    options = {"matrix": str(matrix), "removed": removed, "slopes": slopes}
    finish(stamped_result(result, None, A, options), as_json=as_json, out=out)


def admissible_sets(
    matrix: Matrix,
    b: Bias = None,
    removed: Removed = None,
    out: opt.Out = None,
    max_seconds: opt.MaxSeconds = None,
    as_json: opt.Json = False,
) -> None:
    """Find the sets of rows that relu(Ax + b) can remove, or decide about one (--removed); exact."""
    from plica.analyses.spectrum import admissible_sets as decide

    A = _array(matrix)
    offset = None if b is None else _array(b).reshape(-1)
    with progress(max_seconds) as watch:
        result = decide(A, offset, _rows(removed), progress=watch)
    options = {"matrix": str(matrix), "removed": removed}
    finish(stamped_result(result, None, A, options), as_json=as_json, out=out)


def _rows(text: str | None) -> list[int] | None:
    """Read ``0,3,17`` as row numbers; nothing between the commas stands for no row."""
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise ArgumentError(f"--removed {text}: write row numbers like 0,3,17.") from None


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
