"""Szegedy et al. (2013): intriguing properties of neural networks."""

from __future__ import annotations

from plica.experiments.figure import Row
from plica.experiments.szegedy2013.frames import frame_bounds
from plica.experiments.szegedy2013.pictures import binary, digits, one_class
from plica.experiments.szegedy2013.pools import training
from plica.experiments.szegedy2013.tables import across_models, across_training_sets, halves, models
from plica.experiments.szegedy2013.units import natural_colour, natural_digits, random_colour, random_digits

FIGURES = (
    Row("fig1", "Images that stimulate single units most, MNIST", natural_digits, 5.0),
    Row("fig2", "Images that stimulate random directions most, MNIST", random_digits, 1.0),
    Row("fig3", "Images that stimulate single units most, a larger network", natural_colour, 3.0),
    Row("fig4", "Images that stimulate random directions most, a larger network", random_colour, 3.0),
    Row("fig5", "Images changed to one class", one_class, 4.0),
    Row("fig6", "Cars that are not recognised", binary, 4.0),
    Row("fig7", "Distorted digits, and digits under noise", digits, 10.0),
    Row("training", "Training with pools of adversarial examples, and its baselines (s. 4.2)", training, 20.0),
    Row("table1", "Errors and smallest distortions of six networks", models, 25.0),
    Row("table2", "Distorted images read by networks of other hyperparameters", across_models, 15.0),
    Row("table3", "Errors and smallest distortions of networks trained on halves", halves, 15.0),
    Row("table4", "Distorted images read by networks trained on other images", across_training_sets, 10.0),
    Row("table5", "Upper Lipschitz bounds of AlexNet's layers", frame_bounds, 10.0),
)
