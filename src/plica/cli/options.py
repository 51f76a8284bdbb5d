"""Options that several commands share, named as the arguments of the Python functions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_MODEL, _DATA, _RUN = "Model", "Data", "Run"

Model = Annotated[Path, typer.Argument(metavar="MODEL", help="Model file: .onnx, .onnx.gz, .pt2.")]
InputShape = Annotated[
    str | None,
    typer.Option(
        help="Shape of one input without batch axis, such as 1,28,28.", metavar="N,N,...", rich_help_panel=_MODEL
    ),
]
TrustPickle = Annotated[
    bool,
    typer.Option("--trust-pickle", help="Allow a model file that runs code when opened.", rich_help_panel=_MODEL),
]

Data = Annotated[
    Path, typer.Option(help="Images: .npz, .npy, .csv, idx, or a folder.", metavar="FILE", rich_help_panel=_DATA)
]
Split = Annotated[str, typer.Option(help="Which part of the data: test, train.", rich_help_panel=_DATA)]
Scale = Annotated[
    float | None, typer.Option(help="Divide the stored numbers by this, such as 255.", rich_help_panel=_DATA)
]
Mean = Annotated[str | None, typer.Option(help="Subtracted per colour.", metavar="X[,X,X]", rich_help_panel=_DATA)]
Std = Annotated[str | None, typer.Option(help="Divided by per colour.", metavar="X[,X,X]", rich_help_panel=_DATA)]
Layout = Annotated[
    str | None,
    typer.Option(help="Order of the axes in the file: CHW or HWC.", metavar="CHW|HWC", rich_help_panel=_DATA),
]
Labels = Annotated[
    Path | None, typer.Option(help="Labels, if they are in another file.", metavar="FILE", rich_help_panel=_DATA)
]
Limit = Annotated[int, typer.Option(help="Use so many images.", min=1, rich_help_panel=_DATA)]

Layer = Annotated[str, typer.Option(help="Name or index of the layer, as `plica info` prints them.")]

Property = Annotated[
    Path | None,
    typer.Option("--property", help="A .vnnlib file whose box (and outputs) are taken.", metavar="FILE"),
]
Case = Annotated[int | None, typer.Option(help="Which case of --property, from 0. Needed when it has several.", min=0)]

Device = Annotated[str, typer.Option(help="Where torch computes: cpu, cuda.", rich_help_panel=_RUN)]
Seed = Annotated[int, typer.Option(help="Seed of everything random.", rich_help_panel=_RUN)]
Threads = Annotated[int | None, typer.Option(help="Threads that torch may use.", min=1, rich_help_panel=_RUN)]
MaxSeconds = Annotated[
    float | None,
    typer.Option(help="Stop after this time and keep what is done (exit code 3).", min=0.0, rich_help_panel=_RUN),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.", rich_help_panel=_RUN)]
Out = Annotated[
    Path | None, typer.Option(help="Save the result to this .npz file.", metavar="FILE", rich_help_panel=_RUN)
]

Kept = Annotated[
    Path, typer.Option("--folder", help="Keeps what is done; a second run goes on from it.", metavar="DIR")
]
Workers = Annotated[int, typer.Option(help="Processes; -1 is one per core.")]
Cluster = Annotated[
    str | None, typer.Option(help="Address of a dask scheduler, whose workers are used.", metavar="ADDRESS")
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for another run in the same folder.")]
