"""The payload of a region map: what the page's engine reads, in few bytes.

A JSON head and arrays, gzip, base64. What follows from the rest is left to the engine: areas, middles, neighbours, and
the unit that changes between two of them. The rest is put such that gzip finds it small:

* corners in the order in which the loops of the regions first name them, as differences from one to the next in steps
  of the longer side's 2^28th part, written as 0, -1, 1, -2, 2, ... = 0, 1, 2, 3, 4, ...;
* a loop as how many corners back: 0 is the next new one, k the k-th newest;
* patterns as changes from region to region, one unit's byte after the other;
* gains by their logarithm in 65,534 steps, 0 for none; affine maps with 13 bits of mantissa;
* numbers of several bytes as all lowest bytes, then all second ones, and so on.
"""

from __future__ import annotations

import base64
import gzip
import json

import numpy as np

from plica.show.regionmap import RegionPicture

STEPS = 1 << 28  # fixed-point steps of the longer side: a corner is off by at most its 2^29th part
GAINS = 65_534
MAP_BYTES = 12_000_000  # of affine maps, above which the page shows the call instead
BIT_BYTES = 12_000_000  # of patterns, above which the page has the number of active units only


def payload(picture: RegionPicture) -> str:
    """What the engine reads.

    Parameters
    ----------
    picture : RegionPicture

    Returns
    -------
    str
        About 20 characters a region, without maps.
    """
    low, high = picture.corners.min(0), picture.corners.max(0)
    step = float((high - low).max()) / STEPS
    order, back = _appearance(picture.loop, len(picture.corners))
    places = np.rint((picture.corners[order] - low) / step).astype(np.int64)
    gain, scale = _gains(picture.gain)
    arrays = {
        "xy": _planes(_folded(np.diff(places, axis=0, prepend=0)).T.ravel().astype(np.uint32)),
        "counts": _planes(np.diff(picture.start).astype(np.uint16)),
        "back": _planes(back.astype(np.uint32)),
        "label": _planes(picture.label.astype(np.uint16)),
        "gain": _planes(gain),
    }
    if picture.bits is not None and picture.bits.nbytes <= BIT_BYTES:
        arrays["bits"] = (picture.bits ^ np.concatenate([picture.bits[:1] * 0, picture.bits[:-1]])).T.ravel()
    else:
        arrays["active"] = _planes(picture.active.astype(np.uint16))
    if picture.maps is not None and 4 * picture.maps.size <= MAP_BYTES:
        arrays["maps"] = _planes(_rounded(picture.maps))
    head = {
        "count": picture.count, "vertices": len(order), "units": sum(n for _, n in picture.layers),
        "layers": picture.layers, "classes": picture.classes,
        "outputs": 0 if picture.maps is None else picture.maps.shape[1], "known": picture.maps is not None,
        "origin": low.tolist(), "step": step, "full": ((high - low) / step).tolist(), "mapcall": picture.call,
        "gains": scale,
        "points": [{"name": name, "at": ((np.array(at) - low) / step).tolist()} for name, at in picture.points],
    }  # fmt: skip
    return base64.b64encode(gzip.compress(_packed(head, arrays), 9, mtime=0)).decode("ascii")


def _appearance(loop: np.ndarray, vertices: int) -> tuple[np.ndarray, np.ndarray]:
    """Corners in the order of their first place in the loops, and the loops as distances back from the newest."""
    used, first = np.unique(loop, return_index=True)
    order = used[np.argsort(first)]
    number = np.zeros(vertices, np.int64)
    number[order] = np.arange(len(order))
    named = number[loop]
    newest = np.concatenate([[-1], np.maximum.accumulate(named)[:-1]])
    return order, np.where(named > newest, 0, newest + 1 - named)


def _folded(values: np.ndarray) -> np.ndarray:
    """Whole numbers as natural ones: small for small."""
    return np.where(values < 0, -2 * values - 1, 2 * values)


def _planes(values: np.ndarray) -> np.ndarray:
    """All lowest bytes, then all second ones, and so on."""
    flat = np.ascontiguousarray(values)
    little = flat.astype(flat.dtype.newbyteorder("<"), copy=False)
    return little.view(np.uint8).reshape(flat.size, flat.dtype.itemsize).T.ravel()


def _gains(gain: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """Differences of logarithms in steps from region to region, modulo 2^16; and the lowest logarithm and the step."""
    logs = np.log(np.maximum(gain, 1e-300))
    positive = logs[gain > 0]
    low, high = (float(positive.min()), float(positive.max())) if len(positive) else (0.0, 0.0)
    step = (high - low) / GAINS or 1.0
    values = np.where(gain > 0, np.rint((logs - low) / step).clip(0, GAINS) + 1, 0).astype(np.int64)
    return (np.diff(values, prepend=0) & 0xFFFF).astype(np.uint16), (low, step)


def _rounded(maps: np.ndarray) -> np.ndarray:
    """Floats of 32 bits, rounded to 13 bits of mantissa."""
    words = np.ascontiguousarray(maps, np.float32).view(np.uint32).ravel()
    return ((words + np.uint32(1 << 9)) & np.uint32(0xFFFFFFFF << 10 & 0xFFFFFFFF)).astype(np.uint32)


def _packed(head: dict, arrays: dict[str, np.ndarray]) -> bytes:
    """Length of the head in 4 bytes, the head with the place and length of every array, the arrays' bytes."""
    table, at = {}, 0
    for name, values in arrays.items():
        table[name] = (at, values.size)
        at += values.size
    text = json.dumps({**head, "arrays": table}).encode()
    return len(text).to_bytes(4, "little") + text + b"".join(v.tobytes() for v in arrays.values())
