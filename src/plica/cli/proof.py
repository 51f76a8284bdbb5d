"""Certificates: certify, verify."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plica.cli import options as opt
from plica.cli.command import add
from plica.cli.ending import BAD_INPUT, as_text, finish
from plica.cli.reading import (
    ImageOptions,
    ModelOptions,
    ShowOptions,
    TimeOptions,
    array,
    box_of,
    one_of,
    open_images,
    open_model,
    property_case,
)
from plica.errors import ArgumentError

if TYPE_CHECKING:
    from plica.core.result import Result
    from plica.loaders.vnnlib import Case

Saved = Annotated[
    Path,
    typer.Argument(
        metavar="RESULT",
        help="A result saved with --out: of preimage-kind, impostor, attack --exact, preimage or preimage-of.",
    ),
]
Certificate = Annotated[Path, typer.Argument(metavar="CERTIFICATE", help="File that `plica certify` wrote.")]
ModelFile = Annotated[Path, typer.Option("--model", help="The ONNX file, or the .safetensors beside the certificate.")]
Images = Annotated[Path | None, typer.Option("--data", help="The images of the result.", metavar="FILE")]
Index = Annotated[int, typer.Option(help="Which of the images, from 0.", min=0)]
Path_ = Annotated[Path, typer.Option("--path", help="File to write.", metavar="FILE")]
Least = Annotated[float | None, typer.Option(help="Of a bound: the smallest allowed input.")]
Most = Annotated[float | None, typer.Option(help="Of a bound: the largest allowed input.")]
Wins = Annotated[int | None, typer.Option(help="As preimage-of had it.")]
Outputs = Annotated[Path | None, typer.Option(help="As preimage-of had it.", metavar="FILE")]
Tolerance = Annotated[float, typer.Option(help="As preimage-of had it.", min=0.0)]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add(app, certify, verify)


def certify(
    result: Saved,
    model: ModelOptions,
    path: Path_,
    run: TimeOptions,
    data: Images = None,
    index: Index = 0,
    lower: Least = None,
    upper: Most = None,
    wins: Wins = None,
    y: Outputs = None,
    tolerance: Tolerance = 0.0,
    property_: opt.Property = None,
    case: opt.Case = None,
    split: opt.Split = "test",
    scale: opt.Scale = None,
    mean: opt.Mean = None,
    std: opt.Std = None,
    layout: opt.Layout = None,
) -> None:
    """Write what proves a saved result for one image, so that anyone can check it."""
    from plica.certificates import certify as write
    from plica.store import load_result

    saved, net, images = load_result(result), open_model(model), None
    if data is not None:
        read = ImageOptions(data, split, scale, mean, std, layout)
        read_images = open_images(read, net, limit=index + 1)
        one_of(read_images, read, index)
        images = read_images.images
    if sum(given is not None for given in (wins, y, property_)) > 1:
        raise ArgumentError("Give one of --wins UNIT, --y FILE and --property FILE, as preimage-of had it.")
    asked = property_case(property_, case, net)
    if asked is not None:
        _same_box(asked, saved)
    target = asked.target if asked is not None else wins if y is None else (array(y), tolerance)
    box = box_of(math.prod(net.input_shape), lower, upper)
    with run.watch() as watch:
        written = write(saved, net, images, path=path, index=index, box=box, target=target, progress=watch)
    typer.echo(as_text({"saved": str(written)}) if run.as_json else f"saved: {written}")


def _same_box(asked: Case, saved: Result) -> None:
    """Refuse a property with another box than the result's."""
    import numpy as np

    box, lower, upper = asked.domain, getattr(saved, "lower", None), getattr(saved, "upper", None)
    if lower is None or upper is None or not np.array_equal([lower, upper], [box.lower, box.upper]):
        raise ArgumentError(
            "--property: the result is about another box. Give the file and the case it was asked with."
        )


def verify(certificate: Certificate, model: ModelFile, show: ShowOptions) -> None:
    """Check a certificate against a model's file, in integers. Exit code 0: accepted; 2: refused."""
    from plica.certificates import verify as check

    result = check(certificate, model)
    finish(result, as_json=show.as_json, out=show.out)
    if not result:
        raise typer.Exit(BAD_INPUT)
