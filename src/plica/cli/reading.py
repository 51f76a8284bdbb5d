"""What the options mean: numbers, shapes, models and images from the command line."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from plica.cli import options as opt
from plica.cli.live import progress
from plica.errors import ArgumentError, DataError

if TYPE_CHECKING:
    import numpy as np

    from plica.core.domain import Box
    from plica.core.network import Network
    from plica.core.progress import Progress
    from plica.loaders.images import ImageSet
    from plica.loaders.vnnlib import Case


def shape(text: str | None) -> tuple[int, ...] | None:
    """Read ``1,28,28`` or ``1x28x28`` as a shape."""
    return None if text is None else _list(text.replace("x", ","), int, "--input-shape", "1,28,28")


def numbers(text: str | None, option: str) -> tuple[float, ...] | None:
    """Read ``0.485,0.456,0.406`` as numbers, one per colour."""
    return None if text is None else _list(text, float, option, "0.5 or 0.485,0.456,0.406")


def _list(text: str, convert: Callable, option: str, example: str) -> tuple:
    try:
        return tuple(convert(part) for part in text.split(","))
    except ValueError:
        raise ArgumentError(f"{option} {text}: not a list of numbers. Write it like {example}.") from None


def integers(text: str | None, option: str) -> list[int] | None:
    """Read ``0,3,17`` as numbers of units or rows; nothing between the commas stands for none."""
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise ArgumentError(f"{option} {text}: not a list of numbers. Write it like 0,3,17.") from None


def layer_of(text: str) -> str | int:
    """Read an index as a number, everything else as a name."""
    return int(text) if text.removeprefix("-").isdigit() else text


def layer_or_none(text: str | None) -> str | int | None:
    """A layer, where one is named."""
    return None if text is None else layer_of(text)


def layers_of(names: list[str] | None) -> list[str | int] | None:
    """Several layers; None for all."""
    return [layer_of(name) for name in names] if names else None


@dataclass(frozen=True)
class FileOptions:
    """A model's file."""

    model: opt.Model
    input_shape: opt.InputShape = None
    trust_pickle: opt.TrustPickle = False


@dataclass(frozen=True)
class ModelOptions(FileOptions):
    """A model that is computed with, on the CPU."""

    threads: opt.Threads = None


@dataclass(frozen=True)
class DeviceOptions(ModelOptions):
    """A model that is computed with, anywhere."""

    device: opt.Device = "cpu"


@dataclass(frozen=True)
class ImageOptions:
    """A file of images, of which a command takes the ones that it names."""

    data: opt.Data
    split: opt.Split = "test"
    scale: opt.Scale = None
    mean: opt.Mean = None
    std: opt.Std = None
    layout: opt.Layout = None

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `plica.loaders.images.read_images`, but for the file."""
        return {
            "split": self.split,
            "scale": self.scale,
            "mean": numbers(self.mean, "--mean"),
            "std": numbers(self.std, "--std"),
            "layout": self.layout,
        }


@dataclass(frozen=True)
class DataOptions(ImageOptions):
    """A file of images, of which a command takes the first."""

    limit: opt.Limit = 200

    def arguments(self) -> dict[str, Any]:
        """As of `ImageOptions`, with the limit."""
        return {**super().arguments(), "limit": self.limit}


@dataclass(frozen=True)
class LabelledOptions(DataOptions):
    """A file of images with labels, or with labels in another file."""

    labels: opt.Labels = None

    def arguments(self) -> dict[str, Any]:
        """As of `DataOptions`, with the labels."""
        return {**super().arguments(), "labels": self.labels}


@dataclass(frozen=True)
class ShowOptions:
    """Where an answer goes."""

    out: opt.Out = None
    as_json: opt.Json = False


@dataclass(frozen=True)
class TimeOptions:
    """How long work may take, and how what it found is said."""

    max_seconds: opt.MaxSeconds = None
    as_json: opt.Json = False

    def watch(self) -> AbstractContextManager[Progress]:
        """The budget, which begins here, with a progress bar."""
        return progress(self.max_seconds)


@dataclass(frozen=True)
class RunOptions(TimeOptions):
    """How long work may take, and where its answer goes."""

    out: opt.Out = None


def use_threads(count: int | None) -> None:
    """Limit the threads of torch."""
    if count is not None:
        import torch

        torch.set_num_threads(count)


def open_model(options: FileOptions) -> Network:
    """Load the model and move it to its device."""
    from plica.loaders import load

    if isinstance(options, ModelOptions):
        use_threads(options.threads)
    net = load(options.model, shape(options.input_shape), trust_pickle=options.trust_pickle)
    if isinstance(options, DeviceOptions) and options.device != "cpu":
        net = net.to(checked_device(options.device))
    return net


def checked_device(name: str) -> str:
    """Return the device's name, or say that it is not there."""
    import torch

    from plica.errors import DeviceError

    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise DeviceError(f"--device {name}: not available here ({reason}). Use --device cpu.") from None
    return name


