"""Read the file formats in which images come: npz, npy, csv, idx, and folders of PNG."""

from __future__ import annotations

import gzip
import io
import math
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from plica.errors import DataError

IDX_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
IMAGE_NAMES = ("images", "image", "x", "data", "inputs", "features", "arr_0")
LABEL_NAMES = ("labels", "label", "y", "targets", "target", "classes", "class")
TRUNCATED = (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile)


class Raw(NamedTuple):
    """Images as stored, before scaling and reshaping."""

    values: np.ndarray
    labels: np.ndarray | None = None
    notices: tuple[str, ...] = ()
    layout: str | None = None


class Wish(NamedTuple):
    """What the caller wants from the file."""

    split: str
    limit: int | None
    size: int | None  # numbers per image, where known


def read_raw(path: Path, wish: Wish) -> Raw:
    """Read a file or folder of images; the format is told by the name, then by the first bytes."""
    if not path.exists():
        raise DataError(f"There is no file or folder '{path}'. Give the path of an npz, npy, csv, idx or PNG folder.")
    if path.is_dir():
        return _read_folder(path, wish)
    if path.stat().st_size == 0:
        raise DataError(f"'{path}' is empty (0 bytes). Copy or download it again.")
    return _reader(path)(path, wish)


def read_labels(path: Path) -> np.ndarray:
    """Read a file of labels: npy, idx, or text with one label a line."""
    if not path.is_file():
        raise DataError(f"There is no labels file '{path}'. Give a npy, idx, csv or txt file with one label per image.")
    reader = _reader(path, text=True)
    if reader is _read_csv:
        return _table(_text(path), path, None, 0)
    return reader(path, Wish("test", None, None)).values


def _reader(path: Path, text: bool = False) -> Callable[[Path, Wish], Raw]:
    """Choose the reader of a file."""
    suffixes = [s for s in path.suffixes if s.lower() != ".gz"]
    suffix = suffixes[-1].lower() if suffixes else ""
    if suffix in READERS:
        return READERS[suffix]
    if _bytes(path)[:2] == b"\0\0":
        return _read_idx
    if text and suffix in (".txt", ""):
        return _read_csv
    raise DataError(
        f"The format of '{path.name}' is not known. plica reads npz, npy, csv(.gz), idx(.gz) and folders of PNG files."
    )


def _bytes(path: Path) -> bytes:
    """Content of a file, unpacked where it is gzip."""
    content = path.read_bytes()
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except TRUNCATED as problem:
        raise _broken(path, problem) from problem


def _broken(path: Path, problem: Exception) -> DataError:
    """Build the error for a file that cannot be unpacked."""
    reason = str(problem) or type(problem).__name__
    return DataError(f"'{path}' is truncated or corrupt ({reason}). Copy or download it again.")


def _text(path: Path) -> str:
    """Content of a text file."""
    try:
        return _bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise DataError(
            f"'{path}' is not text (byte {problem.start} is not UTF-8). A csv file holds numbers separated by commas."
        ) from problem


# --- NumPy files ------------------------------------------------------------------------------------------------


def _load_numpy(path: Path) -> np.ndarray | np.lib.npyio.NpzFile:
    """Open a npy or npz file without ever unpickling."""
    try:
        return np.load(io.BytesIO(_bytes(path)), allow_pickle=False)
    except TRUNCATED as problem:
        raise _broken(path, problem) from problem
    except ValueError as problem:
        raise _not_plain(path, problem) from problem
    except (SyntaxError, TypeError, MemoryError, NotImplementedError, OSError, tokenize.TokenError) as problem:
        raise _broken(path, problem) from problem


def _not_plain(path: Path, problem: ValueError) -> DataError:
    """Build the error for a NumPy file that holds pickled objects or is cut."""
    if "pickle" not in str(problem):
        return _broken(path, problem)
    return DataError(
        f"'{path}' holds pickled Python objects or is no NumPy file; plica never unpickles. "
        "Save plain number arrays: numpy.savez(path, images=..., labels=...)."
    )


def _read_npy(path: Path, wish: Wish) -> Raw:
    """Read one array from a npy file."""
    array = _load_numpy(path)
    if not isinstance(array, np.ndarray):
        return _read_npz(path, wish)
    return Raw(array)


