"""Layers written out by hand in exact rationals: matrices by explicit loops, functions by their definitions."""

from fractions import Fraction

import numpy as np
import torch

from plica.core.affine import Dense
from plica.core.conv import Conv

F = Fraction


def rational(values):
    """Nested lists of Fractions with the shape of an array of floats."""
    array = np.asarray(values, dtype=np.float64)
    return [rational(v) for v in array] if array.ndim else Fraction(float(array))


def affine(A, b, u):
    """A u + b in rationals."""
    return [sum((a * x for a, x in zip(row, u, strict=True)), F(0)) + c for row, c in zip(A, b, strict=True)]


def conv_matrix(weight, bias, shape, stride=1, padding=0):
    """Rows and offsets of a convolution over (channels, height, width), outputs in C order."""
    (c_in, height, width), (c_out, _, kh, kw) = shape, np.shape(weight)
    rows, offsets = [], []
    for o in range(c_out):
        for i in range((height + 2 * padding - kh) // stride + 1):
            for j in range((width + 2 * padding - kw) // stride + 1):
                row = [F(0)] * (c_in * height * width)
                for c in range(c_in):
                    for p in range(kh):
                        for q in range(kw):
                            y, x = i * stride + p - padding, j * stride + q - padding
                            if 0 <= y < height and 0 <= x < width:
                                row[(c * height + y) * width + x] += F(float(weight[o][c][p][q]))
                rows.append(row)
                offsets.append(F(float(bias[o])))
    return rows, offsets


def relu(z):
    return [max(v, F(0)) for v in z]


def tensor(values):
    return torch.tensor(np.asarray(values, dtype=np.float64))


def dense(W, b, shape=None):
    """A plica node."""
    return Dense(tensor(W), None if b is None else tensor(b), shape or (np.shape(W)[1],))


def conv(W, b, shape, stride=1, padding=0):
    """A plica node."""
    pads = ((padding, padding), (padding, padding))
    return Conv(tensor(W), tensor(b).reshape(-1, 1, 1), shape, (stride, stride), pads, (1, 1))
