"""Results as tables: columns, pandas, CSV, LaTeX, HTML."""

from __future__ import annotations

import csv
import dataclasses
import html
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plica.errors import ArgumentError
from plica.store import whole_file

if TYPE_CHECKING:
    from pandas import DataFrame

    from plica.core.result import Result

MOST_COLUMNS = 64  # that a matrix may add; wider ones are left out of tables
SHOWN_ROWS = 10  # in a notebook
# The fields whose entries are the rows, for types in which several lengths occur or none is a row.
ROWS = {
    "KindResult": ("kinds", "dimensions", "positive", "standings", "reasons"),
    "FacetResult": ("distances", "units"),
    "LipschitzResult": ("names", "kinds", "methods", "lowers", "uppers"),
    "SpectrumResult": ("ranks", "most", "proven", "alive", "thresholds", "errors", "methods"),
    "PreimageResult": ("dimensions", "bounded"),
    "RegionsResult": ("sizes", "linear", "singular_values", "offsets"),
    "AdversarialTrainingResult": ("loss", "error", "test_error", "sizes", "distortion", "pool_error"),
    "TransferResult": ("rows", "kinds", "sources", "levels", "errors", "new_errors", "counts", "rms"),
    "MomentsResult": ("mean", "standard_error"),
    "MomentBoundsResult": ("mean_lower", "mean_upper"),
    "ProbabilityResult": ("probabilities", "intervals"),
    "NoiseResult": ("mean", "sampled_mean", "sampled_error"),
    "InfoResult": (),
    "ImpostorResult": (),
    "ExpansionResult": (),
}
# Names for the second axis of a matrix: a field with one name per column.
NAMES = {"FacetResult": "layers"}
RECORDS = {"BoundsResult": "rows", "FigureResult": "claims", "ManyResult": "results"}
SPECIAL = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
)


def columns(result: Result) -> dict[str, list[Any]]:
    """Columns of a result's table, all of one length, as plain values.

    Parameters
    ----------
    result : Result
        Its rows are its inputs, layers, units or parts; a matrix field gives a column per column, a field of records
        a column per entry of the record.

    Returns
    -------
    dict of str to list
        Empty where the result has no rows.
    """
    name = type(result).__name__
    if name in RECORDS:
        return _of_records(getattr(result, RECORDS[name]))
    fields = ROWS.get(name)
    values = {f.name: getattr(result, f.name) for f in dataclasses.fields(result) if f.name != "header"}
    if fields is None:
        fields = _longest(values)
    names = getattr(result, NAMES.get(name, ""), None)
    found: dict[str, list[Any]] = {}
    for field in fields:
        found |= _of_field(field, values.get(field), names)
    return found


def _longest(values: dict[str, Any]) -> tuple[str, ...]:
    """The fields that share the length which most arrays have; the longer one of two."""
    lengths: dict[int, list[str]] = {}
    for name, value in values.items():
        if (isinstance(value, np.ndarray) and value.ndim) or _is_words(value):
            lengths.setdefault(len(value), []).append(name)
    if not lengths:
        return ()
    return tuple(lengths[max(lengths, key=lambda n: (len(lengths[n]), n))])


