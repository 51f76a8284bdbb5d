"""The page of questions names every public function."""

import re
from pathlib import Path

import pytest

import plica

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "which-analysis.md").read_text(encoding="utf-8")
PLAIN = {"load", "save", "load_result", "info", "report", "reproduce"}  # no questions about a network
FUNCTIONS = sorted(name for name in plica.__all__ if name.islower() and not name.startswith("_") and name not in PLAIN)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_question_is_answered_by(name):
    assert re.search(rf"`{name}`", PAGE)
