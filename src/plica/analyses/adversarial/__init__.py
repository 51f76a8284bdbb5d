"""Smallest perturbations, whether they carry over to other models, and what units see (Szegedy et al. 2013)."""

from plica.analyses.adversarial.distortion import min_distortion
from plica.analyses.adversarial.result import DistortionResult
from plica.analyses.adversarial.settings import Search
from plica.analyses.adversarial.training import AdversarialTrainingResult, adversarial_training
from plica.analyses.adversarial.transfer import TransferResult, transfer

__all__ = [
    "AdversarialTrainingResult",
    "DistortionResult",
    "Search",
    "TransferResult",
    "adversarial_training",
    "min_distortion",
    "transfer",
]