def _is_words(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and all(isinstance(v, str) for v in value)


def _of_field(field: str, value: Any, names: Sequence[str] | None) -> dict[str, list[Any]]:
    """A column, or one for each column of a matrix."""
    if value is None:
        return {}
    if not isinstance(value, np.ndarray):
        return {field: list(value)}
    if value.ndim == 1:
        return {field: value.tolist()}
    flat = value.reshape(len(value), int(np.prod(value.shape[1:])))
    if value.ndim > 2 or flat.shape[1] > MOST_COLUMNS:
        return {}
    if names is None or len(names) != flat.shape[1]:
        names = [str(i) for i in range(flat.shape[1])]
    return {f"{field}.{name}": flat[:, i].tolist() for i, name in enumerate(names)}


def _of_records(records: Sequence[Any]) -> dict[str, list[Any]]:
    """A column for each entry of the records that is a number or a word."""
    found: dict[str, list[Any]] = {}
    for record in records:
        for field in dataclasses.fields(record):
            value = getattr(record, field.name)
            if isinstance(value, (str, int, float, np.generic)) or value is None:
                found.setdefault(field.name, []).append(value.item() if isinstance(value, np.generic) else value)
    return {name: values for name, values in found.items() if len(values) == len(records)}


def _rows(result: Result) -> tuple[list[str], list[tuple[Any, ...]]]:
    found = columns(result)
    if not found:
        raise ArgumentError(f"{type(result).__name__} has no rows. Use to_dict(), or plica.save.")
    return list(found), list(zip(*found.values(), strict=True))


def to_dataframe(result: Result) -> DataFrame:
    """The table as a pandas DataFrame; standing, completeness and header are in its ``attrs``.

    Parameters
    ----------
    result : Result

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    ArgumentError
        pandas is not installed, or the result has no rows.
    """
    names, rows = _rows(result)
    try:
        import pandas as pd
    except ImportError:
        raise ArgumentError("to_dataframe: pandas is not installed. Install it, or use to_csv().") from None
    frame = pd.DataFrame(rows, columns=names)
    frame.attrs = {"standing": str(result.standing), "completeness": str(result.completeness), "header": result.header}
    return frame


def to_csv(result: Result) -> str:
    """The table as CSV, standing and completeness in a first line that begins with #.

    Parameters
    ----------
    result : Result
    """
    names, rows = _rows(result)
    text = io.StringIO()
    text.write(f"# {type(result).__name__}: {result.standing}, {result.completeness}\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([repr(v) if isinstance(v, float) else v for v in row] for row in rows)
    return text.getvalue()


def to_latex(result: Result) -> str:
    """The table as a LaTeX tabular with booktabs' rules; standing and completeness in a comment above.

    Parameters
    ----------
    result : Result
    """
    names, rows = _rows(result)
    right = [all(isinstance(row[i], (int, float)) for row in rows) for i in range(len(names))]
    lines = [
        f"% {type(result).__name__}: {result.standing}, {result.completeness}",
        f"\\begin{{tabular}}{{{''.join('r' if r else 'l' for r in right)}}}",
        "\\toprule",
        *(_latex_row(row) for row in [names]),
        "\\midrule",
        *(_latex_row(row) for row in rows),
        "\\bottomrule",
        "\\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _latex_row(row: Sequence[Any]) -> str:
    return " & ".join(_text(v).translate(SPECIAL).replace("\n", " ") for v in row) + r" \\"


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def to_html(result: Result) -> str:
    """What a notebook shows: standing and completeness first, the summary, and the first rows.

    Parameters
    ----------
    result : Result
    """
    first = f"{type(result).__name__}: {result.standing}, {result.completeness}"
    parts = [f"<div><strong>{html.escape(first)}</strong>", f"<pre>{html.escape(result.summary())}</pre>"]
    if type(result).__name__ == "RegionsResult":
        from plica.show.widget import framed

        parts.append(framed(result))  # type: ignore[arg-type]
    found = columns(result)
    if found:
        rows = list(zip(*found.values(), strict=True))
        parts += ["<table><thead><tr>", *(f"<th>{html.escape(n)}</th>" for n in found), "</tr></thead><tbody>"]
        for row in rows[:SHOWN_ROWS]:
            parts.append("<tr>" + "".join(f"<td>{html.escape(_text(v))}</td>" for v in row) + "</tr>")
        parts.append("</tbody></table>")
        if len(rows) > SHOWN_ROWS:
            parts.append(f"<p>{len(rows) - SHOWN_ROWS:,} more rows</p>")
    return "".join([*parts, "</div>"])


WRITERS = {".csv": to_csv, ".tex": to_latex}


def save_table(result: Result, path: str | os.PathLike[str]) -> Path:
    """Write the table, as the name says: .csv or .tex.

    Parameters
    ----------
    result : Result
    path : path-like

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    ArgumentError
        For another ending, a result without rows, or a file that cannot be written.
    """
    target = Path(path)
    if target.suffix not in WRITERS:
        raise ArgumentError(f"'{path}': a table is written as {' or '.join(WRITERS)}; choose one of these endings.")
    text = WRITERS[target.suffix](result)
    with whole_file(target) as file:
        file.write(text.encode())
    return target
