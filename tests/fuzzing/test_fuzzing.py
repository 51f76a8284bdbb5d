"""Past failures stay mended, and a few hundred fresh cases are read in every run.

Many more: ``PYTHONPATH=tests python tests/fuzzing/fuzz.py --cases 100000``.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from fuzzing.targets import failure, targets

CORPUS = sorted(path for path in (Path(__file__).parent / "corpus").rglob("*") if path.is_file())
NAMES = ("certificate", "images", "model", "onnx", "property", "result", "safetensors")
CASES = {"onnx": 20, "safetensors": 20}  # of the others: 40


@pytest.fixture(scope="module")
def everything():
    return targets()


@pytest.mark.parametrize("path", CORPUS, ids=[f"{path.parent.name}-{path.stem}" for path in CORPUS])
def test_past_failures(path, everything, tmp_path):
    assert failure(everything[path.parent.name], path.read_bytes(), tmp_path) == ""


@pytest.mark.parametrize("name", NAMES)
def test_fresh_cases(name, everything, tmp_path, seed):
    target = everything[name]
    for number in range(CASES.get(name, 40)):
        draw = random.Random(seed * 1_000_003 + number)
        data = draw.choice(target.mutations)(draw.choice(target.seeds), draw)
        reason = failure(target, data, tmp_path)
        assert not reason, (number, reason)


@pytest.mark.parametrize("name", NAMES)
def test_sound_files_are_read(name, everything, tmp_path):
    for data in everything[name].seeds[:: max(1, len(everything[name].seeds) // 10)]:
        everything[name].read(data, tmp_path)


def test_sound_certificates_are_accepted_and_false_ones_judged(everything, tmp_path):
    """The judge is awake: it refuses a claim with another dimension, if the checker let it pass."""
    import json

    from fuzzing.targets import Certificates

    certificates = Certificates()
    for data in certificates.seeds:
        certificates.judge(json.loads(data))
        body = json.loads(data)
        claim = body["claims"][0]
        if claim["claim"] == "kind":
            claim["dimension"] += 1
        elif claim["claim"] == "bound":
            claim["radius"] = (20 * float.fromhex(claim["radius"])).hex()
        elif claim["claim"] == "union":
            claim["rows"], claim["pieces"] = [], claim["pieces"][:-1]
        else:
            claim["classes"] = [claim["classes"][0] + 1, claim["classes"][1]]
        with pytest.raises(AssertionError, match="a wrong claim"):
            certificates.judge(body)
