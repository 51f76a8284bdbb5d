"""The report: one page, one file, nothing loaded from elsewhere."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from plica.core.result import Completeness, Standing
from plica.show import charts, words
from plica.show.data import ModelPart, ReportData
from plica.show.findings import findings, verdict
from plica.show.sections import SECTIONS
from plica.show.sections.forget import MEANING, best_pair

__all__ = ["ModelPart", "ReportData", "render"]

FILES = ("report", "regionmap")  # styles and scripts of the page
SURE = {
    Standing.CERTIFIED: "checked in integers",
    Standing.RIGOROUS: "float, error bound proven",
    Standing.NUMERICAL: "float, no proof",
    Standing.ESTIMATE: "sampled or searched",
}


def render(report: ReportData) -> str:
    """Return the report as one self-contained HTML page.

    Parameters
    ----------
    report : ReportData
        Saved results and facts; nothing is computed here.

    Returns
    -------
    str
        Content of ``report.html``: it makes no request, and its first screen needs no JavaScript.
    """
    sections = [(section, view) for section in SECTIONS if (view := section.view(report)) is not None]
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            title=f"plica: {words.listed([part.name for part in report.models])}",
            verdict=verdict(report),
            lead=_lead(report),
            models=[_model_facts(report, part) for part in report.models],
            run=_run_facts(report.facts),
            findings=findings(report),
            picture=best_pair(report),
            sections=sections,
            sure=SURE,
            meaning=MEANING,
        )
    )


@cache
def _environment() -> Environment:
    """Templates, with everything escaped that is not marked as safe."""
    environment = Environment(
        loader=PackageLoader("plica.show"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    loader = environment.loader
    assert loader is not None
    environment.globals.update(
        css=Markup("\n".join(loader.get_source(environment, f"{name}.css")[0] for name in FILES)),
        js=Markup("\n".join(loader.get_source(environment, f"{name}.js")[0] for name in FILES)),
        hatchings=charts.patterns(),
        swatch=charts.swatch,
        plural=words.plural,
        complete=Completeness.COMPLETE,
    )
    return environment


def _lead(report: ReportData) -> str:
    """Say what was studied on what."""
    names, facts = words.listed([part.name for part in report.models]), report.facts
    parts = [p.facts for p in report.models]
    count = next((f["images"] for f in [*parts, facts] if f.get("images") is not None), None)
    data = next((f["data"] for f in [*parts, facts] if f.get("data")), None)
    on = " ".join(filter(None, ["on", words.plural(count, "image") if count else "", f"of {data}" if data else ""]))
    return f"{names}, studied {on}." if on != "on" else f"{names}."


def _model_facts(report: ReportData, part: ModelPart) -> list[tuple[str, str]]:
    """Return the facts of a model for the first screen."""

    def fact(key: str, name: str, show: Any = str) -> list[tuple[str, str]]:
        value = report.fact(part, key)
        return [] if value is None else [(name, show(value))]

    return [
        (part.name, str(report.fact(part, "architecture") or "")),
        *fact("parameters", "Weights", words.number),
        *fact("accuracy", "Right", words.percent),
        *fact("import_difference", "Import check", words.number),
    ]


def _run_facts(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the facts of the run for the first screen."""
    cores = words.plural(facts["cores"], "core") if facts.get("cores") else ""
    took = words.seconds(facts["seconds"]) if facts.get("seconds") is not None else ""
    version = (facts.get("versions") or {}).get("plica")
    pairs = (
        ("File", facts.get("file")),
        ("Took", ", ".join(filter(None, [took, cores]))),
        ("plica", version),
        ("Seed", facts.get("seed")),
    )
    return [(name, str(value)) for name, value in pairs if value not in (None, "")]
