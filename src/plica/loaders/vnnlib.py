"""Properties in: ``.vnnlib`` files as boxes of inputs and polyhedra of outputs.

Read is the subset that the properties of the verification competitions use: declarations of real constants ``X_i`` and
``Y_j``, and assertions of ``and``, ``or``, ``<=`` and ``>=`` between a variable and a number, or between two outputs.
Everything else is refused with its line.
"""

from __future__ import annotations

import gzip
import io
import itertools
import math
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from plica.core.domain import Box
from plica.core.polyhedron import Polyhedron
from plica.errors import ArgumentError, DataError

MAX_BYTES = 256 << 20
MAX_CASES = 10_000
MAX_DEPTH = 50
TOKEN = re.compile(r";[^\n]*|[()]|[^\s();]+|\n")
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
VARIABLE = re.compile(r"([XY])_(0|[1-9]\d*)")


@dataclass(frozen=True)
class Case:
    """A box of inputs and a polyhedron of outputs.

    Attributes
    ----------
    domain : Box
        Of the flattened input; infinite where the file gives no bound.
    target : Polyhedron
        Of the flattened output.
    """

    domain: Box
    target: Polyhedron


@dataclass(frozen=True)
class Property:
    """What a file asks: whether there is an input in a case's domain whose output is in its target.

    Attributes
    ----------
    inputs, outputs : int
        Number of variables X and Y.
    cases : tuple of Case
        Their union is what the file describes; cases without an input are left out.
    """

    inputs: int
    outputs: int
    cases: tuple[Case, ...]

    def case(self, index: int | None = None) -> Case:
        """The case of a number, from 0; the only one when there is no number.

        Raises
        ------
        ArgumentError
            There are several and none was named, or none of that number.
        """
        if index is None and len(self.cases) == 1:
            return self.cases[0]
        if index is None or not 0 <= index < len(self.cases):
            asked = "" if index is None else f"; there is no case {index}"
            raise ArgumentError(
                f"The property has {len(self.cases)} cases{asked}. Name one: 0 to {len(self.cases) - 1}."
            )
        return self.cases[index]


@dataclass(frozen=True)
class _Atom:
    """left <= right; each a variable ("X", i), or a number."""

    left: tuple[str, int] | float
    right: tuple[str, int] | float


