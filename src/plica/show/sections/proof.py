"""Proof: claims of the page drawn at random, and what the checker says about them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from markupsafe import Markup

from plica.certificates import VerifyResult
from plica.core.result import Completeness, Standing
from plica.show.data import ModelPart, ReportData, completeness_of, standing_of
from plica.show.finding import WARNING, Finding
from plica.show.sections.view import Section, View
from plica.show.words import plural, seconds

LINK = ("proof", "Proof")


def proof_view(data: ReportData) -> View | None:
    """Sampled claims with their certificates and verdicts."""
    rows = [(part, r) for part in data.models for r in part.of(VerifyResult)]
    if not rows:
        return None
    results = tuple(r for _, r in rows)
    accepted = sum(map(bool, results))
    drawn = plural(len(rows), "claim")
    answer = (
        f"{drawn.capitalize()} of this page, drawn at random, {'was' if len(rows) == 1 else 'were'} proven again from "
        "the model's file, in integers."
        if accepted == len(rows)
        else f"Of {drawn} drawn at random, {len(rows) - accepted} could not be proven again; they stand refused below."
    )
    return View(
        answer,
        "A certificate is data: anyone can check it with Python and two files of plica that import nothing else "
        "(checker.py, and exact_model.py beside it, which reads the model itself). Every number of the claim is "
        "computed once more, without rounding. Drawn are one image for every layer that is small enough, the first "
        "impostor, and, of networks small enough, a bound and a whole preimage.",
        standing_of(results),
        completeness_of(results),
        "plica.certify(result, net, images, path='claim.json')\nplica.verify('claim.json', 'model.onnx')",
        {"rows": [_row(part, r) for part, r in rows], "accepted": accepted},
    )


def _row(part: ModelPart, result: VerifyResult) -> dict[str, Any]:
    """One certificate: what it claims, and how it can be checked."""
    about = result.header
    return {
        "model": part.name,
        "claim": result.lines[-1],
        "accepted": bool(result),
        "image": about.get("image"),
        "file": about.get("certificate", ""),
        "call": f"plica verify {about.get('certificate', '')} --model {about.get('model', '')}",
        "seconds": seconds(float(about["seconds"])) if "seconds" in about else "",
    }


def _refused(data: ReportData) -> Iterator[Finding]:
    """A claim that does not hold again is the first thing to know."""
    for part in data.models:
        checks = part.of(VerifyResult)
        refused = [r for r in checks if not r]
        if refused:
            yield Finding(
                str(len(refused)), "claims refused",
                f"{plural(len(refused), 'claim')} of {len(checks)} about {part.name} could not be proven again.",
                "Something is wrong: with the computation, the file, or plica. Please report it.",
                Markup(""), Standing.CERTIFIED, Completeness.COMPLETE, *LINK, WARNING + 2,
            )  # fmt: skip


SECTION = Section(*LINK, "proof.html.j2", proof_view, (_refused,))
