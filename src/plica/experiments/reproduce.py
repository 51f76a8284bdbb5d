"""Figures and tables of the five papers, made again and compared with what is printed there."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from plica.core.progress import Progress
from plica.core.result import Completeness, Result, Standing, weakest
from plica.errors import ArgumentError, BudgetReached, DataError
from plica.experiments.figure import Claim, FigureResult, Row, Setting
from plica.show.figures import draw, table
from plica.store import load_result, save, stamped

# Modules with a table FIGURES: one `Row` per figure or table of the paper.
PAPERS: dict[str, str] = {
    "bibi2018": "plica.experiments.bibi2018",
    "behrmann2018": "plica.experiments.behrmann2018",
    "carlsson2017": "plica.experiments.carlsson2017",
    "montufar2014": "plica.experiments.montufar2014",
    "szegedy2013": "plica.experiments.szegedy2013",
}
QUICK_SECONDS = 600.0


@dataclass(frozen=True, repr=False)
class ReproduceResult(Result):
    """Figures of a paper made again.

    Attributes
    ----------
    paper : str
        Its short name, such as "bibi2018".
    folder : str
        Holds for every figure its result (``.npz``) and picture (``.png``, ``.svg``), and ``tables.md``: what the
        paper prints, what came out, and the reason where they differ.
    figures : tuple of FigureResult
        In the order of the paper.
    """

    paper: str
    folder: str
    figures: tuple[FigureResult, ...]

    def summary(self) -> str:
        """One line per figure, and where everything is."""
        lines = [f"{self.paper} {figure.verdict()}" for figure in self.figures]
        return "\n".join((*lines, f"tables and pictures: {self.folder}"))


def reproduce(
    paper: str,
    figures: Sequence[str] | None = None,
    *,
    full: bool = False,
    data: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] = "reproduce",
    seed: int = 0,
    max_seconds: float | None = None,
    progress: Progress | None = None,
) -> ReproduceResult:
    """Make figures and tables of a paper again and compare them with what is printed there.

    Parameters
    ----------
    paper : str
        Short name of the paper: first author and year.
    figures : sequence of str, optional
        Names of figures and tables, such as "fig2"; by default all.
    full : bool
        Sizes of the paper instead of sizes that take minutes.
    data : path, optional
        Folder with the data sets: ``mnist.npz``, ``cifar10_subset.npz`` (arrays train_images, train_labels,
        test_images, test_labels). Without it scikit-learn's digits stand in where a figure allows it.
    out : path
        Folder to write to. Figures that are there already, made with the same options, are not made again: a run that
        was stopped goes on where it was.
    seed : int
        Of everything random.
    max_seconds : float, optional
        Budget of the whole run; by default 600 unless `full`. Figures that do not finish are left out and said.
    progress : Progress, optional
        Listener and memory budget.

    Returns
    -------
    ReproduceResult
        Claims of the paper, each with the paper's number, the number found, and the reason where they differ.

    Raises
    ------
    ArgumentError
        No such paper or figure.
    """
    rows = _rows(paper, figures)
    seconds = QUICK_SECONDS if max_seconds is None and not full else max_seconds
    watch = replace(progress or Progress(), max_seconds=seconds, started=time.monotonic())
    folder = Path(out) / paper
    setting = Setting(full, None if data is None else Path(data), Path(out) / "models", seed, watch)
    made = list(_made(paper, rows, setting, folder))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tables.md").write_text("\n\n".join(table(figure) for figure in made) + "\n", encoding="utf-8")
    states = [figure.completeness for figure in made]
    worst = (Completeness.INTERRUPTED, Completeness.BUDGET, Completeness.INFEASIBLE)
    state = next((s for s in worst if s in states), Completeness.COMPLETE)
    standing = weakest(figure.standing for figure in made)
    result = ReproduceResult(standing, state, {}, paper, str(folder), tuple(made))
    return stamped(result, options={"full": full, "figures": [row.name for row in rows]}, seed=seed)


def _rows(paper: str, wanted: Sequence[str] | None) -> list[Row]:
    """The figures to make."""
    if paper not in PAPERS:
        raise ArgumentError(f"reproduce: no paper '{paper}'. There are: {', '.join(sorted(PAPERS))}.")
    rows: Iterable[Row] = import_module(PAPERS[paper]).FIGURES
    known = {row.name: row for row in rows}
    unknown = [name for name in wanted or () if name not in known]
    if unknown:
        raise ArgumentError(f"reproduce: {paper} has no figure '{unknown[0]}'. There are: {', '.join(known)}.")
    return [row for row in known.values() if not wanted or row.name in wanted]


def _made(paper: str, rows: list[Row], setting: Setting, folder: Path) -> Iterator[FigureResult]:
    """Every figure, from its file where it is there, and saved as soon as it is made."""
    for n, row in enumerate(rows):
        file = folder / f"{row.name}.npz"
        share = row.weight / sum(r.weight for r in rows[n:])
        own = replace(setting, progress=setting.progress.part(share))
        figure = _kept(file, row, setting) or _make(paper, row, own)
        if figure.completeness is Completeness.COMPLETE and not figure.was_read:
            save(figure, file)
            picture = draw(figure)
            for kind in ("png", "svg"):
                picture.savefig(file.with_suffix(f".{kind}"), dpi=120)
        yield figure
        if figure.completeness is Completeness.INTERRUPTED:
            return


def _kept(file: Path, row: Row, setting: Setting) -> FigureResult | None:
    """The figure of an earlier run with the same options."""
    if not file.exists():
        return None
    try:
        found = load_result(file)
    except DataError:
        return None  # damaged: it is made again
    if isinstance(found, FigureResult) and found.header.get("options") == setting.options(row):
        return replace(found, was_read=True)
    return None


def _make(paper: str, row: Row, setting: Setting) -> FigureResult:
    """One figure; what stops it is said in its only claim."""
    start = time.monotonic()
    setting.progress.report(f"{paper} {row.name}", 0)
    try:
        setting.progress.check()
        claims, panels, standing = row.make(setting)
        figure = FigureResult(
            standing, Completeness.COMPLETE, {}, paper, row.name, row.title, tuple(claims), tuple(panels)
        )
    except BudgetReached as stop:
        figure = _not_made(paper, row, Completeness.BUDGET, str(stop))
    except DataError as missing:
        figure = _not_made(paper, row, Completeness.INFEASIBLE, str(missing))
    except KeyboardInterrupt:
        figure = _not_made(paper, row, Completeness.INTERRUPTED, "Interrupted.")
    return stamped(figure, options=setting.options(row), seed=setting.seed, seconds=time.monotonic() - start)


def _not_made(paper: str, row: Row, state: Completeness, reason: str) -> FigureResult:
    claim = Claim(row.title, "", "not made", None, reason)
    return FigureResult(Standing.NUMERICAL, state, {}, paper, row.name, row.title, (claim,), ())