def _read_npz(path: Path, wish: Wish) -> Raw:
    """Read images and labels from a npz file."""
    archive = _load_numpy(path)
    if isinstance(archive, np.ndarray):
        return Raw(archive)
    with archive:
        key = _find_key(archive.files, IMAGE_NAMES, wish.split)
        if key is None:
            raise DataError(
                f"'{path}' has no images for split = '{wish.split}'. "
                f"Its arrays are {', '.join(archive.files) or 'none'}. "
                f"Name them '{wish.split}_images' and '{wish.split}_labels' (or images and labels), or choose split=."
            )
        label_key = _find_key(archive.files, LABEL_NAMES, wish.split)
        return Raw(_member(archive, key, path), None if label_key is None else _member(archive, label_key, path))


def _member(archive: np.lib.npyio.NpzFile, key: str, path: Path) -> np.ndarray:
    """Read one array of a npz file; NumPy raises errors of many kinds for a damaged one."""
    try:
        array = archive[key]
    except ValueError as problem:
        raise _not_plain(path, problem) from problem
    except Exception as problem:  # a header that is no Python, a size that no memory holds, a cut archive
        raise _broken(path, problem) from problem
    if not isinstance(array, np.ndarray):
        raise DataError(f"'{path}': its member '{key}' is no array. Save it with numpy.savez.")
    return array


def _find_key(keys: list[str], names: tuple[str, ...], split: str) -> str | None:
    """Find the array of a split by its usual names; names with the split win over names without."""
    known = {key.lower(): key for key in keys}
    tries = [form.format(n, split.lower()) for form in ("{1}_{0}", "{0}_{1}", "{1}{0}", "{0}{1}", "{0}") for n in names]
    return next((known[name] for name in tries if name in known), None)


# --- text -------------------------------------------------------------------------------------------------------


def _read_csv(path: Path, wish: Wish) -> Raw:
    """Read a table: a column named label, or else the first column, holds the labels."""
    text = _text(path)
    first = text.lstrip().split("\n", 1)[0]
    fields = [f.strip().strip('"').lower() for f in first.split(",")]
    header = fields if any(not _is_number(f) for f in fields) else None
    table = _table(text, path, wish.limit, 1 if header else 0)
    if table.ndim != 2 or table.shape[1] < 2:
        raise DataError(
            f"'{path}' has {1 if table.ndim < 2 else table.shape[1]} column; a table of images has one row per image "
            "and its numbers separated by commas."
        )
    column, notice = _label_column(header, table, wish.size)
    if column is None:
        return Raw(_as_integers(table), None, notice)
    return Raw(_as_integers(np.delete(table, column, axis=1)), table[:, column], notice)


def _is_number(text: str) -> bool:
    """Whether a field of a table is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _table(text: str, path: Path, limit: int | None, skip: int) -> np.ndarray:
    """Parse comma-separated numbers."""
    rows = text.strip().splitlines()[skip:]
    if not rows:
        raise DataError(f"'{path}' has no rows of numbers.")
    if not _is_number(rows[0].split(",")[0]):
        rows = rows[1:]
    try:
        return np.loadtxt(rows[:limit], delimiter=",", ndmin=1)
    except ValueError as problem:
        raise DataError(
            f"'{path}' is not a table of numbers: {problem}. "
            "Every row needs the same number of comma-separated numbers."
        ) from problem


def _label_column(header: list[str] | None, table: np.ndarray, size: int | None) -> tuple[int | None, tuple[str, ...]]:
    """Tell which column of a table holds the labels, and say so where it is a guess."""
    named = next((header.index(name) for name in LABEL_NAMES if name in header), None) if header else None
    if named is not None:
        return named, ()
    columns = table.shape[1]
    if columns == size:
        return None, ()
    if np.all(table[:, 0] == np.rint(table[:, 0])):
        return 0, (f"The first of {columns} columns is read as the label.",)
    return None, (f"The first column is not whole numbers: all {columns} columns are read as the image.",)


def _as_integers(table: np.ndarray) -> np.ndarray:
    """Whole numbers in text are integers; a table with nothing above 1 stays as it is."""
    whole = bool(np.all(np.isfinite(table))) and bool(np.all(table == np.rint(table)))
    return table.astype(np.int64) if whole and table.max() > 1 else table


# --- idx (MNIST's own format) -----------------------------------------------------------------------------------


def _read_idx(path: Path, wish: Wish) -> Raw:
    """Read an idx file, and the labels file that stands beside it."""
    values = _idx_array(path)
    for old, new in (("images-idx3", "labels-idx1"), ("images.idx3", "labels.idx1"), ("images", "labels")):
        stem = path.name.replace(old, new).removesuffix(".gz")
        for beside in (path.with_name(stem), path.with_name(stem + ".gz")):
            if beside.name != path.name and beside.is_file():
                return Raw(values, _idx_array(beside))
    return Raw(values)


def _idx_array(path: Path) -> np.ndarray:
    """Parse one idx file: two zero bytes, a type, the number of axes, their lengths, the numbers."""
    content = _bytes(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in IDX_DTYPES or content[3] == 0:
        raise DataError(f"'{path}' does not start as an idx file does (bytes {content[:4].hex(' ') or 'none'}).")
    dtype, axes = np.dtype(IDX_DTYPES[content[2]]), content[3]
    start = 4 + 4 * axes
    shape = tuple(int(v) for v in np.frombuffer(content[4:start], ">u4", len(content[4:start]) // 4))
    needed = start + math.prod(shape) * dtype.itemsize
    if len(shape) < axes or len(content) != needed:
        raise DataError(
            f"'{path}' says it holds {' x '.join(map(str, shape))} numbers, {needed} bytes, but has {len(content)}. "
            "It is truncated or corrupt; copy or download it again."
        )
    return np.frombuffer(content, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


# --- folders ----------------------------------------------------------------------------------------------------


def _read_folder(path: Path, wish: Wish) -> Raw:
    """Read a folder: PNG files, PNG files in a sub-folder per class, or MNIST's idx files."""
    if any(path.glob("*/*.png")) and not any(path.glob("*.png")):
        return _read_classes(path, wish)
    files = sorted(path.glob("*.png"))
    if files:
        return _stack(files[: wish.limit])
    prefix = "t10k" if wish.split == "test" else wish.split
    for file in sorted(path.glob(f"{prefix}*images*")):
        return _read_idx(file, wish)
    if (path / wish.split).is_dir():
        return _read_folder(path / wish.split, wish)
    raise DataError(
        f"The folder '{path}' holds no PNG files, no sub-folders of PNG files and no {prefix}-images idx file. "
        "Put one PNG file per image into it, or into a sub-folder per class."
    )


