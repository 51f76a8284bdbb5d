"""Numbers as a reader wants them: short, honest at the ends, with a fixed space before the unit."""

from __future__ import annotations

import math
from collections.abc import Sequence

SPACE = "\u202f"  # narrow, does not break


def percent(share: float) -> str:
    """Return a share in percent; what is not all is never printed as 100 %, what is not nothing never as 0 %."""
    if 0.9995 <= share < 1:
        return f"over 99.9{SPACE}%"
    if 0 < share < 0.0005:
        return f"under 0.1{SPACE}%"
    return f"{100 * share:.0f}{SPACE}%" if share in (0, 1) else f"{100 * share:.1f}{SPACE}%"


def number(value: float) -> str:
    """Return three significant digits; whole numbers in full with commas."""
    if isinstance(value, int) or (math.isfinite(value) and value == round(value) and abs(value) < 1e9):
        return f"{int(value):,}"
    if not math.isfinite(value):
        return "infinite" if value > 0 else str(value)
    if 1e-3 <= abs(value) < 1e5:
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def short(value: float) -> str:
    """Return two significant digits: a number in large print."""
    return number(float(f"{value:.1e}")) if math.isfinite(value) else number(value)


def seconds(value: float) -> str:
    """Return a time: "0.4 s", "52 s", "1 min 52 s", "2 h 3 min"."""
    if value < 10:
        return f"{value:.1f}{SPACE}s"
    whole = round(value)
    if whole < 60:
        return f"{whole}{SPACE}s"
    if whole < 3600:
        return f"{whole // 60}{SPACE}min {whole % 60}{SPACE}s"
    return f"{whole // 3600}{SPACE}h {whole % 3600 // 60}{SPACE}min"


def plural(count: int, word: str) -> str:
    """Return "1 image", "1,000 images"."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def part_of(share: float, count: int, word: str) -> str:
    """Return "96.5 % of 200 images", "all 200 images"."""
    return f"all {plural(count, word)}" if share == 1 and count > 1 else f"{percent(share)} of {plural(count, word)}"


def listed(words: Sequence[str]) -> str:
    """Return "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def slug(text: str) -> str:
    """Return the text as part of a permalink: lower case, dashes."""
    kept = "".join(c if c.isalnum() else "-" for c in text.lower())
    return "-".join(filter(None, kept.split("-"))) or "model"
