"""SHA-256 of networks and data: what results, chunks and frontiers are recognised by."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import numpy as np


def network_hash(network: Any) -> str:
    """SHA-256 of a network's input shape, nodes, wiring and weights, in hexadecimal.

    Parameters
    ----------
    network : Network
        The names of its nodes do not matter.
    """
    digest = hashlib.sha256()
    places = {"input": -1} | {node.name: i for i, node in enumerate(network.nodes)}
    _feed(digest, tuple(network.input_shape))
    for node in network.nodes:
        _feed(digest, (type(node.op).__name__, tuple(places[name] for name in node.inputs)))
        _feed(digest, node.op)
    return digest.hexdigest()


def data_hash(data: Any) -> str:
    """SHA-256 of an array, or of the images of an image set, with its shape and dtype, in hexadecimal."""
    digest = hashlib.sha256()
    _feed(digest, np.asarray(getattr(data, "images", data)))
    return digest.hexdigest()


def _feed(digest: Any, value: Any) -> None:
    """Add a value to a hash so that different values give different bytes."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        digest.update(f"array {value.dtype.str} {value.shape};".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            digest.update(f"field {field.name};".encode())
            _feed(digest, getattr(value, field.name))
    elif isinstance(value, (tuple, list)):
        digest.update(f"sequence {len(value)};".encode())
        for item in value:
            _feed(digest, item)
    else:
        digest.update(f"{type(value).__name__} {value!r};".encode())
