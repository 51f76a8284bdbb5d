"""Matrices of convolutions by loops, and norms by dense SVD: nothing here is shared with the library."""

from itertools import product

import numpy as np


def convolution(weight, size, stride=None, padding=None, dilation=None, groups=1, circular=False):
    """The matrix of a cross-correlation: rows (c_out, *outputs), columns (c_in, *size).

    `padding` gives zeros before and after per axis; a circular one reads modulo the size, starting at places 0, s, ...
    """
    weight = np.asarray(weight, dtype=float)
    axes = len(size)
    stride, dilation = stride or (1,) * axes, dilation or (1,) * axes
    padding = padding or ((0, 0),) * axes
    c_out, per_in, kernel = weight.shape[0], weight.shape[1], weight.shape[2:]
    out = []
    for n, k, s, d, (a, b) in zip(size, kernel, stride, dilation, padding, strict=True):
        out.append(n // s if circular else (n + a + b - d * (k - 1) - 1) // s + 1)
    matrix = np.zeros((c_out, *out, per_in * groups, *size))
    for o, place, i, u in product(range(c_out), product(*map(range, out)), range(per_in), product(*map(range, kernel))):
        channel = o // (c_out // groups) * per_in + i
        at = [p * s + d * v for p, s, d, v in zip(place, stride, dilation, u, strict=True)]
        if circular:
            at = [x % n for x, n in zip(at, size, strict=True)]
        else:
            at = [x - a for x, (a, _) in zip(at, padding, strict=True)]
            if any(not 0 <= x < n for x, n in zip(at, size, strict=True)):
                continue
        matrix[(o, *place, channel, *at)] += weight[(o, i, *u)]
    return matrix.reshape(c_out * int(np.prod(out)), -1)


def norm(matrix):
    """Largest singular value."""
    return float(np.linalg.svd(matrix, compute_uv=False)[0]) if matrix.size else 0.0


def jacobian(function, x, step=1e-6):
    """Central differences of a vector function at a vector."""
    columns = []
    for i in range(len(x)):
        e = np.zeros(len(x))
        e[i] = step
        columns.append((function(x + e) - function(x - e)) / (2 * step))
    return np.stack(columns, axis=1)
