"""Types at run time: plica's modules are loaded with every function checked against its annotations by beartype.

Only what is written as a function is checked; constructors that a dataclass or a named tuple writes are not. Left out:
modules that compile with numba, which cannot compile a checked function; the border (loaders, cli), where arguments of
any type arrive and the functions' own checks are what is tested; and the checker, which reads what anyone may give it.
"""

from __future__ import annotations

import ast
import importlib
import re
import sys
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # whole numbers may stand for floats
BORDER = ("loaders", "cli", "checker", "exact_model")


def install(root: Path) -> None:
    """Check the modules below a folder; to be called before they are imported."""
    names = {}
    for path in sorted((root / "plica").rglob("*.py")):
        parts, text = path.relative_to(root).with_suffix("").parts, path.read_text(encoding="utf-8")
        if parts[-1] != "__init__" and parts[1] not in BORDER and not re.search(r"^\s*(from|import) numba", text, re.M):
            names[".".join(parts)] = text
    sys.meta_path.insert(0, Finder(names.keys()))
    for name, text in names.items():  # names that stand in annotations alone are filled in
        for node in ast.parse(text).body if "if TYPE_CHECKING:" in text else ():
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                exec(compile(ast.Module(node.body, []), name, "exec"), vars(importlib.import_module(name)))


class Finder:
    """Finds the modules to check, and loads them so."""

    def __init__(self, names) -> None:
        self.names = names

    def find_spec(self, name, path, target=None):
        spec = PathFinder.find_spec(name, path, target) if name in self.names else None
        if spec is not None:
            spec.loader = Loader(spec.loader.name, spec.loader.path)
        return spec


class Loader(SourceFileLoader):
    """Compiles with checks, and keeps no compiled file: without checks the module is another."""

    def get_code(self, name):
        tree = Checks().visit(ast.parse(self.get_data(self.path)))
        tree.body.insert(_after_future(tree), ast.parse("from typecheck import check as _typecheck").body[0])
        return compile(ast.fix_missing_locations(tree), self.path, "exec", dont_inherit=True)


def _after_future(tree: ast.Module) -> int:
    place = 0
    for i, node in enumerate(tree.body):
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            place = i + 1
    return place or int(ast.get_docstring(tree) is not None)


class Checks(ast.NodeTransformer):
    """Decorates functions and methods; what is defined inside of them is not reached."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.decorator_list.append(ast.copy_location(ast.Name("_typecheck", ast.Load()), node))
        return node
