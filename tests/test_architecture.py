"""Rules of the house that a reader can check: sizes, docstrings, the public API, and what an import costs."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import plica

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "plica"
FILES = sorted(SOURCE.rglob("*.py"))
NAMES = [str(path.relative_to(SOURCE)) for path in FILES]
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in zip(NAMES, FILES, strict=True)}
MAX_FILE, MAX_FUNCTION, MAX_ARGUMENTS, MAX_POSITIONAL = 400, 60, 9, 5
HEAVY = ("torch", "matplotlib", "onnx", "sklearn", "scipy", "numba", "highspy", "numpy")
# Public functions without a command of their own, and what serves instead.
WITHOUT_COMMAND = {"load": "every command opens its MODEL", "save": "--out FILE",
                   "adversarial_training": "trains a torch module, which a model file is not"}  # fmt: skip
# Commands that are shorter than the function they call.
SHORTER = {"attack": "min_distortion", "bounds": "region_bounds", "units": "unit_maps"}


# --- sizes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_files_are_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE


def functions_of(name: str) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(TREES[name]) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def lines_of_code(node) -> int:
    """Lines of a function without its docstring."""
    first = node.body[0]
    has_docstring = ast.get_docstring(node) is not None
    documentation = first.end_lineno - first.lineno + 1 if has_docstring else 0
    return node.end_lineno - node.lineno + 1 - documentation


def arguments_before_and_after_star(node) -> tuple[int, int]:
    before = [a for a in node.args.posonlyargs + node.args.args if a.arg not in ("self", "cls")]
    return len(before), len(node.args.kwonlyargs)


@pytest.mark.parametrize("name", NAMES)
def test_functions_are_short(name):
    lengths = {node.name: lines_of_code(node) for node in functions_of(name)}
    assert {function: n for function, n in lengths.items() if n > MAX_FUNCTION} == {}


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("cli/")])
def test_functions_have_few_arguments(name):
    """Commands are left out: each of their options is an argument."""
    counts = {node.name: arguments_before_and_after_star(node) for node in functions_of(name)}
    assert {function: n for function, n in counts.items() if sum(n) > MAX_ARGUMENTS} == {}
    assert {function: n for function, n in counts.items() if n[0] > MAX_POSITIONAL and function in plica.__all__} == {}


# --- what the source does not contain ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_no_print_eval_or_pickle(name):
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"print", "eval", "exec"}, f"line {node.lineno}"
        if isinstance(node, ast.Import):
            assert not {alias.name.split(".")[0] for alias in node.names} & {"pickle", "cloudpickle", "dill"}
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in {"pickle", "cloudpickle", "dill"}


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_nothing_is_left_to_do(path):
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", path.read_text(encoding="utf-8"))


# --- docstrings -------------------------------------------------------------------------------------------------


def public_functions() -> dict[str, object]:
    """The public functions by name, resolved."""
    names = [name for name in plica.__all__ if name.islower() and not name.startswith("_")]
    return {name: getattr(plica, name) for name in names}


@pytest.mark.parametrize("name", NAMES)
def test_everything_public_has_a_docstring(name):
    tree = TREES[name]
    assert ast.get_docstring(tree) or not tree.body, "the module has none"
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name


@pytest.mark.parametrize("name", sorted(n for n in plica.__all__ if n.islower() and not n.startswith("_")))
def test_public_functions_document_arguments_and_result(name):
    text = getattr(plica, name).__doc__
    parts = re.split(r"^ *(\w+)\n *-{3,}$", text, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert "Parameters" in sections
    assert sections.keys() & {"Returns", "Yields"}
    for argument in arguments_of(name):
        assert re.search(rf"^ *[\w*, ]*\b{argument}\b[\w*, ]*( :|$)", sections["Parameters"], re.MULTILINE), argument


def arguments_of(name: str) -> list[str]:
    """Names of a public function's arguments, but for *args and **kwargs, read from its source."""
    function = getattr(plica, name)
    file = str(Path(sys.modules[function.__module__].__file__).relative_to(SOURCE))
    node = next(n for n in TREES[file].body if isinstance(n, ast.FunctionDef) and n.name == name)
    return [a.arg for a in node.args.posonlyargs + node.args.args + node.args.kwonlyargs]


