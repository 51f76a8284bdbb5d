"""What the options mean: numbers, shapes, models and images from the command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from plica.errors import ArgumentError

if TYPE_CHECKING:
    from plica.core.network import Network
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


def layer(text: str) -> str | int:
    """Read an index as a number, everything else as a name."""
    return int(text) if text.removeprefix("-").isdigit() else text


@dataclasses.dataclass(frozen=True)
class ModelOptions:
    """The options that say how to open a model."""

    model: Path
    input_shape: str | None = None
    trust_pickle: bool = False
    device: str = "cpu"
    threads: int | None = None


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """The options that say how to read images."""

    data: Path
    split: str = "test"
    scale: float | None = None
    mean: str | None = None
    std: str | None = None
    layout: str | None = None
    labels: Path | None = None
    limit: int = 200

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `plica.loaders.images.read_images`, but for the file and the limit."""
        return {
            "split": self.split,
            "scale": self.scale,
            "mean": numbers(self.mean, "--mean"),
            "std": numbers(self.std, "--std"),
            "layout": self.layout,
            "labels": self.labels,
        }


def use_threads(count: int | None) -> None:
    """Limit the threads of torch."""
    if count is not None:
        import torch

        torch.set_num_threads(count)


def open_model(options: ModelOptions) -> Network:
    """Load the model and move it to its device."""
    from plica.loaders import load

    use_threads(options.threads)
    net = load(options.model, shape(options.input_shape), trust_pickle=options.trust_pickle)
    return net if options.device == "cpu" else net.to(checked_device(options.device))


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


def open_images(options: DataOptions, net: Network) -> ImageSet:
    """Read the images in the shape that the network reads."""
    from plica.loaders.images import read_images

    return read_images(options.data, limit=options.limit, shape=net.input_shape, **options.arguments())


def plain(options: Any) -> dict[str, Any]:
    """The options that were given, as text and numbers for a result's header."""
    given = {f.name: getattr(options, f.name) for f in dataclasses.fields(options)}
    return {k: str(v) if isinstance(v, Path) else v for k, v in given.items() if v is not None}


def open_both(opened: ModelOptions, read: DataOptions) -> tuple[Network, ImageSet]:
    """Load the model and the images; say on stderr what was guessed."""
    net = open_model(opened)
    images = open_images(read, net)
    for notice in (*net.origin.notices, *images.notices):
        typer.echo(f"note: {notice}", err=True)
    return net, images


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


def stamped_result(result: Any, net: Network | None, data: Any, options: dict[str, Any]) -> Any:
    """Complete the result's header."""
    from plica.store import stamped

    return stamped(result, network=net, data=data, options=options)
