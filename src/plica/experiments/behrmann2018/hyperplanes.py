"""Drawings in the plane: omnidirectional tuples (Fig. 1) and the removal of rows by a ReLU (Fig. 2)."""

from __future__ import annotations

import numpy as np

from plica.analyses.preimage import Kind, is_omnidirectional, preimage
from plica.analyses.spectrum import removed_rows
from plica.core.result import Standing, weakest
from plica.experiments.carlsson2017.tiny import relu_network
from plica.experiments.figure import Claim, Made, Panel, Setting

SIZE = 2.0  # half of the drawn window
P = np.array([0.5, 0.25])
AROUND = [[1.0, 0.0], [-0.5, 0.75], [-0.5, -0.75]]  # normals that look in all directions
ONE_SIDE = [[1.0, 0.0], [0.5, 0.75], [0.5, -0.75]]
HALF_PLANE = [[0.0, 1.0], [0.0, -1.0], [1.0, 0.5]]  # none looks to the left
APART = [-1.0, -0.75, -0.75]  # offsets with which the lines of AROUND form a triangle
CASES = (
    ("left", AROUND, None, True, True, Kind.SINGLETON),
    ("second", ONE_SIDE, None, False, False, Kind.UNBOUNDED),
    ("third", HALF_PLANE, None, False, False, Kind.UNBOUNDED),
    ("right", AROUND, APART, False, True, Kind.COMPACT),
)
DRAWN = "The paper draws by hand; rows and offsets are in the source."


def omnidirectional_tuples(setting: Setting) -> Made:
    """Fig. 1, and what Theorem 4 says about the preimage of zero activity in each case."""
    claims, panels, standings = [], [], []
    for name, rows, offsets, tuple_is, matrix_is, kind in CASES:
        A = np.array(rows)
        b = -A @ P if offsets is None else np.array(offsets)
        whole, matrix = is_omnidirectional(A, b, P), is_omnidirectional(A)
        inner = P if offsets is None else np.zeros(2)  # a point where no unit fires
        zero = preimage(relu_network((rows, b.tolist())), inner, layer=-1).result()
        claims.append(
            Claim(
                f"{name} tuple", f"omnidirectional for p: {_yes(tuple_is)}; normals: {_yes(matrix_is)}",
                f"for p: {_yes(bool(whole))}; normals: {_yes(bool(matrix))}; preimage of zero activity: {zero.kind}",
                (bool(whole), bool(matrix), zero.kind) == (tuple_is, matrix_is, kind),
                f"{DRAWN} Theorem 4: singleton for the first, compact only where the normals are omnidirectional.",
            )
        )  # fmt: skip
        standings += [whole.standing, matrix.standing, zero.standing]
        panels.append(Panel("areas", name, _lines(A, b), "x1", "x2"))
    return claims, panels, weakest(standings)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _lines(A: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
    """Hyperplanes, and their normals from the foot of the origin's perpendicular on."""
    out = {"p": P[:, None]}
    for k, (row, offset) in enumerate(zip(A, b, strict=True)):
        along, foot = np.array([-row[1], row[0]]) / np.linalg.norm(row), -offset * row / (row @ row)
        out["_hyperplane" * bool(k) + str(k) if k else "hyperplane"] = np.stack(
            [foot - SIZE * along, foot + SIZE * along], 1
        )
        out[f"_normal{k}" if k else "normal"] = np.stack([foot, foot + 0.5 * row], 1)
    return out


def removal(setting: Setting) -> Made:
    """Fig. 2: three rows with singular values near one; without the odd one out, the rest is ill-conditioned."""
    angle = np.deg2rad(5.0)
    pair = np.sqrt(0.5) * np.array([[np.cos(angle), np.sin(angle)], [np.cos(angle), -np.sin(angle)]])
    A = np.vstack([pair, [[0.0, 1.0]]])
    found = removed_rows(A, [2])
    condition = found.before[0] / found.before[1], found.after[0] / found.after[1]
    claims = [
        Claim("three rows", "singular values close to one", _values(found.before), bool(condition[0] < 1.1),
              "Two rows of length 0.71 at 5 degrees to the first axis, and the second axis; chosen here."),
        Claim("two rows after the removal", "badly ill-conditioned", _values(found.after), bool(condition[1] > 10)),
        Claim("the removed row is weakly correlated to the others", "weakly", f"largest |<a_j, a_k>| / |a_k|^2: "
              f"{np.abs(pair @ A[2]).max():.3f}", bool(np.abs(pair @ A[2]).max() < 0.1)),
        Claim("Lemma 8 bounds the smallest value", "yes", f"bound {found.lemma8:.3g}, value {found.smallest:.3g}",
              bool(found.smallest <= found.lemma8 * (1 + 1e-12))),
    ]  # fmt: skip
    rows = {f"a{k + 1}": np.stack([np.zeros(2), row], 1) for k, row in enumerate(A)}
    places = np.array([1.0, 2.0])
    series = {"three rows": np.stack([places, found.before]), "two rows": np.stack([places, found.after[:2]])}
    panels = [Panel("areas", "rows; a3 is removed", rows), Panel("bars", "singular values", series, "number")]
    return claims, panels, Standing.NUMERICAL


def _values(values: np.ndarray) -> str:
    shown = [v for v in values.tolist() if v > 1e-12]
    return f"{', '.join(f'{v:.3f}' for v in shown)}; condition {shown[0] / shown[-1]:.3g}"
