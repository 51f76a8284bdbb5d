"""Compiled loops stay within their arrays: here the interpreter runs them, and it looks at every index."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

HERE = Path(__file__).resolve()


@pytest.mark.parametrize("part", ["plane", "space", "pairs"])
def test_loops_stay_within_their_arrays(part):
    interpreted = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    child = subprocess.run([sys.executable, HERE, part], env=interpreted, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr[-3000:]


# --- in the child -----------------------------------------------------------------------------------------------


def interpret_intrinsics() -> None:
    """Give what is written for the compiler alone a body in Python."""
    import numba.extending
    import numpy as np

    bodies = {
        "_ones": lambda word: np.uint64(int(word).bit_count()),
        "_lowest": lambda word: np.uint64((int(word) & -int(word)).bit_length() - 1),
        "_fma": lambda a, b, c: float(Fraction(a) * Fraction(b) + Fraction(c)),
    }
    numba.extending.intrinsic = lambda function: bodies[function.__name__]


def pairs() -> None:
    """Moments of few units and of more than a tile, their derivatives, and block by block."""
    import torch
    from torch import nn

    import plica
    from plica.analyses.moments import streamed
    from plica.analyses.moments.choice import relu_moments
    from plica.analyses.moments.noise import gaussian
    from plica.core.progress import Progress

    for p in (1, 8, 66):
        factor = torch.randn(p, 3, dtype=torch.float64)
        cov = (factor @ factor.T + torch.eye(p)).requires_grad_()
        relu_moments(torch.randn(p, dtype=torch.float64), cov)[1].sum().backward()
        net = plica.load(nn.Sequential(nn.Linear(3, p), nn.ReLU(), nn.Linear(p, 2)).eval(), (3,))
        streamed.BLOCK = 64
        streamed.streamed_moments(net, gaussian(net, [0.0, 1.0, 2.0], 1.0), Progress())


if __name__ == "__main__":
    interpret_intrinsics()
    import warm

    {"plane": warm.plane, "space": warm.space, "pairs": pairs}[sys.argv[1]]()
