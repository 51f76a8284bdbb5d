"""Read images and labels from a file or folder, ready for a network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from plica.errors import ArgumentError, DataError
from plica.loaders.image_files import Raw, Wish, read_labels, read_raw

PerColour = float | Sequence[float] | None
Normalise = tuple[PerColour, PerColour]  # mean, std


@dataclass(frozen=True)
class ImageSet:
    """Images ready for a network.

    Attributes
    ----------
    images : ndarray of float64, shape (n, ...)
        One image per row, scaled, normalised, and in the shape of the network's input where that was given.
    labels : ndarray of int, shape (n,), or None
        The right class of each image.
    name : str
        Name of the file or folder.
    notices : tuple of str
        What was guessed or changed on the way, one sentence each.
    raw_range : tuple of float
        Smallest and largest stored number, before scaling.
    limits : tuple of ndarray or None
        The darkest and the brightest image, treated as the others; None for numbers outside 0 to 1 that are not pixels.
    """

    images: np.ndarray
    labels: np.ndarray | None
    name: str
    notices: tuple[str, ...] = ()
    raw_range: tuple[float, float] = (0.0, 1.0)
    limits: tuple[np.ndarray, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.images)


def read_images(
    path: str | PathLike[str],
    *,
    split: str = "test",
    scale: float | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    layout: str | None = None,
    labels: str | PathLike[str] | Sequence[int] | np.ndarray | None = None,
    limit: int | None = None,
    shape: Sequence[int] | None = None,
) -> ImageSet:
    """Read images (and labels) from npz, npy, csv, idx or a folder of PNG files.

    Parameters
    ----------
    path : path-like
        A npz file (arrays such as ``test_images`` and ``test_labels``, ``x_test`` and ``y_test``, ``images`` and
        ``labels``), a npy file, a csv file (label in a named column or else in the first), an idx file as MNIST's
        (the labels file beside it is found), a folder of PNG files, or a folder with a sub-folder of PNG files per
        class. csv and idx may be gzipped.
    split : str
        Which part to read where a file or folder has several: "test", "train", ...
    scale : float, optional
        The numbers are divided by it. Integers from 0 to 255 are divided by 255 unless told otherwise.
    mean, std : float or sequence of float, optional
        Per colour: the scaled numbers become (number - mean) / std.
    layout : {"CHW", "HWC"}, optional
        Order in which the file stores colours, rows and columns; guessed from the shape where it is not given. Images
        come out with the colours first unless `shape` has them last.
    labels : path-like or sequence of int, optional
        The labels, or a file with them, where the images' own file has none.
    limit : int, optional
        Read only so many images: the first ones, and from a folder of classes the first of each class in turn.
    shape : sequence of int, optional
        The network's input shape; images of equal size are reshaped to it.

    Returns
    -------
    ImageSet

    Raises
    ------
    DataError
        The file is missing, truncated, pickled or of unknown format; numbers are not finite; sizes or counts differ.
    ArgumentError
        An argument makes no sense.
    """
    _check_arguments(scale, std, layout, limit)
    path = Path(path)
    wanted = None if shape is None else tuple(int(s) for s in shape)
    raw = read_raw(path, Wish(split, limit, None if wanted is None else math.prod(wanted)))
    values = _checked(raw.values, path, wanted)[:limit]
    ready_labels = _labels(raw, labels, path, len(values), limit)
    scaled, scale_notices = _scaled(values, scale, path)
    treatment: tuple[str | None, Normalise] = (layout or raw.layout, (mean, std))
    images, shape_notices = _arranged(scaled, *treatment, wanted, path)
    ends = _ends(values, scaled, scale)
    return ImageSet(
        images=np.ascontiguousarray(images),
        labels=ready_labels,
        name=path.name,
        notices=raw.notices + scale_notices + shape_notices,
        raw_range=(float(values.min()), float(values.max())),
        limits=None if ends is None else tuple(_arranged(ends, *treatment, wanted, path)[0]),
    )


def _ends(values: np.ndarray, scaled: np.ndarray, scale: float | None) -> np.ndarray | None:
    """A black and a white image: of 0 and 255 for 8-bit pixels, of 0 and 1 for numbers between."""
    top = 255.0 / (scale or 255.0) if values.dtype.kind in "bui" and values.max() <= 255 else 1.0
    if scaled.min() < 0 or scaled.max() > top or top < 0:
        return None
    return np.stack([np.zeros(scaled.shape[1:]), np.full(scaled.shape[1:], top)])


def _check_arguments(
    scale: float | None, std: float | Sequence[float] | None, layout: str | None, limit: int | None
) -> None:
    """Refuse arguments that make no sense before a file is opened."""
    if scale is not None and not (math.isfinite(scale) and scale != 0):
        raise ArgumentError(
            f"scale = {scale} cannot divide the numbers. Give a finite number that is not 0, such as 255."
        )
    if std is not None and not np.all(np.asarray(std, np.float64) > 0):
        raise ArgumentError(f"std = {std} has a value that is not positive. Give one positive number per colour.")
    if layout not in (None, "CHW", "HWC"):
        raise ArgumentError(f"layout = {layout!r} is not known. Give 'CHW' (colours first) or 'HWC' (colours last).")
    if limit is not None and limit < 1:
        raise ArgumentError(f"limit = {limit} leaves no images. Give a number of at least 1.")


def _checked(values: np.ndarray, path: Path, shape: tuple[int, ...] | None) -> np.ndarray:
    """Return the stored numbers as (n, ...), or say what is wrong with them."""
    if values.dtype.kind not in "buif":
        raise DataError(f"'{path}' stores {values.dtype} values. Images are arrays of integers or floats.")
    if shape is not None and values.shape == shape:
        values = values[None]
    if values.ndim < 2 or values.size == 0:
        raise DataError(
            f"'{path}' holds an array of shape {values.shape}; images have shape (n, ...) with n of at least 1."
        )
    if values.dtype.kind == "f":
        good = np.isfinite(values).reshape(len(values), -1)
        if not good.all():
            image = int(np.argmin(good.all(axis=1)))
            raise DataError(
                f"'{path}' has {int((~good).sum())} values that are not finite (NaN or infinity), "
                f"first in image {image}. "
                "Remove or repair these images."
            )
    return values


def _labels(
    raw: Raw,
    given: str | PathLike[str] | Sequence[int] | np.ndarray | None,
    path: Path,
    count: int,
    limit: int | None,
) -> np.ndarray | None:
    """Return one whole number per image, or None where there are no labels."""
    where = f"'{path}'"
    stored = raw.labels
    if isinstance(given, (str, PathLike)):
        where, stored = f"'{Path(given)}'", read_labels(Path(given))
    elif given is not None:
        where, stored = "labels=", np.asarray(given)
    if stored is None:
        return None
    stored = stored.reshape(-1) if stored.size == len(stored) else stored
    if stored.ndim == 2 and stored.shape[1] > 1 and np.all(np.sort(stored, axis=1)[:, -2:] == (0, 1)):
        stored = stored.argmax(axis=1)
    if (
        stored.dtype.kind not in "buif"
        or stored.ndim != 1
        or not np.all(stored == np.rint(stored))
        or np.any(stored < 0)
    ):
        raise DataError(
            f"The labels in {where} (shape {stored.shape}, {stored.dtype}) are not class numbers. "
            "Give one whole number, 0 or more, per image."
        )
    full = len(raw.values) if raw.values.ndim > 1 else count
    if len(stored[:limit]) != count or (limit is None and len(stored) != full):
        raise DataError(f"{where} has {len(stored)} labels for {full} images of '{path}'. Give one label per image.")
    return stored[:limit].astype(np.int64)


def _scaled(values: np.ndarray, scale: float | None, path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Divide by the scale; integers from 0 to 255 have 255 as default."""
    low, high = values.min(), values.max()
    numbers = values.astype(np.float64)
    if scale is not None:
        return numbers / scale, ()
    if values.dtype.kind in "ui":
        if low < 0 or high > 255:
            raise DataError(
                f"'{path}' stores integers from {low} to {high}, which are not 8-bit pixels. "
                "Say what to divide them by: scale=1 keeps them."
            )
        return numbers / 255, (
            f"Pixels are integers from {low} to {high} and are divided by 255; "
            "give scale= if the network expects another range.",
        )
    if high > 2:
        return numbers, (
            f"Numbers run from {low:g} to {high:g} and are not scaled; give scale= if the network expects 0 to 1.",
        )
    return numbers, ()


