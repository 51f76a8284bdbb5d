"""What the first screen says: sentences with a number, made from results by fixed rules, the worst first.

A sentence is only as strong as the standing allows: "cannot tell" and "proven" need a proof.
"""

from __future__ import annotations

from plica.show.data import ReportData
from plica.show.finding import Finding
from plica.show.sections import SECTIONS
from plica.show.sections.about import accuracies
from plica.show.sections.forget import infinite_standing, worst_layer
from plica.show.words import listed, part_of, percent


def findings(data: ReportData, most: int = 4) -> tuple[Finding, ...]:
    """Return the findings of a report, the worst first, at most one of each sort."""
    sorts = [sort for section in SECTIONS for sort in section.findings]
    found = [f for sort in sorts if (f := max(sort(data), key=lambda f: f.rank, default=None)) is not None]
    return tuple(sorted(found, key=lambda f: -f.rank)[:most])


def verdict(data: ReportData) -> str:
    """Return the whole report in one sentence with a number."""
    low = max(accuracies(data), key=lambda f: f.rank, default=None)
    if low is not None and low.is_warning:
        return low.sentence
    worst = worst_layer(data)
    if worst is None:
        return low.sentence if low is not None else f"{listed([p.name for p in data.models])}: no result yet."
    part, result, share = worst
    accuracy = data.fact(part, "accuracy")
    start = f"{part.name} answers {percent(accuracy)} right, and" if accuracy is not None else f"{part.name}:"
    if share == 0:
        return f"{start} no layer was found to give infinitely many inputs the same output, at any image."
    proof = "" if infinite_standing(result).is_proof else "it seems that "
    if result.source == ("input",):
        images = part_of(share, len(result.kinds), "image")
        return f"{start} {proof}its layer {result.layer} cannot tell {images} from infinitely many others."
    return (
        f"{start} {proof}its layer {result.layer} gives infinitely many of its inputs the same output "
        f"at {part_of(share, len(result.kinds), 'image')}."
    )
