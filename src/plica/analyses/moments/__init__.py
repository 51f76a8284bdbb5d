"""What Gaussian noise at the input does to the output: moments (Bibi et al. 2018)."""

from plica.analyses.moments.analysis import differentiable_moments, moments
from plica.analyses.moments.choice import choice_moments, relu_moments
from plica.analyses.moments.enclosure import moment_bounds
from plica.analyses.moments.noise import LowRank
from plica.analyses.moments.result import MomentBoundsResult, MomentsCheck, MomentsResult
from plica.analyses.moments.rewrite import linearise

__all__ = [
    "LowRank",
    "MomentBoundsResult",
    "MomentsCheck",
    "MomentsResult",
    "choice_moments",
    "differentiable_moments",
    "linearise",
    "moment_bounds",
    "moments",
    "relu_moments",
]
