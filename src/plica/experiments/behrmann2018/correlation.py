"""Rows that satisfy condition (3) of Lemma 9, by the constant (Fig. 8)."""

from __future__ import annotations

import math

import numpy as np
import torch

from plica.core.network import Network
from plica.core.piece import Piece
from plica.core.result import Standing
from plica.experiments.behrmann2018.spectra import cifar_module, spectra
from plica.experiments.figure import Claim, Made, Panel, Setting
from plica.loaders import load

LAYER = 2  # the paper's layer 4, where every ReLU counts as a layer
ROWS = {False: 256, True: None}  # removed rows tried: some, or all
CHUNK = 64
LEVELS = np.logspace(-2, 1.5, 200)


def condition_three(setting: Setting) -> Made:
    """Fig. 8: how many kept rows satisfy condition (3), for the removed row with the most."""
    module = cifar_module(setting, "WideCIFAR")
    images = setting.images("cifar", "test", limit=1)
    net = load(module, images.images.shape[1:])
    constants, counts, kept, removed = correlations(net, images.images, LAYER, setting)
    layer = net.choices[LAYER - 1]
    spectrum = spectra(setting, net, module, images.images)
    largest = float(spectrum.largest[0, spectrum.place(layer)])
    smallest = float(spectrum.smallest[0, spectrum.place(layer)])
    rank, inputs = int(spectrum.ranks[0, spectrum.place(layer)]), spectrum.inputs
    tried = "all removed rows" if len(constants) == removed else f"{len(constants)} of {removed:,} removed rows, drawn"
    reason = "Trained on the part of CIFAR-10 given; " + tried + "."
    needed = float(constants.min())
    most = float(counts[LEVELS <= 1].max()) / kept
    claims = (
        Claim("rows that remain after the ReLU", "M = 5120", f"M = {kept:,}", None, reason),
        Claim("even for small c most rows satisfy condition (3), yet not all", "most at c = 1", f"{most:.1%} at c = 1",
              0.5 < most < 1, reason),
        Claim("the c at which all rows do", "about 6", f"{needed:.3g}", None, reason),
        Claim("even the largest value after the ReLU is smaller: the bound is far off", "below 2.5, bound about 6",
              f"largest {largest:.3g}, smallest {smallest:.2g}, bound {needed:.3g}", largest < needed, reason),
        Claim("Lemma 9 as printed applies", "used", f"rank {rank} of {inputs} after the ReLU",
              None, "With full column rank it holds as printed; otherwise the share in the row space divides it."),
    )  # fmt: skip
    line = {
        "rows": np.stack([LEVELS, counts]),
        "all that remain": np.stack([LEVELS, np.full(len(LEVELS), float(kept))]),
    }
    return claims, (Panel("lines", "rows that satisfy condition (3)", line, "c", "rows", "x"),), Standing.NUMERICAL


def correlations(net: Network, x: np.ndarray, number: int, setting: Setting) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Condition (3) for removed rows, from pushes of pulled rows: no matrix is formed.

    Returns
    -------
    constants : ndarray
        Per removed row tried, the smallest c for which every kept row satisfies the condition.
    counts : ndarray, shape of LEVELS
        Kept rows that satisfy it, for the best of the removed rows.
    kept, removed : int
        How many rows are kept and removed.
    """
    batch = net.as_batch(x)[:1]
    piece = Piece(net, net.pattern(batch), batch[0])
    before = net.resolve(net.choices[number - 1], "pre")
    shape = net.shape_of(before)
    alive = net.values(batch, before)[before].flatten() > 0
    gone = torch.nonzero(~alive).flatten()
    order = np.random.default_rng(setting.seed).permutation(len(gone))[: ROWS[setting.full]]
    some = gone[torch.from_numpy(np.sort(order))]
    scale, constants, counts = math.sqrt(int(alive.sum())), [], np.zeros(len(LEVELS))
    for rows in some.split(CHUNK):
        setting.progress.check()
        units = torch.zeros(len(rows), math.prod(shape), dtype=torch.float64)
        units[torch.arange(len(rows)), rows] = 1.0
        pulled = piece.adjoint(units.reshape(-1, *shape), before)
        norms = pulled.flatten(1).norm(dim=1)
        pulled = pulled[norms > 0] / norms[norms > 0].reshape(-1, *(1,) * (pulled.ndim - 1))
        found = scale * piece.apply(pulled, before).flatten(1)[:, alive].abs()
        products = found.sort(dim=1).values.numpy()
        constants += products[:, -1].tolist()
        counts = np.max([counts, *(np.searchsorted(p, LEVELS, side="right") for p in products)], axis=0)
    return np.array(constants), counts, int(alive.sum()), len(gone)
