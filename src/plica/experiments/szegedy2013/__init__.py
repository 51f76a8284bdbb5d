"""Szegedy et al. (2013): intriguing properties of neural networks."""

from __future__ import annotations

from plica.experiments.figure import Row
from plica.experiments.szegedy2013.frames import frame_bounds

FIGURES = (Row("table5", "Upper Lipschitz bounds of AlexNet's layers", frame_bounds, 10.0),)
