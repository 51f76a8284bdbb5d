"""The report: from a network and images to a page that opens in any browser."""

from __future__ import annotations

from plica.experiments.report.job import ReportResult, report

__all__ = ["ReportResult", "report"]
