"""Lipschitz constants of layers and networks, spectra of convolutions, and regularisers (Szegedy et al. 2013, 4.3)."""

from plica.analyses.lipschitz.analysis import lipschitz
from plica.analyses.lipschitz.modules import contrast_constant, response_constant
from plica.analyses.lipschitz.result import LayerBound, LipschitzResult
from plica.analyses.lipschitz.spectrum import ConvSpectrumResult, conv_spectrum

__all__ = [
    "ConvSpectrumResult",
    "LayerBound",
    "LipschitzResult",
    "contrast_constant",
    "conv_spectrum",
    "lipschitz",
    "response_constant",
]