def _read_classes(path: Path, wish: Wish) -> Raw:
    """Read PNG files from a sub-folder per class, taking the classes in turn."""
    if (path / wish.split).is_dir():
        return _read_folder(path / wish.split, wish)
    folders = sorted(p for p in path.iterdir() if p.is_dir() and any(p.glob("*.png")))
    numbered = all(f.name.isdecimal() for f in folders)
    classes = {f: int(f.name) if numbered else i for i, f in enumerate(folders)}
    turns = sorted((turn, classes[f], file) for f in folders for turn, file in enumerate(sorted(f.glob("*.png"))))
    chosen = turns[: wish.limit]
    raw = _stack([file for _, _, file in chosen])
    names = () if numbered else ("Classes: " + ", ".join(f"{f.name} = {i}" for f, i in classes.items()) + ".",)
    return raw._replace(labels=np.array([label for _, label, _ in chosen]), notices=raw.notices + names)


def _stack(files: list[Path]) -> Raw:
    """Decode PNG files of equal size into one array (n, h, w) or (n, h, w, 3)."""
    images = [_decode(file) for file in files]
    for file, image in zip(files, images, strict=True):
        if image.shape != images[0].shape:
            raise DataError(
                f"'{file}' has shape {image.shape}, but '{files[0].name}' has {images[0].shape} "
                "(height, width, colours). "
                "All images of a set need one size and one colour mode."
            )
    stack = np.stack(images)
    notices: tuple[str, ...] = ()
    if stack.ndim == 4 and stack.shape[-1] in (2, 4):
        stack = stack[..., :-1]
        notices = ("The alpha channel of the PNG files is dropped.",)
    if stack.ndim == 4 and stack.shape[-1] == 1:
        stack = stack[..., 0]
    bytes_ = stack * 255
    if np.all(np.abs(bytes_ - np.rint(bytes_)) < 1e-3):
        stack = np.rint(bytes_).astype(np.uint8)
    return Raw(stack, None, notices, "HWC" if stack.ndim == 4 else None)


def _decode(file: Path) -> np.ndarray:
    """Decode one PNG file to float64 numbers in [0, 1]."""
    from matplotlib.image import imread

    try:
        return np.asarray(imread(file, format="png"), np.float64)
    except (OSError, SyntaxError, ValueError) as problem:
        raise DataError(f"'{file}' is no PNG file, or is truncated ({problem}). Replace or remove it.") from problem


READERS: dict[str, Callable[[Path, Wish], Raw]] = {
    ".npz": _read_npz,
    ".npy": _read_npy,
    ".csv": _read_csv,
    ".idx": _read_idx,
    ".idx1-ubyte": _read_idx,
    ".idx3-ubyte": _read_idx,
}
