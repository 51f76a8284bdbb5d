"""The small parts of the command line."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from typing import Annotated

import pytest
import typer

import plica
from plica.cli import command, live, reading
from plica.cli.ending import as_text, leave
from plica.core.result import Completeness, Result, Standing
from plica.errors import ArgumentError


@pytest.mark.parametrize(("text", "expected"), [("1,28,28", (1, 28, 28)), ("3x32x32", (3, 32, 32)), (None, None)])
def test_shapes(text, expected):
    assert reading.shape(text) == expected


@pytest.mark.parametrize("text", ["", "a", "1,,2", "1.5"])
def test_shapes_that_are_none(text):
    with pytest.raises(ArgumentError, match="--input-shape"):
        reading.shape(text)


def test_numbers():
    assert reading.numbers("0.5,1e-3", "--mean") == (0.5, 1e-3)
    assert reading.numbers(None, "--mean") is None


@pytest.mark.parametrize(("text", "expected"), [("3", 3), ("-1", -1), ("relu1", "relu1"), ("-", "-"), ("0.1", "0.1")])
def test_layers_are_names_or_indices(text, expected):
    assert reading.layer_of(text) == expected


def test_json_is_standard():
    text = as_text({"a": [math.nan, math.inf, -math.inf, 1.5], 3: (None, True, "x")})
    assert json.loads(text) == {"a": ["nan", "inf", "-inf", 1.5], "3": [None, True, "x"]}
    assert "NaN" not in text


@pytest.mark.parametrize(
    ("completeness", "code"),
    [
        (Completeness.BUDGET, 3),
        (Completeness.INTERRUPTED, 130),
        (Completeness.COMPLETE, 0),
        (Completeness.INFEASIBLE, 0),
    ],
)
def test_exit_codes(completeness, code):
    result = Result(Standing.CERTIFIED, completeness, {})
    if code == 0:
        assert leave(result) is None
        return
    with pytest.raises(typer.Exit) as end:
        leave(result)
    assert end.value.exit_code == code


def test_bar_appears_only_on_a_terminal_and_after_a_second(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: clock[0])
    silent, bar = live.Bar(terminal=False), live.Bar(terminal=True)
    for moment, shown in ((0.5, False), (1.5, True)):
        clock[0] = moment
        silent("work", 1, 2)
        monkeypatch.setattr("sys.stderr", io.StringIO())
        bar("work [with] brackets", 1, None)
        assert silent.bars is None
        assert (bar.bars is not None) is shown
    bar("work [with] brackets", 2, 2)
    bar.stop()


def test_work_that_tells_nothing_shows_that_it_goes_on(monkeypatch):
    monkeypatch.setattr(live, "PATIENCE", 0.05)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    done, bar = live.Bar(terminal=True), live.Bar(terminal=True)
    done.stop()
    bar.timer.join(10)
    assert list(bar.tasks) == [live.WAITING] and [task.description for task in bar.bars.tasks] == [live.WAITING]
    bar("work", 1, 2)
    assert list(bar.tasks) == ["work"] and [task.description for task in bar.bars.tasks] == ["work"]
    bar.stop()
    done._wait()  # the timer was about to
    assert done.bars is None


def test_progress_passes_the_budget_on():
    with live.progress(3.0) as watch:
        assert watch.max_seconds == 3.0
        watch.report("work", 1, 2)


def test_options_become_plain_values(tmp_path):
    given = {"data": tmp_path, "models": [tmp_path], "scale": 255.0, "mean": None, "maps": False}
    assert command.plain(given) == {"data": str(tmp_path), "models": [str(tmp_path)], "scale": 255.0, "maps": False}


@dataclasses.dataclass(frozen=True)
class Pair:
    first: Annotated[int, typer.Option()]
    second: Annotated[float, typer.Option()] = 2.0


def test_groups_become_options_and_answers_are_stamped(tmp_path, capsys):
    app, seen = typer.Typer(), []

    def try_it(pair: Annotated[Pair, {"second": 3.0}], run: reading.RunOptions, own: str = "x") -> command.Answer:
        seen.append((pair, run.max_seconds, own))
        return command.Answer(plica.is_omnidirectional([[1.0], [-1.0]]))

    command.add(app, try_it)
    app(["--first", "1", "--max-seconds", "9", "--json", "--out", str(tmp_path / "a.npz")], standalone_mode=False)
    app(["--first", "1", "--second", "5", "--own", "y"], standalone_mode=False)
    assert seen == [(Pair(1, 3.0), 9.0, "x"), (Pair(1, 5.0), None, "y")]
    kept = {"first": 1, "second": 3.0, "own": "x"}
    assert plica.load_result(tmp_path / "a.npz").header["options"] == kept
    shown, end = json.JSONDecoder().raw_decode(text := capsys.readouterr().out)
    assert shown["header"]["options"] == kept
    assert "rigorous, complete" in text[end:]
