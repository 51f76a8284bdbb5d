"""Behrmann et al. (2018): invariance and the stability of the inverse under ReLU."""

from __future__ import annotations

from plica.experiments.behrmann2018.hyperplanes import omnidirectional_tuples, removal
from plica.experiments.behrmann2018.invariances import other_classes
from plica.experiments.behrmann2018.kinds import strip
from plica.experiments.figure import Row

FIGURES = (
    Row("fig1", "Omnidirectional tuples", omnidirectional_tuples),
    Row("fig2", "A row removed by a ReLU leaves two that are nearly alike", removal),
    Row("fig3", "Finite and infinite preimages of the first layer over the test set", strip, 30.0),
    Row("fig6", "Images of another class with the features of an image (Figs 6 and 11)", other_classes, 8.0),
)
