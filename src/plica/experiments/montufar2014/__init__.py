"""Montúfar, Pascanu, Cho and Bengio (2014), On the number of linear regions of deep neural networks."""

from __future__ import annotations

from plica.experiments.figure import Row
from plica.experiments.montufar2014.arrangements import shi
from plica.experiments.montufar2014.counts import table_of_bounds
from plica.experiments.montufar2014.faces import maps_of_layers, same_activation
from plica.experiments.montufar2014.folding import absolute_values, line, proof, skew
from plica.experiments.montufar2014.others import convolutions, per_parameter, small_changes
from plica.experiments.montufar2014.sinusoid import sinusoid

FIGURES = (
    Row("fig1", "20 units against 10 + 10 on a sinusoidal boundary", sinusoid, 3.0),
    Row("fig2", "Folding by absolute values, and the neighbourhoods it identifies", absolute_values),
    Row("fig3", "Folding along skew lines", skew),
    Row("fig4", "The line folded by a sum of rectifiers", line),
    Row("fig5", "The network of Theorem 4", proof),
    Row("fig6", "Maxout layers with the regions of the Shi and Catalan arrangements", shi),
    Row("fig7", "Linear maps of units, and their differences (Figs 7 to 9)", maps_of_layers),
    Row("fig10", "Points with exactly one activation", same_activation),
    Row("stability", "Linear regions under small changes of the weights (s. 2.5)", small_changes),
    Row("parameters", "Linear regions per parameter, deep and shallow (appendix C)", per_parameter, 0.5),
    Row("convolutions", "Convolutional networks (appendix E)", convolutions, 0.5),
    Row("bounds", "Every bound against exact counts of small networks", table_of_bounds, 2.0),
)
