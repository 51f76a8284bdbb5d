"""The parts of a report, in the order they are computed; a part may use the results of those before it."""

from __future__ import annotations

from plica.experiments.report import edge, noise, preimages, proof, regions, stability, units

PARTS = (*preimages.PARTS, *regions.PARTS, *edge.PARTS, *stability.PARTS, *noise.PARTS, *units.PARTS, *proof.PARTS)