# --- order of the axes ------------------------------------------------------------------------------------------


def _order(shape: tuple[int, ...]) -> str:
    """Guess where an image of three axes has its colours: last where that axis is short and the first is longer."""
    return "HWC" if shape[-1] <= 4 and shape[0] > shape[-1] else "CHW"


def _arranged(
    images: np.ndarray,
    layout: str | None,
    normalise: Normalise,
    shape: tuple[int, ...] | None,
    path: Path,
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Bring images to colours first, normalise per colour, and give them the shape of the network's input."""
    stored = images.shape[1:]
    if shape is not None and math.prod(stored) != math.prod(shape):
        raise DataError(
            f"Images in '{path}' have {' x '.join(map(str, stored))} = {math.prod(stored)} numbers, "
            f"but the network's input {shape} has {math.prod(shape)}. Give images of that size, or another model."
        )
    colours = _colour_count(stored, shape, normalise)
    planes, order = _planes(images, layout, colours)
    planes = _normalised(planes, normalise)
    target = shape or (planes.shape[1:] if len(stored) == 3 else stored)
    last = len(target) == 3 and shape is not None and _order(target) == "HWC"
    out = (np.moveaxis(planes, 1, -1) if last else planes).reshape(len(images), *target)
    return out, _shape_notices(stored, target, order, "HWC" if last else "CHW", colours)


def _colour_count(stored: tuple[int, ...], shape: tuple[int, ...] | None, normalise: Normalise) -> int:
    """Count the colours of images stored as one row of numbers."""
    if shape is not None and len(shape) == 3:
        return shape[-1] if _order(shape) == "HWC" else shape[0]
    return max([1, *(np.size(v) for v in normalise if v is not None)])


def _planes(images: np.ndarray, layout: str | None, colours: int) -> tuple[np.ndarray, str]:
    """Bring images to (n, colours, ...)."""
    stored = images.shape[1:]
    if len(stored) == 3:
        order = layout or _order(stored)
        return (np.moveaxis(images, -1, 1) if order == "HWC" else images), order
    order = layout or "CHW"
    if len(stored) != 1 or stored[0] % colours:
        return images[:, None], "CHW"
    if order == "HWC":
        return np.moveaxis(images.reshape(len(images), -1, colours), -1, 1), order
    return images.reshape(len(images), colours, -1), order


def _normalised(planes: np.ndarray, normalise: Normalise) -> np.ndarray:
    """Subtract the mean and divide by the standard deviation of each colour."""
    for name, value, act in zip(("mean", "std"), normalise, (np.subtract, np.divide), strict=True):
        if value is None:
            continue
        numbers = np.asarray(value, np.float64).reshape(-1)
        if len(numbers) not in (1, planes.shape[1]):
            raise ArgumentError(
                f"{name} = {value} has {len(numbers)} numbers for images of {planes.shape[1]} colours. "
                "Give one number, or one per colour; layout='HWC' if the file stores the colours last."
            )
        planes = act(planes, numbers.reshape(1, -1, *[1] * (planes.ndim - 2)))
    return planes


def _shape_notices(
    stored: tuple[int, ...], target: tuple[int, ...], order: str, target_order: str, colours: int
) -> tuple[str, ...]:
    """Say what was moved or reshaped, and what was guessed."""
    words = " x ".join(map(str, stored)), " x ".join(map(str, target))
    if order != target_order and len(stored) == 3 and min(stored) > 1:
        where = "first" if target_order == "CHW" else "last"
        return (f"Images of {words[0]} become {words[1]}: the colours are moved {where} ({order} to {target_order}).",)
    if stored == target:
        return ()
    guess = (
        " (colours first; give layout='HWC' if the file stores them last)" if len(stored) == 1 and colours > 1 else ""
    )
    if order == "HWC":
        guess = f" (colours last in the file, {'last' if target_order == 'HWC' else 'first'} in the network)"
    return (f"Images of {words[0]} numbers are reshaped to the network's input, {words[1]}{guess}.",)
