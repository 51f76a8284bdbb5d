"""Certificates: claims of results as data that `plica.checker` verifies alone."""

from __future__ import annotations

from plica.certificates.proof import VerifyResult, certify, verify

__all__ = ["VerifyResult", "certify", "verify"]
