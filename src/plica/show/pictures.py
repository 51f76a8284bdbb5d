"""Inputs as pictures: PNG files made by hand and put into the page as text."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence

import numpy as np

SHARP = 128  # pixels to which small pictures are enlarged


def png(pixels: np.ndarray) -> bytes:
    """Encode 8-bit pixels, (h, w) grey or (h, w, 3) colour, as a PNG file."""
    height, width = pixels.shape[:2]
    kind = 0 if pixels.ndim == 2 else 2
    rows = np.ascontiguousarray(pixels, np.uint8).reshape(height, -1)
    lines = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()
    head = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, body) for name, body in parts)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def data_uri(pixels: np.ndarray) -> str:
    """Return the picture as the address of an image inside the page.

    Small pictures are enlarged by whole factors, so that printers and PDF viewers keep their pixels sharp.
    """
    pixels = np.repeat(np.repeat(pixels, times := max(1, SHARP // max(pixels.shape[:2])), axis=0), times, axis=1)
    return "data:image/png;base64," + base64.b64encode(png(pixels)).decode("ascii")


def to_pixels(inputs: Sequence[np.ndarray], shape: tuple[int, ...]) -> list[np.ndarray]:
    """Turn inputs into 8-bit pixels on one common scale, from their smallest to their largest value; NaN is dark.

    Parameters
    ----------
    inputs : sequence of ndarray
        What belongs together, such as an image, its impostor and what that looks like.
    shape : tuple of int
        (h, w), (1, h, w), (3, h, w) or (h, w, 3).
    """
    grids = [_grid(np.asarray(x, np.float64).reshape(shape)) for x in inputs]
    known = np.concatenate([g[np.isfinite(g)] for g in grids])
    low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
    span = (high - low) or 1.0
    return [np.rint(np.nan_to_num((g - low) / span).clip(0, 1) * 255).astype(np.uint8) for g in grids]


def _grid(image: np.ndarray) -> np.ndarray:
    """Return one input as (h, w) or (h, w, 3)."""
    if image.ndim == 3 and image.shape[-1] not in (1, 3):
        image = np.moveaxis(image, 0, -1)
    if image.ndim == 3 and image.shape[-1] != 3:
        image = image[..., 0]
    return image
