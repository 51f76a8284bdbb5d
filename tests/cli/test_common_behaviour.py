"""What every command has in common: options, exit codes, errors of one line."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import plica
from plica.cli import app as application
from plica.cli.app import app
from plica.errors import ArgumentError, BudgetReached

COMMANDS = get_command(app).commands
FUNCTIONS = {"attack": "min_distortion", "bounds": "region_bounds", "units": "unit_maps"}
# Options that a command does not have though the rules below ask for them, and why.
EXCEPT = {
    ("report", "--out"): "its --out is a folder",
    ("reproduce", "--out"): "its --out is a folder",
    ("certify", "--out"): "--path names the certificate",
    ("load-result", "--out"): "the result is a file already",
    ("reproduce", "--device"): "makes its own models, on the CPU",
    ("verify", "--max-seconds"): "the checker is one file of the standard library and has no clock",
    ("bounds", "--threads"): "counts; no torch arithmetic",
    ("run-count", "--threads"): "its processes take one each",
    ("info", "--threads"): "computes nothing but the check of the import",
    ("verify", "--threads"): "integers in one thread",
    ("verify", "--input-shape"): "the certificate says it",
    ("verify", "--trust-pickle"): "opens ONNX and safetensors only",
}
ON_CPU = {
    *("certify", "verify", "bounds", "info", "lipschitz", "conv-spectrum", "moments", "moment-bounds", "noise"),
    *("class-probabilities", "fooling-map", "fooling-rate", "preimage", "preimage-of", "mixing"),
    *("regions", "stream-regions", "count-regions", "run-count"),
}
CASTS = {"attack"}  # the others decide in float64, whatever the model's dtype


def options(command) -> set[str]:
    return {name for parameter in COMMANDS[command].params for name in (*parameter.opts, *parameter.secondary_opts)}


def has_model(command) -> bool:
    return any(parameter.name == "model" for parameter in COMMANDS[command].params)


def expected(command) -> set[str]:
    """The common options that mean something for a command, by what it takes and what its function takes."""
    function = getattr(plica, FUNCTIONS.get(command, command.replace("-", "_")))
    arguments = inspect.signature(function).parameters
    wanted = {"--json", "--out"}
    if "progress" in arguments:
        wanted.add("--max-seconds")
    if "seed" in arguments:
        wanted.add("--seed")
    if has_model(command):
        wanted |= {"--threads", "--input-shape", "--trust-pickle"}
        if command not in ON_CPU:
            wanted.add("--device")
    if command in CASTS:
        wanted.add("--dtype")
    return {option for option in wanted if (command, option) not in EXCEPT}


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_common_options(command):
    assert expected(command) <= options(command)
    assert options(command) & {"--debug", "--version"} == set()


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_options_are_spelt_as_in_python(command):
    for parameter in COMMANDS[command].params:
        for name in parameter.opts:
            assert name == name.lower()
            assert "_" not in name or not name.startswith("--"), name


def filled(command, folder) -> list[str]:
    """Arguments for everything that a command needs, with files that do not exist."""
    values = {"x": "0", "towards": "1", "variance": "0.5", "shift": "0.5", "layer": "relu", "analysis": "spectrum"}
    words = [command]
    for parameter in COMMANDS[command].params:
        if parameter.required:
            value = values.get(parameter.name, str(folder / "none.onnx"))
            words += [value] if parameter.param_type_name == "argument" else [parameter.opts[0], value]
    return words


def ended(monkeypatch, capsys, *words) -> tuple[int, str]:
    monkeypatch.setattr("sys.argv", ["plica", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        application.run()
    return end.value.code or 0, capsys.readouterr().err


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"report"}))
def test_files_that_are_not_there(command, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, error = ended(monkeypatch, capsys, *filled(command, tmp_path))
    assert code == 2, error
    assert "Traceback" not in error
    assert error.startswith("plica: ") or "Usage: " in error
    assert error.startswith("plica: unexpected") is False


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_options_that_are_not_there(command, monkeypatch, capsys):
    code, error = ended(monkeypatch, capsys, command, "--no-such-option")
    assert code == 2
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ArgumentError("bad\n  thing."), 2, "plica: bad thing.\n"),
        (BudgetReached("too long."), 3, "plica: too long.\n"),
        (KeyboardInterrupt(), 130, "plica: interrupted.\n"),
        (MemoryError(), 2, "plica: out of memory."),
        (ZeroDivisionError("by zero"), 1, "plica: unexpected ZeroDivisionError: by zero"),
    ],
)
@pytest.mark.parametrize("debug", [False, True])
def test_errors_and_their_codes(error, code, words, debug, monkeypatch, capsys):
    def failing(*arguments, **options):
        raise error

    monkeypatch.setattr("plica.store.load_result", failing)
    line = ["load-result", "x.npz", "--debug"] if debug else ["load-result", "x.npz"]
    got, shown = ended(monkeypatch, capsys, *line)
    assert got == code
    if code == 130:  # typer ends the command itself
        return
    assert words in shown
    assert ("Traceback" in shown) is debug
    assert debug or shown.count("\n") == 1


def test_completion_for_the_shells():
    for shell in ("bash", "zsh", "fish"):
        environment = {**os.environ, "_PLICA_COMPLETE": f"complete_{shell}", "COMP_WORDS": "plica preimage-k",
                       "COMP_CWORD": "1", "_TYPER_COMPLETE_ARGS": "plica preimage-k",
                       "_TYPER_COMPLETE_FISH_ACTION": "get-args"}  # fmt: skip
        code = "import sys; sys.argv[0] = 'plica'; from plica.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )
        assert "preimage-kind" in done.stdout, (shell, done.stdout, done.stderr)
        assert "spectrum" not in done.stdout
    assert "--install-completion" in CliRunner().invoke(app, ["--help"]).stdout
