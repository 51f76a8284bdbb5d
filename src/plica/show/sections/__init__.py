"""Sections of the page, one module each: one question, the sentence that answers it, and the results behind it."""

from __future__ import annotations

from plica.show.sections import about, confuse, edge, facet, forget, noise, proof, regions, stability, units
from plica.show.sections.view import Section, View

__all__ = ["SECTIONS", "Section", "View"]

SECTIONS = (
    forget.SECTION,
    confuse.SECTION,
    regions.SECTION,
    facet.SECTION,
    edge.SECTION,
    stability.SECTION,
    noise.SECTION,
    units.SECTION,
    proof.SECTION,
    about.SECTION,
)  # in the order shown
