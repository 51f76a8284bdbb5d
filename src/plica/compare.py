"""Two results side by side: plica.diff."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from plica.core.result import Completeness, Result, Standing
from plica.errors import ArgumentError, DataError
from plica.store import load_result

SHOWN = 30  # differences in the summary
RUN_FACTS = frozenset({"time", "seconds", "platform"})  # differ from run to run and say nothing about the answer


@dataclass(frozen=True, repr=False)
class DiffResult(Result):
    """What differs between two results, or two folders of results.

    Attributes
    ----------
    a, b : str
        What was compared.
    tolerance : float
        Numbers may differ by this, relative to the larger of 1 and their size.
    equal : bool
        Whether nothing differs by more, headers aside.
    exact : bool
        Whether nothing differs at all, headers aside.
    compared : int
        How many numbers and words were compared.
    differences : tuple of str
        One sentence for each field that differs.
    headers : tuple of str
        The same for the headers: versions, hashes, options.
    """

    a: str
    b: str
    tolerance: float
    equal: bool
    exact: bool
    compared: int
    differences: tuple[str, ...]
    headers: tuple[str, ...]

    def __bool__(self) -> bool:
        return self.equal

    def summary(self) -> str:
        """The verdict, then what differs."""
        verdict = "equal" if self.exact else f"equal within {self.tolerance:g}" if self.equal else "different"
        lines = [f"{self.a} and {self.b}: {verdict}, {self.compared} values compared"]
        for title, found in (("", self.differences), ("header: ", self.headers)):
            lines += [f"  {title}{line}" for line in found[:SHOWN]]
            if len(found) > SHOWN:
                lines.append(f"  {title}and {len(found) - SHOWN} more")
        return "\n".join(lines)


def diff(
    a: Result | str | os.PathLike[str], b: Result | str | os.PathLike[str], *, tolerance: float = 0.0
) -> DiffResult:
    """Compare two results, two saved results, or the results of two reports.

    Parameters
    ----------
    a, b : Result or path-like
        Results, files that `plica.save` wrote, or folders of such files (of a report, say), compared name by name.
    tolerance : float
        Numbers u and v count as equal when |u - v| <= tolerance * max(1, |u|, |v|); 0: the same number. NaN equals
        NaN.

    Returns
    -------
    DiffResult
        True where nothing differs by more than the tolerance. Times and headers are compared but do not count.

    Raises
    ------
    ArgumentError
        A file and a folder, or a tolerance below 0.
    DataError
        A file that is no saved result.

    Examples
    --------
    >>> import plica
    >>> same = plica.is_omnidirectional([[1.0], [-1.0]])
    >>> bool(plica.diff(same, same)), bool(plica.diff(same, plica.is_omnidirectional([[1.0], [2.0]])))
    (True, False)
    """
    if not 0 <= tolerance < np.inf:
        raise ArgumentError(f"tolerance = {tolerance}: give a number of 0 or more.")
    found = _Found(tolerance)
    for name, one, other in _pairs(a, b):
        if one is None or other is None:
            found.differ(name, f"only in {a if other is None else b}")
            continue
        found.headers += [f"{name}{line}" for line in _headers(one.header, other.header)]
        found.result(name, one, other)
    return DiffResult(
        standing=Standing.CERTIFIED,
        completeness=Completeness.COMPLETE,
        header={},
        a=_title(a),
        b=_title(b),
        tolerance=float(tolerance),
        equal=not found.wrong,
        exact=found.exact,
        compared=found.compared,
        differences=tuple(found.lines),
        headers=tuple(found.headers),
    )


def _title(value: Any) -> str:
    return type(value).__name__ if isinstance(value, Result) else str(value)


def _pairs(a: Any, b: Any) -> Iterator[tuple[str, Result | None, Result | None]]:
    """What belongs together, with a prefix for its name."""
    if isinstance(a, Result) or isinstance(b, Result) or not (Path(a).is_dir() or Path(b).is_dir()):
        one, other = (value if isinstance(value, Result) else load_result(value) for value in (a, b))
        yield "", one, other
        return
    if not (Path(a).is_dir() and Path(b).is_dir()):
        raise ArgumentError(f"diff: '{a}' and '{b}' are a file and a folder. Give two files or two folders.")
    files = [{str(p.relative_to(folder)): p for p in Path(folder).rglob("*.npz")} for folder in (a, b)]
    if not any(files):
        raise DataError(f"diff: neither '{a}' nor '{b}' holds a saved result (.npz).")
    for name in sorted(files[0].keys() | files[1].keys()):
        found = [load_result(held[name]) if name in held else None for held in files]
        yield f"{name}: ", found[0], found[1]


def _headers(a: dict[str, Any], b: dict[str, Any]) -> Iterator[str]:
    """Facts of the runs that differ, but for their times."""
    for key in sorted((a.keys() | b.keys()) - RUN_FACTS, key=str):
        texts = [json.dumps(h[key], sort_keys=True, default=str) if key in h else "nothing" for h in (a, b)]
        if texts[0] != texts[1]:
            yield f"{key}: {_short(texts[0])} and {_short(texts[1])}"


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


class _Found:
    """Collects what differs."""

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance
        self.lines: list[str] = []
        self.headers: list[str] = []
        self.exact, self.wrong, self.compared = True, False, 0

    def differ(self, name: str, what: str, *, within: bool = False) -> None:
        self.lines.append(f"{name}{what}" if name.endswith(": ") else f"{name}: {what}" if name else what)
        self.exact, self.wrong = False, self.wrong or not within

    def result(self, prefix: str, a: Any, b: Any) -> None:
        """Compare two results field by field."""
        if type(a) is not type(b):
            self.differ(prefix, f"{type(a).__name__} and {type(b).__name__}")
            return
        for field in dataclasses.fields(a):
            if field.name != "header":
                self.value(f"{prefix}{field.name}", getattr(a, field.name), getattr(b, field.name))

    def value(self, name: str, a: Any, b: Any) -> None:
        """Compare two values of any kind that a result may hold."""
        numbers = (int, float, np.ndarray, np.generic)
        if dataclasses.is_dataclass(a) and dataclasses.is_dataclass(b):
            self.result(f"{name}.", a, b)
        elif isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
            if len(a) != len(b):
                self.differ(name, f"{len(a)} and {len(b)} entries")
            for i, pair in enumerate(zip(a, b, strict=False)):
                self.value(f"{name}[{i}]", *pair)
        elif isinstance(a, dict) and isinstance(b, dict):
            for key in [*a, *(k for k in b if k not in a)]:
                if key in a and key in b:
                    self.value(f"{name}.{key}", a[key], b[key])
                else:
                    self.differ(f"{name}.{key}", f"only in the {'first' if key in a else 'second'}")
        elif isinstance(a, numbers) and isinstance(b, numbers):
            self.array(name, np.asarray(a), np.asarray(b))
        else:
            self.compared += 1
            if type(a) is not type(b) or a != b:
                self.differ(name, f"{_short(str(a))} and {_short(str(b))}")

    def array(self, name: str, a: np.ndarray, b: np.ndarray) -> None:
        """Compare two arrays: shape, kind of numbers, and entry by entry."""
        if a.shape != b.shape:
            self.differ(name, f"shapes {a.shape} and {b.shape}")
            return
        self.compared += a.size
        if a.dtype.kind not in "fciub" or b.dtype.kind not in "fciub":
            count = int(np.sum(a != b))
            if count:
                self.differ(name, f"{count} of {a.size} entries differ")
            return
        if a.dtype.kind != b.dtype.kind:
            self.differ(name, f"numbers of type {a.dtype} and {b.dtype}")
            return
        differs = ~((a == b) | ((a != a) & (b != b)))
        if not differs.any():
            return
        off, within = _distance(a[differs], b[differs], self.tolerance)
        self.differ(name, f"{int(differs.sum())} of {a.size} entries differ, by at most {off:.3g}", within=within)


def _distance(a: np.ndarray, b: np.ndarray, tolerance: float) -> tuple[float, bool]:
    """Largest difference of numbers that differ, and whether all are within the tolerance."""
    if a.dtype.kind in "iub":
        a, b = a.astype(object), b.astype(object)  # exact: no overflow of unsigned or large integers
        gaps = [abs(int(u) - int(v)) for u, v in zip(a, b, strict=True)]
        sizes = [max(1, abs(int(u)), abs(int(v))) for u, v in zip(a, b, strict=True)]
        return float(max(gaps)), all(gap <= tolerance * size for gap, size in zip(gaps, sizes, strict=True))
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.abs(a - b)
        size = np.maximum(1.0, np.maximum(np.abs(a), np.abs(b)))
        within = (gap <= tolerance * size) & np.isfinite(size)
    return float(np.where(np.isnan(gap), np.inf, gap).max()), bool(within.all())
