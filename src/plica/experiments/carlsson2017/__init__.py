"""Carlsson, Azizpour and Razavian (2017), The preimage of rectifier network activities: figures, s. 3 and s. 4."""

from __future__ import annotations

from plica.experiments.carlsson2017.concentration import concentration
from plica.experiments.carlsson2017.convolutions import step_edges, well_behaved
from plica.experiments.carlsson2017.dual import three_planes
from plica.experiments.carlsson2017.manifolds import external_factors
from plica.experiments.carlsson2017.plane import quadrants, split_and_merge, three_levels
from plica.experiments.figure import Row

FIGURES = (
    Row("fig1", "Preimages of one layer of two units, by quadrant", quadrants),
    Row("fig2", "Preimages at the third level of a network of two units a level", three_levels),
    Row("fig3", "Null spaces, dual basis and preimages of three units", three_planes),
    Row("eq12", "Kernels accumulated through layers, and step edges that they do not see", step_edges, 2.0),
    Row("s3", "Do preimages of a convolutional network keep their class?", well_behaved, 8.0),
    Row("fig5", "Kernels against tangents of shifts and rotations (Figs 4 and 5)", external_factors, 4.0),
    Row("s43", "Classes concentrate on few units of the last layer", concentration, 2.0),
    Row("fig6", "A class split from another, and a class merged, by two units", split_and_merge),
)
