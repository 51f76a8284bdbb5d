"""The parts of a report, in the order they are computed; a part may use the results of those before it."""

from __future__ import annotations

from plica.experiments.report import preimages, proof, stability

PARTS = (*preimages.PARTS, *stability.PARTS, *proof.PARTS)
