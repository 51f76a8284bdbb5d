"""Distance to the nearest input that a small ReLU net does not give its class: every pattern, one program each."""

from __future__ import annotations

import itertools
import math

import daqp
import numpy as np
from scipy.optimize import linprog


def logits(layers, x) -> np.ndarray:
    """Output of layers [(W, b), ...] with ReLU between them."""
    for W, b in layers[:-1]:
        x = np.maximum(W @ x + b, 0.0)
    W, b = layers[-1]
    return W @ x + b


def smallest(layers, x, label, lower, upper, norm) -> float:
    """Infimum of |v - x| over v in the box that some other class is at least as large as `label`; inf for none."""
    sizes = [len(b) for _, b in layers[:-1]]
    best = math.inf
    for bits in itertools.product((0, 1), repeat=sum(sizes)):
        G, h, A, c = _piece(layers, np.array(bits), sizes)
        for k in range(len(c)):
            if k != label:
                rows, rest = np.vstack([G, A[label] - A[k]]), np.append(h, c[k] - c[label])
                best = min(best, _distance(x, rows, rest, lower, upper, norm))
    return best


def _piece(layers, bits, sizes):
    """Rows G v <= h of one pattern, and the affine map there."""
    A, c = np.eye(layers[0][0].shape[1]), np.zeros(layers[0][0].shape[1])
    rows, rest, start = [], [], 0
    for (W, b), size in zip(layers[:-1], sizes, strict=True):
        A, c = W @ A, W @ c + b
        on = bits[start : start + size].astype(float)
        rows.append(A * (1 - 2 * on)[:, None])
        rest.append(c * (2 * on - 1))
        A, c = A * on[:, None], c * on
        start += size
    W, b = layers[-1]
    return np.vstack(rows), np.concatenate(rest), W @ A, W @ c + b


def _distance(x, G, h, lower, upper, norm) -> float:
    n = len(x)
    if norm == 2:
        rows = np.ascontiguousarray(G)
        top = np.concatenate([upper - x, h - G @ x])
        low = np.concatenate([lower - x, np.full(len(h), -1e30)])
        v, _, flag, _ = daqp.solve(np.eye(n), np.zeros(n), rows, top, low, np.zeros(len(top), dtype=np.int32))
        return float(np.linalg.norm(v)) if flag == 1 else math.inf
    eye = np.eye(n)
    if norm == 1:
        cost, wide = np.concatenate([np.zeros(n), np.ones(n)]), np.eye(n)
    else:
        cost, wide = np.append(np.zeros(n), 1.0), np.ones((n, 1))
    A = np.block([[G, np.zeros((len(G), wide.shape[1]))], [eye, -wide], [-eye, -wide]])
    bounds = [*zip(lower - x, upper - x, strict=True), *[(0, None)] * wide.shape[1]]
    found = linprog(cost, A_ub=A, b_ub=np.concatenate([h - G @ x, np.zeros(2 * n)]), bounds=bounds, method="highs")
    return float(found.fun) if found.status == 0 else math.inf
