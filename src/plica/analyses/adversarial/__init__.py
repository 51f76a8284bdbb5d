"""Smallest perturbations, whether they carry over to other models, and what units see (Szegedy et al. 2013)."""

from plica.analyses.adversarial.distortion import min_distortion
from plica.analyses.adversarial.result import DistortionResult
from plica.analyses.adversarial.settings import Search
from plica.analyses.adversarial.transfer import TransferResult, transfer

__all__ = ["DistortionResult", "Search", "TransferResult", "min_distortion", "transfer"]
