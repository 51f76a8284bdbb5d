"""Smallest perturbations, whether they carry over to other models, and what units see (Szegedy et al. 2013)."""

from plica.analyses.adversarial.activation import LargestActivationResult, largest_activation
from plica.analyses.adversarial.activity import SharedActivityResult, shared_activity
from plica.analyses.adversarial.certified import RadiusResult, certified_radius
from plica.analyses.adversarial.distortion import min_distortion
from plica.analyses.adversarial.often import ErrorRateResult, error_rate
from plica.analyses.adversarial.result import DistortionResult
from plica.analyses.adversarial.settings import Search
from plica.analyses.adversarial.training import AdversarialTrainingResult, adversarial_training
from plica.analyses.adversarial.transfer import TransferResult, transfer

__all__ = [
    "AdversarialTrainingResult",
    "DistortionResult",
    "ErrorRateResult",
    "LargestActivationResult",
    "RadiusResult",
    "Search",
    "SharedActivityResult",
    "TransferResult",
    "adversarial_training",
    "certified_radius",
    "error_rate",
    "largest_activation",
    "min_distortion",
    "shared_activity",
    "transfer",
]
