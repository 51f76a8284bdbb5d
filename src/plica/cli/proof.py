"""Certificates: certify, verify."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plica.cli import options as opt
from plica.cli.ending import BAD_INPUT, as_text, finish
from plica.cli.live import progress
from plica.cli.preimage import _array
from plica.cli.reading import DataOptions, ModelOptions, open_images, open_model
from plica.errors import ArgumentError

if TYPE_CHECKING:
    from plica.core.domain import Box
    from plica.core.network import Network

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


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("certify")(certify)
    app.command("verify")(verify)


def certify(
    result: Saved,
    model: opt.Model,
    path: Path_,
    data: Images = None,
    index: Index = 0,
    lower: Annotated[float | None, typer.Option(help="Of a bound: the smallest allowed input.")] = None,
    upper: Annotated[float | None, typer.Option(help="Of a bound: the largest allowed input.")] = None,
    wins: Annotated[int | None, typer.Option(help="As preimage-of had it.")] = None,
    y: Annotated[Path | None, typer.Option(help="As preimage-of had it.", metavar="FILE")] = None,
    tolerance: Annotated[float, typer.Option(help="As preimage-of had it.", min=0.0)] = 0.0,
    split: opt.Split = "test",
    scale: opt.Scale = None,
    mean: opt.Mean = None,
    std: opt.Std = None,
    layout: opt.Layout = None,
    input_shape: opt.InputShape = None,
    trust_pickle: opt.TrustPickle = False,
    max_seconds: opt.MaxSeconds = None,
    threads: opt.Threads = None,
    as_json: opt.Json = False,
) -> None:
    """Write what proves a saved result for one image, so that anyone can check it."""
    from plica.certificates import certify as write
    from plica.store import load_result

    saved = load_result(result)
    net = open_model(ModelOptions(model, input_shape, trust_pickle, "cpu", threads))
    images = None
    if data is not None:
        read = DataOptions(data, split, scale, mean, std, layout, None, index + 1)
        images = open_images(read, net).images
        if len(images) <= index:
            raise ArgumentError(f"{data} has {len(images)} images; there is no image {index} (they count from 0).")
    box, target = _box(lower, upper, net), wins if y is None else (_array(y), tolerance)
    with progress(max_seconds) as watch:
        written = write(saved, net, images, path=path, index=index, box=box, target=target, progress=watch)
    typer.echo(as_text({"saved": str(written)}) if as_json else f"saved: {written}")


def _box(lower: float | None, upper: float | None, net: Network) -> Box | None:
    """The box of a bound; None without any."""
    if lower is None and upper is None:
        return None
    import numpy as np

    from plica.core.domain import Box

    n = int(np.prod(net.input_shape))
    return Box(np.full(n, -np.inf if lower is None else lower), np.full(n, np.inf if upper is None else upper))


def verify(certificate: Certificate, model: ModelFile, out: opt.Out = None, as_json: opt.Json = False) -> None:
    """Check a certificate against a model's file, in integers. Exit code 0: accepted; 2: refused."""
    from plica.certificates import verify as check

    result = check(certificate, model)
    finish(result, as_json=as_json, out=out)
    if not result:
        raise typer.Exit(BAD_INPUT)
