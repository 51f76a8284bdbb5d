"""Out: the report page and the figures. Reads results, computes nothing."""

from plica.show.data import ModelPart, ReportData

__all__ = ["ModelPart", "ReportData"]
