"""Behrmann et al. (2018): invariance and the stability of the inverse under ReLU."""

from __future__ import annotations

from plica.experiments.behrmann2018.correlation import condition_three
from plica.experiments.behrmann2018.hyperplanes import omnidirectional_tuples, removal
from plica.experiments.behrmann2018.invariances import other_classes
from plica.experiments.behrmann2018.kinds import strip
from plica.experiments.behrmann2018.spectra import decay, mnist_layers, over_layers, relu_thin, relu_wide
from plica.experiments.figure import Row

FIGURES = (
    Row("fig1", "Omnidirectional tuples", omnidirectional_tuples),
    Row("fig2", "A row removed by a ReLU leaves two that are nearly alike", removal),
    Row("fig3", "Finite and infinite preimages of the first layer over the test set", strip, 30.0),
    Row("fig4", "Units, singular values and condition over the layers", over_layers, 70.0),
    Row("fig5", "Singular values over the layers of WideCIFAR", decay, 2.0),
    Row("fig6", "Images of another class with the features of an image (Figs 6 and 11)", other_classes, 8.0),
    Row("fig7", "Effect of ReLU on the singular values of WideCIFAR", relu_wide, 2.0),
    Row("fig8", "Rows that satisfy condition (3) of Lemma 9", condition_three, 4.0),
    Row("fig9", "Singular values of ThinCIFAR", relu_thin, 8.0),
    Row("fig10", "Singular values of the MNIST network", mnist_layers, 6.0),
)
