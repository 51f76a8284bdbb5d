"""Stability of the map and of its inverse: spectra of linearisations (Behrmann et al. 2018, section 3)."""

from plica.analyses.spectrum.analysis import spectrum
from plica.analyses.spectrum.result import SpectrumResult, join_spectra

__all__ = ["SpectrumResult", "join_spectra", "spectrum"]
