"""Out: the report page and the figures. Reads results, computes nothing."""

from plica.show.data import ModelPart, ReportData
from plica.show.report import render

__all__ = ["ModelPart", "ReportData", "render"]
