"""What the moments are good for: probabilities of classes, fooling rates and maps, noise that fools."""

from plica.analyses.moments.uses.construct import NoiseLimits, noise
from plica.analyses.moments.uses.curve import noise_curve
from plica.analyses.moments.uses.fooling import fooling_map, fooling_rate
from plica.analyses.moments.uses.points import LinearisationPoints, batch_moments, linearisation_points
from plica.analyses.moments.uses.probability import class_probabilities, gaussian_probabilities
from plica.analyses.moments.uses.results import (
    BatchMomentsResult,
    FoolingMapResult,
    FoolingResult,
    NoiseCurveResult,
    NoiseResult,
    ProbabilityResult,
    binomial_interval,
)

__all__ = [
    "BatchMomentsResult",
    "FoolingMapResult",
    "FoolingResult",
    "LinearisationPoints",
    "NoiseCurveResult",
    "NoiseLimits",
    "NoiseResult",
    "ProbabilityResult",
    "batch_moments",
    "binomial_interval",
    "class_probabilities",
    "fooling_map",
    "fooling_rate",
    "gaussian_probabilities",
    "linearisation_points",
    "noise",
    "noise_curve",
]