def read_vnnlib(path: str | os.PathLike[str]) -> Property:
    """Read a property file.

    Parameters
    ----------
    path : path-like
        ``.vnnlib`` or ``.vnnlib.gz``.

    Returns
    -------
    Property
        Numbers are rounded to the nearest float64, as all tools do that read these files.

    Raises
    ------
    DataError
        The file is missing or damaged, or uses something else than the subset above; the message names the line.

    Notes
    -----
    Assertions are brought into disjunctive form: the number of cases is the product of the sizes of all ``or``, at
    most 10,000.
    """
    return parse(_text(Path(path)), str(path))


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            with gzip.open(io.BytesIO(data)) as file:
                data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise DataError(f"'{path}' does not exist. Give a .vnnlib file.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"'{path}' cannot be read ({error}). Give a .vnnlib file.") from None
    if len(data) > MAX_BYTES:
        raise DataError(f"'{path}' has more than {MAX_BYTES >> 20} MiB of text, which no property needs.")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise DataError(f"'{path}' is not text. Give a .vnnlib file.") from None


def parse(text: str, name: str = "property") -> Property:
    """Read a property from its text; see `read_vnnlib`.

    Parameters
    ----------
    text : str
    name : str
        For messages.
    """
    counts: dict[str, list[int]] = {"X": [], "Y": []}
    common: list[_Atom] = []
    choices: list[list[list[_Atom]]] = []
    for form, line in _forms(text, name):
        where = f"'{name}', line {line}"
        if form[:1] in (["declare-const"], ["declare-fun"]):
            letter, index = _declared(form, where)
            counts[letter].append(index)
        elif form[:1] == ["assert"] and len(form) == 2:
            clauses = _clauses(form[1], where)
            if len(clauses) == 1:
                common += clauses[0]
            else:
                choices.append(clauses)
        else:
            raise DataError(f"{where}: '{_shown(form)}' is neither a declaration of a real constant nor an assertion.")
    sizes = [_size(counts[letter], letter, name) for letter in "XY"]
    if (product := math.prod(len(clauses) for clauses in choices)) > MAX_CASES:
        raise DataError(f"'{name}' has {product} cases, more than {MAX_CASES}. Split it.")
    base = _bounds(common, sizes, name)
    cases = [
        _case(base, [a for clause in chosen for a in clause], sizes, name) for chosen in itertools.product(*choices)
    ]
    kept = tuple(case for case in cases if case is not None)
    if not kept:
        raise DataError(f"'{name}' describes no input: its bounds contradict each other.")
    return Property(sizes[0], sizes[1], kept)


def _forms(text: str, name: str) -> Iterator[tuple[list[Any], int]]:
    """Top-level lists of words and lists, with the line where each begins."""
    stack: list[list[Any]] = []
    line = first = 1
    for token in TOKEN.findall(text):
        if token == "\n":
            line += 1
        elif token == "(":
            if not stack:
                first = line
            if len(stack) >= MAX_DEPTH:
                raise DataError(f"'{name}', line {line}: more than {MAX_DEPTH} brackets are open.")
            stack.append([])
        elif token == ")":
            if not stack:
                raise DataError(f"'{name}', line {line}: ')' without '('.")
            done = stack.pop()
            if stack:
                stack[-1].append(done)
            else:
                yield done, first
        elif not token.startswith(";"):
            if not stack:
                raise DataError(f"'{name}', line {line}: '{token[:40]}' stands outside of all brackets.")
            stack[-1].append(token)
    if stack:
        raise DataError(f"'{name}': the bracket opened in line {first} is never closed; the file is cut short.")


def _declared(form: list[Any], where: str) -> tuple[str, int]:
    """Variable of a declaration."""
    kind: list[Any] = [[]] if form[0] == "declare-fun" else []
    match = VARIABLE.fullmatch(form[1]) if len(form) > 1 and isinstance(form[1], str) else None
    if match is None or form[2:] != [*kind, "Real"]:
        raise DataError(f"{where}: '{_shown(form)}' does not declare a real X_i or Y_j.")
    return match[1], int(match[2])


def _size(indices: list[int], letter: str, name: str) -> int:
    """Number of variables, declared once each and without gaps."""
    if sorted(indices) != list(range(len(indices))) or not indices:
        raise DataError(f"'{name}' must declare {letter}_0, {letter}_1, ... once each; it declares {len(indices)}.")
    return len(indices)


def _clauses(form: Any, where: str) -> list[list[_Atom]]:
    """Disjunctive form of an assertion."""
    if not isinstance(form, list) or not form or not isinstance(form[0], str):
        raise DataError(f"{where}: '{_shown(form)}' is not a condition.")
    word, rest = form[0], form[1:]
    if word in ("<=", ">=") and len(rest) == 2:
        left, right = (_term(term, where) for term in (rest if word == "<=" else rest[::-1]))
        return [[_Atom(left, right)]]
    if word == "or" and rest:
        return [clause for part in rest for clause in _clauses(part, where)]
    if word == "and" and rest:
        parts = [_clauses(part, where) for part in rest]
        if math.prod(len(part) for part in parts) > MAX_CASES:
            raise DataError(f"{where}: more than {MAX_CASES} cases. Split the property.")
        return [[atom for clause in chosen for atom in clause] for chosen in itertools.product(*parts)]
    raise DataError(f"{where}: '{_shown(form)}' is not read; conditions are made of and, or, <= and >=.")


def _term(term: Any, where: str) -> tuple[str, int] | float:
    if isinstance(term, str) and (match := VARIABLE.fullmatch(term)):
        return match[1], int(match[2])
    if isinstance(term, str) and NUMBER.fullmatch(term) and math.isfinite(float(term)):
        return float(term)
    raise DataError(f"{where}: '{_shown(term)}' is neither a variable X_i or Y_j nor a finite number.")


def _shown(form: Any) -> str:
    text = form if isinstance(form, str) else "(" + " ".join(_shown(part) for part in form[:4]) + ")"
    return text[:60]


Bounds = tuple[np.ndarray, np.ndarray, list[np.ndarray], list[float]]


def _bounds(atoms: list[_Atom], sizes: list[int], name: str, base: Bounds | None = None) -> Bounds:
    """Corners of the box, and rows g, h of g'y <= h."""
    lower, upper, rows, limits = base or (np.full(sizes[0], -np.inf), np.full(sizes[0], np.inf), [], [])
    lower, upper, rows, limits = lower.copy(), upper.copy(), list(rows), list(limits)
    for atom in atoms:
        for side in (atom.left, atom.right):
            if isinstance(side, tuple) and side[1] >= sizes["XY".index(side[0])]:
                raise DataError(f"'{name}' uses {side[0]}_{side[1]}, which is not declared.")
        letters = {side[0] for side in (atom.left, atom.right) if isinstance(side, tuple)}
        if letters == {"X"}:
            if isinstance(atom.left, tuple) and isinstance(atom.right, tuple):
                raise DataError(f"'{name}' compares two inputs; the inputs must be a box.")
            if isinstance(atom.left, tuple):
                upper[atom.left[1]] = min(upper[atom.left[1]], float(atom.right))  # type: ignore[arg-type]
            elif isinstance(atom.right, tuple):
                lower[atom.right[1]] = max(lower[atom.right[1]], float(atom.left))
        elif letters == {"Y"}:
            row, limit = np.zeros(sizes[1]), 0.0
            for side, sign in ((atom.left, 1.0), (atom.right, -1.0)):
                if isinstance(side, tuple):
                    row[side[1]] += sign
                else:
                    limit -= sign * side
            rows.append(row)
            limits.append(limit)
        else:
            raise DataError(
                f"'{name}' has a condition {'on inputs and outputs together' if letters else 'on numbers'}."
            )
    return lower, upper, rows, limits


def _case(base: Bounds, atoms: list[_Atom], sizes: list[int], name: str) -> Case | None:
    """One case; None when its box is empty."""
    lower, upper, rows, limits = _bounds(atoms, sizes, name, base)
    if (lower > upper).any():
        return None
    matrix = np.array(rows).reshape(len(rows), sizes[1])
    return Case(Box(lower, upper), Polyhedron(matrix, np.array(limits, dtype=np.float64)))
