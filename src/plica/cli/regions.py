"""Linear regions: regions, stream-regions and count-regions."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from plica.cli import options as opt
from plica.cli.command import Answer, add, plain
from plica.cli.ending import as_text, leave
from plica.cli.reading import (
    FileOptions,
    ImageOptions,
    RunOptions,
    TimeOptions,
    numbers,
    one_of,
    open_images,
    open_model,
    property_case,
)
from plica.errors import ArgumentError

if TYPE_CHECKING:
    from plica.core.domain import Box, Plane
    from plica.core.network import Network

R = TypeVar("R")

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
Resume = Annotated[
    Path | None, typer.Option(help="A result that a budget ended (--out): go on from it.", metavar="FILE")
]
LastPart = Annotated[
    Path | None, typer.Option(help="The last part of a stream that a budget ended: write the rest.", metavar="FILE")
]
Folder = Annotated[Path, typer.Option(help="Folder for the parts, part-00000.npz and so on.", metavar="FOLDER")]
Threads = Annotated[int, typer.Option(help="Threads that take cells.", min=1)]


@dataclass(frozen=True)
class DomainOptions:
    """Where regions are looked for: a box, the box of a property, a plane through images, or all of space."""

    lower: Lower = None
    upper: Upper = None
    data: Images = None
    through: Through = None
    margin: Margin = 0.1
    property_: opt.Property = None
    case: opt.Case = None
    scale: opt.Scale = None


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add(app, regions, stream_regions, count_regions, run_count)


def regions(
    model: FileOptions,
    where: DomainOptions,
    run: RunOptions,
    maps: Maps = False,
    max_regions: Most = None,
    threads: Threads = 1,
    resume: Resume = None,
) -> Answer:
    """List the activation regions in a box or on a plane through images: patterns, vertices, facets, sizes, maps."""
    from plica.analyses.regions.analysis import regions as compute
    from plica.analyses.regions.result import RegionsResult

    earlier = _earlier(resume, RegionsResult, "list of regions")
    net = open_model(model)
    domain = _bounded(net, where)
    with run.watch() as watch:
        found = compute(
            net, domain, maps=maps, max_regions=max_regions, threads=threads, resume=earlier, progress=watch
        )
    return Answer(found, net)


def stream_regions(
    model: FileOptions,
    where: DomainOptions,
    out: Folder,
    run: TimeOptions,
    maps: Maps = False,
    part: Part = 10_000,
    threads: Threads = 1,
    resume: LastPart = None,
) -> None:
    """Write the activation regions to a folder part by part, as plica regions finds them; memory stays flat."""
    from plica.analyses.regions.result import RegionsResult
    from plica.analyses.regions.stream import stream_regions as compute
    from plica.store import save, stamped

    earlier = _earlier(resume, RegionsResult, "part of a stream of regions")
    net = open_model(model)
    domain = _bounded(net, where)
    options = plain({**asdict(model), **asdict(where), "maps": maps})
    first = _next_part(out, resume)
    found, number, result = 0, 0, None
    with run.watch() as watch:
        parts = compute(net, domain, maps=maps, part=part, threads=threads, resume=earlier, progress=watch)
        out.mkdir(parents=True, exist_ok=True)
        for number, result in enumerate(parts, 1):
            save(stamped(result, network=net, options=options), _part(out, first + number - 1))
            found += result.count
    state = "complete" if result is None else str(result.completeness)
    if run.as_json:
        typer.echo(as_text({"count": found, "parts": number, "completeness": state, "out": str(out)}))
    else:
        typer.echo(f"{'' if state == 'complete' else 'at least '}{found:,} activation regions in {number} parts: {out}")
        if result is not None and result.waiting:
            last = _part(out, first + number - 1)
            typer.echo(f"cells that wait: {result.waiting:,}; --resume {last} goes on")
    leave(result)


def count_regions(
    model: FileOptions,
    where: DomainOptions,
    run: RunOptions,
    max_regions: Most = None,
    threads: Threads = 1,
    resume: Resume = None,
) -> Answer:
    """Count the activation regions in a box, on a plane through images, or in all of space; memory stays flat."""
    from plica.analyses.regions.analysis import count_regions as compute
    from plica.analyses.regions.result import RegionCountResult

    earlier = _earlier(resume, RegionCountResult, "count of regions")
    net = open_model(model)
    domain = _domain(net, where)
    with run.watch() as watch:
        found = compute(net, domain, max_regions=max_regions, threads=threads, resume=earlier, progress=watch)
    return Answer(found, net)


def run_count(
    model: FileOptions,
    where: DomainOptions,
    folder: opt.Kept,
    run: RunOptions,
    workers: opt.Workers = 1,
    cluster: opt.Cluster = None,
    wait: opt.Wait = False,
) -> Answer:
    """Count the activation regions in parts that survive everything; a second run continues."""
    from plica.jobs import run_count as compute

    net = open_model(model)
    domain = _domain(net, where)
    with run.watch() as watch:
        found = compute(net, domain, folder=folder, workers=workers, cluster=cluster, wait=wait, progress=watch)
    return Answer(found, net)


def _earlier(resume: Path | None, kind: type[R], what: str) -> R | None:
    """The result that a run goes on from."""
    from plica.store import load_result

    if resume is None:
        return None
    earlier = load_result(resume)
    if not isinstance(earlier, kind):
        raise ArgumentError(f"--resume {resume}: it holds a {type(earlier).__name__}; give a saved {what}.")
    return earlier


def _part(folder: Path, number: int) -> Path:
    """File of a part of a stream."""
    return folder / f"part-{number:05d}.npz"


def _next_part(out: Path, resume: Path | None) -> int:
    """Number of the first part to write; parts that are there are gone on from, or left alone."""
    there = sorted(int(p.stem[5:]) for p in out.glob("part-*.npz") if p.stem[5:].isdigit())
    if not there:
        return 0
    last = _part(out, there[-1])
    if resume is None:
        raise ArgumentError(
            f"--out {out}: parts of an earlier run are there; name another folder, or go on: --resume {last}."
        )
    if resume.resolve() != last.resolve():
        raise ArgumentError(f"--resume {resume}: the last part in --out {out} is {last.name}; go on from that.")
    return there[-1] + 1


def _bounded(net: Network, where: DomainOptions) -> Box | Plane:
    """The domain of a list, which has to be given."""
    domain = _domain(net, where)
    if domain is None:
        raise ArgumentError(
            "Regions are listed in a bounded domain: give --lower and --upper, --data and --through, or --property; "
            "plica count-regions counts those of all of space."
        )
    return domain


def _domain(net: Network, where: DomainOptions) -> Box | Plane | None:
    """The box, the box of a property, or the plane through images; None for all of space."""
    import numpy as np

    from plica.core.domain import Box, Plane

    lower, upper = where.lower, where.upper
    given = [name for name, value in (("--lower and --upper", lower or upper), ("--through", where.through),
                                      ("--property", where.property_)) if value]  # fmt: skip
    if len(given) > 1:
        raise ArgumentError(f"{' and '.join(given)}: give one domain.")
    if where.through is not None:
        if where.data is None:
            raise ArgumentError("--through: it numbers the images of --data FILE; give that too.")
        chosen = [int(v) for v in numbers(where.through, "--through") or ()]
        read = ImageOptions(where.data, scale=where.scale)
        images = open_images(read, net, limit=max(chosen) + 1)
        return Plane.through(np.stack([one_of(images, read, i).ravel() for i in chosen]), where.margin)
    if where.property_ is not None:
        found = property_case(where.property_, where.case, net)
        return None if found is None else found.domain
    if lower is None and upper is None:
        return None
    if lower is None or upper is None:
        raise ArgumentError("--lower and --upper: give both corners of the box.")
    size = int(np.prod(net.input_shape))
    sides = [np.array(numbers(text, name)) for text, name in ((lower, "--lower"), (upper, "--upper"))]
    for name, side in zip(("--lower", "--upper"), sides, strict=True):
        if len(side) not in (1, size):
            raise ArgumentError(f"{name}: it has {len(side)} numbers; give one, or one for each of {size} inputs.")
    return Box(*(np.broadcast_to(side, (size,)) for side in sides))