def test_paragraphs_say_what_an_error_is():
    from plica import errors

    for error in vars(errors).values():
        if isinstance(error, type) and issubclass(error, Exception):
            assert error.__doc__.strip().endswith("."), error


# --- the public API ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", plica.__all__)
def test_public_names_resolve(name):
    value = getattr(plica, name)
    assert value is getattr(plica, name)
    assert name == "__version__" or value.__name__ == name


def test_table_of_homes_and_all_agree():
    assert {"__version__", *plica._HOME_OF} == set(plica.__all__)
    assert sorted(plica.__all__) == plica.__all__
    assert set(plica.__all__) <= set(dir(plica))


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = plica.nothing


def test_every_command_has_its_function_and_the_reverse():
    from plica.cli.app import app

    names = {command.name.replace("-", "_") for command in app.registered_commands}
    commands = {SHORTER.get(name, name) for name in names}
    assert commands | WITHOUT_COMMAND.keys() == public_functions().keys()
    assert not commands & WITHOUT_COMMAND.keys()


def test_every_result_type_can_be_saved():
    from plica.store import RESULTS

    homes = {
        node.name: "plica." + name.removesuffix(".py").replace("/", ".")
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and any(isinstance(b, ast.Name) and b.id == "Result" for b in node.bases)
    }
    assert {name: f"{module}:{name}" for name, module in homes.items()} == RESULTS


def test_version_is_the_same_everywhere():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert plica.__version__ == project["version"]
    assert f"version: {plica.__version__}" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"## [{plica.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


# --- what an import costs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "import plica, plica.errors",
        "import sys; sys.argv = ['plica', '--help']; from plica.cli import main\n"
        "try: main()\nexcept SystemExit as end: assert not end.code, end.code",
        "import sys; sys.argv = ['plica', 'preimage-kind', '--help']; from plica.cli import main\n"
        "try: main()\nexcept SystemExit as end: assert not end.code, end.code",
    ],
    ids=["import", "help", "command help"],
)
def test_light_imports_stay_light(code):
    """A quick start needs that nothing heavy is imported; time itself is not measured here."""
    code += f"\nimport sys; loaded = sorted(set({HEAVY}) & set(sys.modules)); assert not loaded, loaded"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- import contracts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("contract", "file", "line"),
    [
        ("layers", "core/result.py", "import plica.analyses.preimage"),
        ("layers", "loaders/images.py", "import plica.analyses.preimage"),
        ("core", "core/affine.py", "import plica.core.network"),
        ("light", "store.py", "import torch"),
        ("core-external", "analyses/preimage/result.py", "import matplotlib"),
    ],
)
def test_a_forbidden_import_breaks_its_contract(contract, file, line, tmp_path):
    """The contracts of pyproject.toml see what they are meant to see."""
    shutil.copytree(SOURCE, tmp_path / "plica", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    changed = tmp_path / "plica" / file
    changed.write_text(changed.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")
    code = "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command as c; c()"
    command = [sys.executable, "-c", code, "--no-cache", "--no-logo", "--contract", contract]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Contracts: 0 kept, 1 broken." in done.stdout, done.stdout + done.stderr
    assert done.returncode == 1


def test_types_are_checked_at_run_time(request):
    """Without this, the hook could quietly check nothing."""
    if request.config.getoption("--no-typecheck"):
        pytest.skip("--no-typecheck")
    from beartype.roar import BeartypeCallHintViolation

    from plica.cli.reading import shape
    from plica.show.words import percent

    with pytest.raises(BeartypeCallHintViolation):
        percent("half")
    assert not hasattr(shape, "__wrapped__")  # the border is left out
