"""Property files: what they describe is what a plain evaluation of their text says, point by point."""

from __future__ import annotations

import gzip
import random
import re

import numpy as np
import pytest

from plica.errors import ArgumentError, DataError
from plica.loaders.vnnlib import parse, read_vnnlib

HEAD = "(declare-const X_0 Real)(declare-const X_1 Real)\n(declare-const Y_0 Real)\n(declare-const Y_1 Real)\n"


def holds(text: str, x, y) -> bool:
    """Evaluate a file at a point by turning it into a Python expression; imports nothing of plica."""
    text = re.sub(r";[^\n]*", "", text)
    tokens = re.findall(r"[()]|[^\s()]+", text)

    def read(at):
        if tokens[at] != "(":
            return tokens[at], at + 1
        parts, at = [], at + 1
        while tokens[at] != ")":
            part, at = read(at)
            parts.append(part)
        return parts, at + 1

    def value(form):
        if isinstance(form, str):
            return (x if form[0] == "X" else y)[int(form[2:])] if form[0] in "XY" else float(form)
        word, *rest = form
        values = [value(part) for part in rest]
        if word in ("<=", ">="):
            return values[0] <= values[1] if word == "<=" else values[0] >= values[1]
        return all(values) if word == "and" else any(values)

    at, true = 0, True
    while at < len(tokens):
        form, at = read(at)
        if form[0] == "assert":
            true = true and value(form[1])
    return true


def described(prop, x, y) -> bool:
    return any(
        case.domain.contains(np.array([x]))[0] and bool(case.target.contains(np.array([y]))[0]) for case in prop.cases
    )


def condition(draw: random.Random, letters: str, depth: int = 2) -> str:
    """A random condition whose atoms are allowed."""
    if depth and draw.random() < 0.6:
        parts = " ".join(condition(draw, letters, depth - 1) for _ in range(draw.randint(1, 3)))
        return f"({draw.choice(['and', 'or'])} {parts})"
    letter, number = draw.choice(letters), f"{draw.randint(-4, 4) / 2}"
    variable = f"{letter}_{draw.randint(0, 1)}"
    other = f"Y_{draw.randint(0, 1)}" if letter == "Y" and draw.random() < 0.5 else number
    pair = [variable, other]
    draw.shuffle(pair)
    return f"({draw.choice(['<=', '>='])} {pair[0]} {pair[1]})"


@pytest.mark.big(sample=30)
@pytest.mark.parametrize("case", range(400))
def test_cases_hold_the_points_that_the_text_holds(case, seed):
    draw = random.Random(seed * 1000 + case)
    text = HEAD + "; a comment ) (\n"
    for _ in range(draw.randint(1, 4)):
        text += f"(assert {condition(draw, draw.choice(['X', 'Y', 'XY']))})\n"
    points = [([draw.randint(-5, 5) / 2 for _ in "ab"], [draw.randint(-5, 5) / 2 for _ in "ab"]) for _ in range(60)]
    try:
        prop = parse(text)
    except DataError as error:
        assert "describes no input" in str(error)
        assert not any(holds(text, x, y) for x, y in points)
        return
    for x, y in points:
        assert described(prop, x, y) == holds(text, x, y), (text, x, y)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("(assert (<= X_0 1))", "must declare X_0"),
        (HEAD + "(assert (< X_0 1))", "line 4: '(< X_0 1)' is not read"),
        (HEAD + "(assert (<= X_0 X_1))", "compares two inputs"),
        (HEAD + "(assert (<= X_0 Y_1))", "inputs and outputs together"),
        (HEAD + "(assert (<= 1 2))", "on numbers"),
        (HEAD + "(assert (<= X_2 1))", "X_2, which is not declared"),
        (HEAD + "(assert (<= X_0 1e999))", "finite number"),
        (HEAD + "(assert (<= X_0 nan))", "finite number"),
        (HEAD + "(assert (<= (+ X_0 1) 2))", "neither a variable"),
        (HEAD + "(assert (<= X_0 1) (<= X_1 1))", "neither a declaration"),
        (HEAD + "(assert X_0)", "is not a condition"),
        (HEAD + "(check-sat)", "neither a declaration"),
        (HEAD + "(assert (<= X_0 1)", "never closed"),
        (HEAD + "(assert (<= X_0 1)))", "')' without '('"),
        (HEAD + "hello", "outside of all brackets"),
        (HEAD + "(declare-const X_1 Real)", "once each"),
        (HEAD + "(declare-const Z_1 Real)", "does not declare"),
        (HEAD + "(declare-const X_2 Int)", "does not declare"),
        (HEAD + "(assert (<= X_0 1))(assert (>= X_0 2))", "describes no input"),
        (HEAD + "(assert (or (<= X_0 1) (>= X_0 2)))" * 20, "cases, more than"),
        (HEAD + "(" * 80, "brackets are open"),
        ("", "must declare"),
    ],
)
def test_everything_else_is_refused(text, words):
    with pytest.raises(DataError, match=re.escape(words)):
        parse(text)


def test_files(tmp_path):
    text = HEAD + "(assert (<= X_0 0.1))(assert (or (<= Y_0 Y_1) (>= Y_1 3)))"
    (tmp_path / "a.vnnlib").write_text(text)
    (tmp_path / "a.vnnlib.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("a.vnnlib", "a.vnnlib.gz"):
        prop = read_vnnlib(tmp_path / name)
        assert (prop.inputs, prop.outputs, len(prop.cases)) == (2, 2, 2)
        assert prop.cases[0].domain.upper.tolist() == [0.1, np.inf]
        assert prop.case(1) is prop.cases[1]
        for wrong in (None, 2, -1):
            with pytest.raises(ArgumentError, match="2 cases"):
                prop.case(wrong)
    (tmp_path / "b.gz").write_bytes(gzip.compress(text.encode())[:-12])
    (tmp_path / "c").write_bytes(b"\xff\xfe\x00")
    for name in ("b.gz", "c", "none", ""):
        with pytest.raises(DataError):
            read_vnnlib(tmp_path / name)


def test_published_properties(shared_data):
    files = sorted(shared_data.glob("*/*.vnnlib*"))
    small = [f for f in files if f.parent.name in ("acasxu", "rl", "reach_prob", "tll", "test_small")]
    for file in small:
        prop = read_vnnlib(file)
        assert prop.cases
        assert all((case.domain.lower <= case.domain.upper).all() for case in prop.cases)
        assert all(np.isfinite(case.domain.lower).all() for case in prop.cases)
    six = read_vnnlib(shared_data / "acasxu" / "prop_6.vnnlib")
    assert (six.inputs, six.outputs, len(six.cases)) == (5, 5, 8)  # two boxes, four rivals
    assert six.cases[0].domain.upper[1] == 0.499999896
    images = read_vnnlib(next(f for f in files if f.parent.name == "cifar10_resnet"))
    assert (images.inputs, images.outputs, len(images.cases)) == (3072, 10, 9)
