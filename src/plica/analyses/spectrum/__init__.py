"""Stability of the map and of its inverse: spectra of linearisations (Behrmann et al. 2018, section 3)."""

from plica.analyses.spectrum.admissible import AdmissibleResult, admissible_sets
from plica.analyses.spectrum.analysis import spectrum
from plica.analyses.spectrum.result import SpectrumResult, join_spectra
from plica.analyses.spectrum.rows import RemovedRowsResult, removed_rows, rows_within

__all__ = [
    "AdmissibleResult",
    "RemovedRowsResult",
    "SpectrumResult",
    "admissible_sets",
    "join_spectra",
    "removed_rows",
    "rows_within",
    "spectrum",
]
