"""About this run: what was read, with which versions and options, and what was left open."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from markupsafe import Markup

from plica.analyses.lipschitz.result import LipschitzResult
from plica.analyses.preimage.result import FacetResult, ImpostorResult, Kind, KindResult
from plica.analyses.regions.result import RegionsResult
from plica.analyses.spectrum.result import SpectrumResult
from plica.certificates import VerifyResult
from plica.core.result import Completeness, Standing
from plica.show import charts
from plica.show.data import ModelPart, ReportData, completeness_of
from plica.show.finding import WARNING, Finding
from plica.show.sections.view import Section, View
from plica.show.words import listed, number, percent, plural, seconds

MOST_REASONS = 5  # sentences shown per undecided layer
LOW_ACCURACY = 0.5
IMPORT_LIMIT = 1e-3  # a larger difference between the network and the original is a warning
LINK = ("about-this-run", "About this run")


def about_view(data: ReportData) -> View:
    """Facts of the run, notices, and what is missing."""
    facts = data.facts
    results = [(part, r) for part in data.models for r in part.results]
    complete = sum(r.completeness == Completeness.COMPLETE for _, r in results)
    undecided = [u for part in data.models for r in part.kinds for u in _undecided(part, r)]
    open_ = sum(u["count"] for u in undecided)
    answer = (
        f"{complete:,} of {plural(len(results), 'result')} are complete, and {plural(open_, 'preimage')} undecided."
    )
    took = f" The run took {seconds(facts['seconds'])}." if facts.get("seconds") is not None else ""
    return View(
        answer,
        f"What was read, with which versions and options, and what was left open.{took}",
        None,
        completeness_of(tuple(r for _, r in results)),
        facts.get("command") or "plica.report(model, images, out='report')",
        {
            "models": [_about_model(data, part) for part in data.models],
            "tables": [(title, rows) for title, rows in _tables(facts) if rows],
            "notices": _notices(data),
            "undecided": undecided,
            "results": [_result_row(part, r) for part, r in results],
        },
    )


def _about_model(data: ReportData, part: ModelPart) -> dict[str, Any]:
    """Return the facts of one model as pairs of words."""

    def fact(key: str, show: Callable[[Any], str] = str) -> str:
        value = data.fact(part, key)
        return "" if value is None else show(value)

    pairs = (
        ("file", fact("file")), ("architecture", fact("architecture")), ("units", fact("units", number)),
        ("parameters", fact("parameters", number)), ("answered right", fact("accuracy", percent)),
        ("images", fact("images", number)), ("data", fact("data")), ("dtype of the original", fact("dtype")),
        ("import check, share of the largest output", fact("import_difference", number)),
        ("time", ", ".join(f"{k} {seconds(v)}" for k, v in (part.facts.get("timings") or {}).items())),
    )  # fmt: skip
    return {"name": part.name, "pairs": [(k, v) for k, v in pairs if v]}


def _tables(facts: dict[str, Any]) -> Iterable[tuple[str, list[tuple[str, str]]]]:
    """Yield the facts that are dictionaries, and the few others about the run."""
    run = {"seed": facts.get("seed"), "cores": facts.get("cores")}
    yield "Run", [(k, str(v)) for k, v in run.items() if v is not None]
    for key in ("versions", "options", "hashes"):
        pairs = (facts.get(key) or {}).items()
        yield key.capitalize(), [(str(k), v if isinstance(v, str) else json.dumps(v)) for k, v in pairs]
    yield "Timings", [(str(k), seconds(float(v))) for k, v in (facts.get("timings") or {}).items()]


def _notices(data: ReportData) -> list[str]:
    """Every notice once, with its model where it is of one model only."""
    found = [str(n) for n in data.facts.get("notices") or ()]
    for part in data.models:
        found += [f"{part.name}: {n}" for n in part.facts.get("notices") or () if str(n) not in found]
    return list(dict.fromkeys(found))


def _undecided(part: ModelPart, result: KindResult) -> list[dict[str, Any]]:
    """Return the sentences that say why preimages were not decided, with their number."""
    reasons = Counter(r for r, k in zip(result.reasons, result.kinds, strict=False) if str(k) == Kind.UNDECIDED.value)
    shown = [
        {"model": part.name, "layer": result.layer, "count": n, "reason": r}
        for r, n in reasons.most_common(MOST_REASONS)
    ]
    rest = sum(reasons.values()) - sum(n for _, n in reasons.most_common(MOST_REASONS))
    more = f"{len(reasons) - MOST_REASONS} other reasons; all are in the saved result."
    return [*shown, *([{"model": part.name, "layer": result.layer, "count": rest, "reason": more}] if rest else [])]


def _result_row(part: ModelPart, result: Any) -> dict[str, Any]:
    """Return one line about a saved result."""
    names = {
        KindResult: "kinds of preimages",
        FacetResult: "nearest facet",
        ImpostorResult: "impostor",
        VerifyResult: "certificate",
        RegionsResult: "linear regions",
        SpectrumResult: "singular values",
        LipschitzResult: "Lipschitz constants",
    }
    several = dict.fromkeys(getattr(v, "name", v) for v in getattr(result, "layers", ()))
    layer = getattr(result, "layer", None) or result.header.get("layer") or listed(list(several))
    took = result.header.get("seconds")
    return {
        "model": part.name,
        "what": names.get(type(result), type(result).__name__.removesuffix("Result").lower()),
        "layer": layer,
        "seconds": "" if took is None else seconds(float(took)),
        "standing": Standing(result.standing),
        "completeness": Completeness(result.completeness),
    }


def accuracies(data: ReportData) -> Iterator[Finding]:
    """Yield the share of right answers of every model; a low one is a warning."""
    for part in data.models:
        share, count = data.fact(part, "accuracy"), data.fact(part, "images")
        if share is None:
            continue
        low = share < LOW_ACCURACY
        images = plural(count, "image") if count else "the images"
        meaning = (
            "Check scale, layout, mean and std of the images: below 50 % the input is often not what the model expects."
            if low
            else f"{round((1 - share) * count):,} of {images} are answered wrong."
            if count
            else "Share of right answers."
        )
        yield Finding(
            percent(share), "answered right", f"{part.name} answers {percent(share)} of {images} right.", meaning,
            charts.accuracy_bar(share), Standing.NUMERICAL, Completeness.COMPLETE, *LINK,
            WARNING if low else 1 - share,
        )  # fmt: skip


def _imports(data: ReportData) -> Iterator[Finding]:
    for part in data.models:
        difference = data.fact(part, "import_difference")
        if difference is None:
            continue
        warn = not difference <= IMPORT_LIMIT
        value, advice = number(float(difference)), ": check the import before reading on." if warn else "."
        yield Finding(
            value, "largest difference seen",
            f"{part.name} as loaded and the original model differ by {value} of the largest output on random inputs.",
            f"The answers here are about the loaded network{advice}",
            Markup(""), Standing.NUMERICAL, Completeness.COMPLETE, *LINK, WARNING + 1 if warn else 0.0,
        )  # fmt: skip


SECTION = Section(*LINK, "about.html.j2", about_view, (accuracies, _imports))
