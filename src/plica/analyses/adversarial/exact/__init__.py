"""Smallest perturbations of piecewise-linear networks with a proof."""

from plica.analyses.adversarial.exact.layers import prepare
from plica.analyses.adversarial.exact.smallest import Bracket, smallest

__all__ = ["Bracket", "prepare", "smallest"]
