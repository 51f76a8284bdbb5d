"""What a figure of a paper is made from and made of: a setting, claims, panels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from plica.core.progress import Progress
from plica.core.result import Result, Standing
from plica.errors import DataError
from plica.experiments.digits import digits_images
from plica.loaders.images import ImageSet, read_images

FILES = {"mnist": "mnist.npz", "cifar": "cifar10_subset.npz"}
PANELS = ("lines", "scatter", "bars", "images", "heat", "areas")


@dataclass(frozen=True)
class Claim:
    """One line of the table paper | plica | reason.

    Attributes
    ----------
    what : str
        The statement of the paper, or the number it prints.
    paper, plica : str
        What is printed there, and what came out here.
    holds : bool or None
        Whether the statement is confirmed; None where the two cannot be compared.
    reason : str
        Why they differ, as far as it can be shown; what was substituted.
    """

    what: str
    paper: str
    plica: str
    holds: bool | None
    reason: str = ""


@dataclass(frozen=True)
class Panel:
    """One picture of a figure, as numbers.

    Attributes
    ----------
    kind : {"lines", "scatter", "bars", "images", "heat", "areas"}
        How the series are drawn.
    title, x, y : str
        Heading and axes.
    series : dict of str to array
        Name of each series and its numbers. Lines, scatter: shape (2, n) or, with a lower and an upper edge, (4, n);
        bars: (2, n); images: (h, w) or (h, w, 3) in [0, 1]; heat: (rows, columns); areas: (2, n), corners of a convex
        polygon in their order, two for a segment, one for a point; names from an underscore on stay out of the legend.
    log : {"", "x", "y", "xy"}
        Logarithmic axes.
    """

    kind: str
    title: str
    series: dict[str, np.ndarray]
    x: str = ""
    y: str = ""
    log: str = ""

    def __post_init__(self) -> None:
        assert self.kind in PANELS, self.kind


Made: TypeAlias = tuple[Iterable[Claim], Iterable[Panel], Standing]


@dataclass(frozen=True)
class Setting:
    """What a figure is made under.

    Attributes
    ----------
    full : bool
        Sizes of the paper; else sizes that take minutes.
    data : Path or None
        Folder with data sets.
    models : Path
        Folder where trained networks are kept.
    seed : int
        Of everything random.
    progress : Progress
        Budget and listener.
    """

    full: bool = False
    data: Path | None = None
    models: Path = Path("models")
    seed: int = 0
    progress: Progress = field(default_factory=Progress)

    def images(self, name: str, split: str = "test", *, limit: int | None = None, **reading: Any) -> ImageSet:
        """Read a data set, with numbers in [0, 1].

        Parameters
        ----------
        name : {"mnist", "cifar", "digits"}
            The digits come with scikit-learn; the others are read from the folder `data`.
        split : {"test", "train"}
        limit : int, optional
            So many images; by default all.
        **reading
            Options of `plica.loaders.images.read_images`.

        Raises
        ------
        DataError
            No folder was given, or it lacks the file.
        """
        if name == "digits":
            found = digits_images(split)
            labels = None if found.labels is None else found.labels[:limit]
            return replace(found, images=found.images[:limit], labels=labels)
        file = None if self.data is None else self.data / FILES[name]
        if file is None or not file.exists():
            where = "no folder was given" if file is None else f"'{file}' is not there"
            raise DataError(f"This figure needs {FILES[name]}: {where}. Give the folder that holds it (data=, --data).")
        return read_images(file, split=split, limit=limit, **({"scale": 255.0} | reading))

    def trained(
        self, module: torch.nn.Module, train: Callable[[torch.nn.Module], None], key: Mapping[str, Any]
    ) -> torch.nn.Module:
        """Train a network, or read its weights from an earlier run.

        Parameters
        ----------
        module : torch.nn.Module
            Its weights are replaced; returned in eval mode.
        train : callable
            ``train(module)`` trains in place.
        key : mapping
            All that the weights depend on (data, sizes, epochs, seed ...), as plain values: it names the file.
        """
        words = json.dumps({**key, "module": str(module)}, sort_keys=True)
        file = self.models / f"{key.get('name', 'model')}-{hashlib.sha256(words.encode()).hexdigest()[:16]}.safetensors"
        if file.exists():
            module.load_state_dict(load_file(file))
        else:
            train(module)
            self.models.mkdir(parents=True, exist_ok=True)
            partial = file.with_suffix(".part")
            save_file({k: v.contiguous() for k, v in module.state_dict().items()}, partial)
            partial.replace(file)
        return module.eval()

    def options(self, row: Row) -> dict[str, Any]:
        """What a kept figure must agree in, to be taken instead of made again."""
        return {"figure": row.name, "version": row.version, "full": self.full, "seed": self.seed,
                "data": None if self.data is None else str(self.data)}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One figure or table of a paper.

    Attributes
    ----------
    name : str
        As in ``plica reproduce PAPER NAME``: "fig2", "table1".
    title : str
        What it shows, in a line.
    make : callable
        ``make(setting)`` returns claims, panels, and the standing of the numbers in them.
    weight : float
        Its share of the time, beside the weights of the others.
    version : int
        Raised when `make` changes what it gives, so that kept figures are made again.
    """

    name: str
    title: str
    make: Callable[[Setting], Made]
    weight: float = 1.0
    version: int = 1


@dataclass(frozen=True, repr=False)
class FigureResult(Result):
    """One figure or table of a paper, made again.

    Attributes
    ----------
    paper, name, title : str
        Which figure it is.
    claims : tuple of Claim
        What the paper says about it, with the numbers found.
    panels : tuple of Panel
        What is drawn.
    was_read : bool
        Whether it comes from the file of an earlier run.
    """

    paper: str
    name: str
    title: str
    claims: tuple[Claim, ...]
    panels: tuple[Panel, ...]
    was_read: bool = False

    def verdict(self) -> str:
        """One line: how many claims hold."""
        judged = [claim.holds for claim in self.claims if claim.holds is not None]
        state = "" if self.completeness == "complete" else f"; {self.completeness}: {self.claims[0].reason}"
        return f"{self.name}: {sum(judged)} of {len(judged)} claims hold. {self.title}{state}"

    def summary(self) -> str:
        """The table in plain text."""
        marks = {True: "holds", False: "differs", None: "not compared"}
        lines = [f"  {c.what}: paper {c.paper}; plica {c.plica} ({marks[c.holds]}). {c.reason}" for c in self.claims]
        return "\n".join((f"{self.paper} {self.verdict()}", *lines))
