"""How a command ends: what it shows, what it saves, and its exit code."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import typer

DIFFERENT = 1  # of diff alone, as of diff(1)
BAD_INPUT = 2
BUDGET_REACHED = 3
INTERRUPTED = 130


def one_line(error: BaseException) -> str:
    """Text of an error without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


def finish(result: Any, *, as_json: bool = False, out: Path | None = None, extra: str = "") -> None:
    """Show a result, save it where asked, and leave with the exit code that its completeness stands for.

    Parameters
    ----------
    result : Result
        What the analysis returned.
    as_json : bool
        Show JSON instead of text.
    out : Path, optional
        Save here, as `plica.save` does.
    extra : str
        Further lines of text, not shown as JSON.
    """
    if out is not None:
        from plica.store import save

        out = save(result, out)
    if as_json:
        typer.echo(as_text(result.to_dict()))
    else:
        typer.echo(repr(result))
        if extra:
            typer.echo(extra)
        if out is not None:
            typer.echo(f"saved: {out}")
    leave(result)


def leave(result: Any) -> None:
    """Leave with 3 or 130 when a result is not complete."""
    completeness = str(getattr(result, "completeness", "complete"))
    if completeness == "budget reached":
        raise typer.Exit(BUDGET_REACHED)
    if completeness == "interrupted":
        raise typer.Exit(INTERRUPTED)


def as_text(value: Any) -> str:
    """Standard JSON; numbers that JSON lacks become the words "nan", "inf" and "-inf"."""
    return json.dumps(_standard(value), indent=2, ensure_ascii=False)


def _standard(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, dict):
        return {str(k): _standard(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_standard(v) for v in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
