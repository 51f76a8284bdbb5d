"""Linear regions: regions, stream-regions and count-regions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plica.cli import options as opt
from plica.cli.ending import as_text, finish, leave
from plica.cli.live import progress
from plica.cli.reading import DataOptions, ModelOptions, open_images, open_model, plain, property_case, stamped_result
from plica.errors import ArgumentError

if TYPE_CHECKING:
    from plica.core.domain import Box, Plane
    from plica.core.network import Network

Lower = Annotated[str | None, typer.Option(help="Lower corner of a box: a number, or one per input.", metavar="X[,X]")]
Upper = Annotated[str | None, typer.Option(help="Upper corner of the box.", metavar="X[,X]")]
Through = Annotated[
    str | None, typer.Option(help="Numbers of images of --data: the plane (or line) through them.", metavar="I,I,I")
]
Margin = Annotated[float, typer.Option(help="How far the plane's window reaches beyond the images, as a share.")]
Images = Annotated[Path | None, typer.Option("--data", help="Images for --through.", metavar="FILE")]
Maps = Annotated[bool, typer.Option("--maps", help="Also affine maps, singular values and linear regions.")]
Most = Annotated[int | None, typer.Option(help="Stop when so many regions are found.", min=1)]
Part = Annotated[int, typer.Option(help="Regions in a file, about.", min=1)]
Folder = Annotated[Path, typer.Option(help="Folder for the parts, part-00000.npz and so on.", metavar="FOLDER")]
Threads = Annotated[int, typer.Option(help="Threads that take cells.", min=1)]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("regions")(regions)
    app.command("stream-regions")(stream_regions)
    app.command("count-regions")(count_regions)
    app.command("run-count")(run_count)


def regions(
    model: opt.Model,
    lower: Lower = None,
    upper: Upper = None,
    data: Images = None,
    through: Through = None,
    margin: Margin = 0.1,
    property_: opt.Property = None,
    case: opt.Case = None,
    maps: Maps = False,
    max_regions: Most = None,
    scale: opt.Scale = None,
    input_shape: opt.InputShape = None,
    trust_pickle: opt.TrustPickle = False,
    out: opt.Out = None,
    max_seconds: opt.MaxSeconds = None,
    threads: Threads = 1,
    as_json: opt.Json = False,
) -> None:
    """List the activation regions in a box or on a plane through images: patterns, vertices, facets, sizes, maps."""
    from plica.analyses.regions.analysis import regions as compute

    opened = ModelOptions(model, input_shape, trust_pickle)
    net = open_model(opened)
    corners = (lower, upper, property_, case)
    domain = _domain(net, corners, None if data is None else DataOptions(data, scale=scale), through, margin)
    with progress(max_seconds) as watch:
        result = compute(net, domain, maps=maps, max_regions=max_regions, threads=threads, progress=watch)
    options = {"lower": lower, "upper": upper, "data": str(data), "through": through, "margin": margin, "maps": maps}
    finish(stamped_result(result, net, None, {**options, **plain(opened)}), as_json=as_json, out=out)


def stream_regions(
    model: opt.Model,
    out: Folder,
    lower: Lower = None,
    upper: Upper = None,
    data: Images = None,
    through: Through = None,
    margin: Margin = 0.1,
    property_: opt.Property = None,
    case: opt.Case = None,
    maps: Maps = False,
    part: Part = 10_000,
    scale: opt.Scale = None,
    input_shape: opt.InputShape = None,
    trust_pickle: opt.TrustPickle = False,
    max_seconds: opt.MaxSeconds = None,
    threads: Threads = 1,
    as_json: opt.Json = False,
) -> None:
    """Write the activation regions to a folder part by part, as plica regions finds them; memory stays flat."""
    from plica.analyses.regions.stream import stream_regions as compute
    from plica.store import save

    opened = ModelOptions(model, input_shape, trust_pickle)
    net = open_model(opened)
    corners = (lower, upper, property_, case)
    domain = _domain(net, corners, None if data is None else DataOptions(data, scale=scale), through, margin)
    options = {"lower": lower, "upper": upper, "data": str(data), "through": through, "margin": margin, "maps": maps}
    if out.is_dir() and any(out.glob("part-*.npz")):
        raise ArgumentError(f"--out {out}: parts of an earlier run are there; name another folder.")
    out.mkdir(parents=True, exist_ok=True)
    found, number, result = 0, 0, None
    with progress(max_seconds) as watch:
        parts = compute(net, domain, maps=maps, part=part, threads=threads, progress=watch)
        for number, result in enumerate(parts, 1):
            save(stamped_result(result, net, None, {**options, **plain(opened)}), out / f"part-{number - 1:05d}.npz")
            found += result.count
    state = "complete" if result is None else str(result.completeness)
    if as_json:
        typer.echo(as_text({"count": found, "parts": number, "completeness": state, "out": str(out)}))
    else:
        typer.echo(f"{'' if state == 'complete' else 'at least '}{found:,} activation regions in {number} parts: {out}")
    leave(result)


def count_regions(
    model: opt.Model,
    lower: Lower = None,
    upper: Upper = None,
    data: Images = None,
    through: Through = None,
    margin: Margin = 0.1,
    property_: opt.Property = None,
    case: opt.Case = None,
    max_regions: Most = None,
    scale: opt.Scale = None,
    input_shape: opt.InputShape = None,
    trust_pickle: opt.TrustPickle = False,
    out: opt.Out = None,
    max_seconds: opt.MaxSeconds = None,
    threads: Threads = 1,
    as_json: opt.Json = False,
) -> None:
    """Count the activation regions in a box, on a plane through images, or in all of space; memory stays flat."""
    from plica.analyses.regions.analysis import count_regions as compute

    opened = ModelOptions(model, input_shape, trust_pickle)
    net = open_model(opened)
    corners = (lower, upper, property_, case)
    domain = _domain(net, corners, None if data is None else DataOptions(data, scale=scale), through, margin)
    with progress(max_seconds) as watch:
        result = compute(net, domain, max_regions=max_regions, threads=threads, progress=watch)
    options = {"lower": lower, "upper": upper, "data": str(data), "through": through, "margin": margin}
    finish(stamped_result(result, net, None, {**options, **plain(opened)}), as_json=as_json, out=out)


def run_count(
    model: opt.Model,
    folder: opt.Kept,
    lower: Lower = None,
    upper: Upper = None,
    data: Images = None,
    through: Through = None,
    margin: Margin = 0.1,
    property_: opt.Property = None,
    case: opt.Case = None,
    workers: opt.Workers = 1,
    cluster: opt.Cluster = None,
    wait: opt.Wait = False,
    scale: opt.Scale = None,
    input_shape: opt.InputShape = None,
    trust_pickle: opt.TrustPickle = False,
    out: opt.Out = None,
    max_seconds: opt.MaxSeconds = None,
    as_json: opt.Json = False,
) -> None:
    """Count the activation regions in parts that survive everything; a second run continues."""
    from plica.jobs import run_count as compute

    opened = ModelOptions(model, input_shape, trust_pickle)
    net = open_model(opened)
    corners = (lower, upper, property_, case)
    domain = _domain(net, corners, None if data is None else DataOptions(data, scale=scale), through, margin)
    with progress(max_seconds) as watch:
        result = compute(net, domain, folder=folder, workers=workers, cluster=cluster, wait=wait, progress=watch)
    options = {"lower": lower, "upper": upper, "data": str(data), "through": through, "margin": margin}
    finish(stamped_result(result, net, None, {**options, **plain(opened)}), as_json=as_json, out=out)


def _domain(
    net: Network, box: tuple[Any, Any, Any, Any], data: DataOptions | None, through: str | None, margin: float
) -> Box | Plane | None:
    """The box, the box of a property, or the plane through images; None for all of space."""
    import numpy as np

    from plica.core.domain import Box, Plane

    lower, upper, file, case = box
    given = [name for name, value in (("--lower and --upper", lower or upper), ("--through", through),
                                      ("--property", file)) if value]  # fmt: skip
    if len(given) > 1:
        raise ArgumentError(f"{' and '.join(given)}: give one domain.")
    if through is not None:
        if data is None:
            raise ArgumentError("--through: it numbers the images of --data FILE; give that too.")
        chosen = [int(v) for v in _numbers(through, "--through")]
        images = open_images(DataOptions(data.data, scale=data.scale, limit=max(chosen) + 1), net).images
        return Plane.through(np.stack([images[i].ravel() for i in chosen]), margin)
    if file is not None:
        found = property_case(file, case, net)
        return None if found is None else found.domain
    if lower is None and upper is None:
        return None
    if lower is None or upper is None:
        raise ArgumentError("--lower and --upper: give both corners of the box.")
    size = int(np.prod(net.input_shape))
    sides = [np.array(_numbers(text, name)) for text, name in ((lower, "--lower"), (upper, "--upper"))]
    for name, side in zip(("--lower", "--upper"), sides, strict=True):
        if len(side) not in (1, size):
            raise ArgumentError(f"{name}: it has {len(side)} numbers; give one, or one for each of {size} inputs.")
    return Box(*(np.broadcast_to(side, (size,)) for side in sides))


def _numbers(text: str, option: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ArgumentError(f"{option} {text}: write numbers with commas between them, like 0,1,2.") from None