def open_images(options: ImageOptions, net: Network, **wanted: Any) -> ImageSet:
    """Read the images in the shape that the network reads; `wanted` are further arguments of `read_images`."""
    from plica.loaders.images import read_images

    return read_images(options.data, shape=net.input_shape, **options.arguments(), **wanted)


def open_both(model: FileOptions, data: ImageOptions, **wanted: Any) -> tuple[Network, ImageSet]:
    """Load the model and the images; say on stderr what was guessed."""
    net = open_model(model)
    images = open_images(data, net, **wanted)
    say(*net.origin.notices, *images.notices)
    return net, images


def open_one(model: FileOptions, data: ImageOptions, number: int) -> tuple[Network, ImageSet, np.ndarray]:
    """Load the model, the images up to one, and this one."""
    net, images = open_both(model, data, limit=number + 1)
    return net, images, one_of(images, data, number)


def one_of(images: ImageSet, data: ImageOptions, number: int) -> np.ndarray:
    """An image by its number."""
    if len(images) <= number:
        raise ArgumentError(f"{data.data} has {len(images)} images; there is no image {number} (they count from 0).")
    return images.images[number]


def labels_of(images: ImageSet, data: ImageOptions) -> np.ndarray:
    """The labels, or what to do about their absence."""
    if images.labels is None:
        raise DataError(f"{data.data} has no labels; give --labels FILE.")
    return images.labels


def say(*notices: str) -> None:
    """Notices on stderr."""
    for notice in notices:
        typer.echo(f"note: {notice}", err=True)


def array(path: Path) -> np.ndarray:
    """Read a matrix of numbers."""
    import numpy as np

    try:
        read = np.load(path, allow_pickle=False) if path.suffix == ".npy" else np.loadtxt(path, delimiter=",", ndmin=2)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"'{path}' is not a matrix of numbers ({error}). Give .npy, or .csv with a row per line."
        ) from None
    return np.asarray(read)


def box_of(size: int, lower: float | None, upper: float | None) -> Box | None:
    """The same two limits for every variable; without one it is infinite, without both there is no box."""
    import numpy as np

    from plica.core.domain import Box

    if lower is None and upper is None:
        return None
    ends = (-np.inf if lower is None else lower, np.inf if upper is None else upper)
    return Box(*(np.full(size, end) for end in ends))


def property_case(path: Path | None, index: int | None, net: Network) -> Case | None:
    """One case of a property file that fits the network; None without a file."""
    import math

    from plica.loaders.vnnlib import read_vnnlib

    if path is None:
        return None
    prop, sizes = read_vnnlib(path), (math.prod(net.input_shape), math.prod(net.output_shape))
    if (prop.inputs, prop.outputs) != sizes:
        raise ArgumentError(
            f"--property {path}: it has {prop.inputs} inputs and {prop.outputs} outputs, the network {sizes[0]} and "
            f"{sizes[1]}."
        )
    return prop.case(index)
