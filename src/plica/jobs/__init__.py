"""Long work: analyses over many inputs, and searches, in chunks that are written once and survive everything."""

from plica.jobs.chunked import run
from plica.jobs.count import run_count
from plica.jobs.explore import Explored, explore
from plica.jobs.result import ExpansionResult, ManyResult
from plica.jobs.table import ANALYSES, Analysis

__all__ = ["ANALYSES", "Analysis", "ExpansionResult", "Explored", "ManyResult", "explore", "run", "run_count"]
