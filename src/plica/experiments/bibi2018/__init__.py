"""Bibi, Alfadly and Ghanem (2018), Analytic expressions for probabilistic moments of PL-DNN: all figures and tables."""

from __future__ import annotations

from plica.experiments.bibi2018.construction import few_pixels, few_pixels_cifar, targeted
from plica.experiments.bibi2018.lenet import one_image, other_points
from plica.experiments.bibi2018.synthetic import tightness
from plica.experiments.bibi2018.universal import fooling
from plica.experiments.bibi2018.windows import maps
from plica.experiments.figure import Row

FIGURES = (
    Row("fig2", "Analytic moments of six random networks against Monte Carlo", tightness, 5.0),
    Row("table1", "Ratios of sampled to analytic moments of LeNet on MNIST", one_image, 2.0),
    Row("table2", "Fooling rate of a universal perturbation, and the order of the logits", fooling, 1.0),
    Row("table3", "Ratios with fewer points of linearisation than images", other_points, 3.0),
    Row("fig3", "Fooling maps of noise in a window", maps, 3.0),
    Row("fig4", "Noise that aims at a class", targeted, 1.0),
    Row("fig5", "Noise on 4 % of the pixels of MNIST", few_pixels, 1.0),
    Row("fig6", "Noise on 2 % of the pixels of CIFAR-10", few_pixels_cifar, 1.0),
)
