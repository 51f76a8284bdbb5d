"""From a result to a certificate, and from a certificate to a verdict."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from plica import checker, exact_model
from plica.analyses.adversarial.result import DistortionResult
from plica.analyses.preimage import Preimage, PreimageResult
from plica.analyses.preimage.result import ImpostorResult, Kind, KindResult
from plica.certificates.bound import bound_claim
from plica.certificates.cone import bounded_proof, cone_proof, direction_to_infinity
from plica.certificates.describe import described
from plica.certificates.union import union_claim
from plica.core.domain import Box
from plica.core.network import INPUT, Network
from plica.core.progress import Progress
from plica.core.result import Completeness, Result, Standing
from plica.errors import ArgumentError, DataError, ModelError

FORMAT = 1


@dataclass(frozen=True, repr=False)
class VerifyResult(Result):
    """What a certificate proves about a model.

    Attributes
    ----------
    accepted : bool
        Whether every claim was checked.
    lines : tuple of str
        What is proven, the model's SHA-256 first; or why the certificate was refused.
    """

    accepted: bool
    lines: tuple[str, ...]

    def __bool__(self) -> bool:
        return self.accepted

    def summary(self) -> str:
        """The verdict."""
        return "\n".join((*self.lines, "accepted" if self.accepted else "refused"))


@dataclass(frozen=True)
class _Model:
    """A model as the checker reads it, and the checker's names of the network's values."""

    net: Network
    graph: Any
    names: dict[str, str]
    header: dict[str, Any]
    weights: bytes | None

    def of(self, value: str) -> str:
        """The checker's name of a value."""
        if value not in self.names:
            raise ArgumentError(f"certify: the file has no value of its own for {value!r}.")
        return self.names[value]


def verify(certificate: str | os.PathLike[str], model: str | os.PathLike[str]) -> VerifyResult:
    """Check a certificate against the bytes of a model, in integers and with nothing else of plica.

    Parameters
    ----------
    certificate : path
        A file that `certify` wrote.
    model : path
        The ONNX file, or the safetensors file that `certify` wrote beside the certificate.

    Returns
    -------
    VerifyResult
        True where every claim holds. The standing is CERTIFIED; a refusal says why.

    Raises
    ------
    DataError, ModelError
        A file that cannot be read.

    Notes
    -----
    The same check runs without plica: ``python checker.py CERTIFICATE MODEL``, with the files ``plica/checker.py`` and
    ``plica/exact_model.py`` and Python's standard library.
    """
    try:
        text = Path(certificate).read_bytes()
    except OSError as error:
        raise DataError(f"'{certificate}' cannot be read ({error.strerror}). Give a file of plica.certify.") from error
    try:
        data = Path(model).read_bytes()
    except OSError as error:
        raise ModelError(f"'{model}' cannot be read ({error.strerror}). Give the model's file.") from error
    start = time.monotonic()
    try:
        lines, accepted = checker.verify(text, data), True
    except Exception as error:  # whatever a damaged file leads to is a refusal
        lines, accepted = [f"refused: {type(error).__name__}: {error}".encode("unicode_escape").decode()], False
    about = {"seconds": time.monotonic() - start}
    return VerifyResult(Standing.CERTIFIED, Completeness.COMPLETE, about, accepted, tuple(lines))


def certify(
    result: Result | Preimage,
    net: Network,
    X: Any = None,
    *,
    path: str | os.PathLike[str],
    index: int = 0,
    box: Box | None = None,
    target: Any = None,
    progress: Progress | None = None,
) -> Path:
    """Write what proves a result, for one input, so that anyone can check it.

    Parameters
    ----------
    result : KindResult, ImpostorResult, DistortionResult, Preimage or PreimageResult
        What `preimage_kind`, `impostor`, ``min_distortion(..., exact=True)``, `preimage` or `preimage_of` returned.
    net : Network
        The network of the result.
    X : array, optional
        The inputs that the result is about; not needed for an impostor.
    path : path
        File to write, JSON.
    index : int
        Which of the inputs.
    box : Box, optional
        Of a `DistortionResult`: the allowed inputs; by default those of the result, else the network's.
    target : optional
        Of a `PreimageResult` that is not about the activity of an input: what `preimage_of` was given.
    progress : Progress, optional
        Budgets.

    Returns
    -------
    Path
        The certificate. For a network that comes from an ONNX file which the checker reads itself, that file is the
        model to verify against; otherwise the weights are written beside it, with the ending ``.safetensors``, and
        the certificate holds the graph.

    Raises
    ------
    ArgumentError
        For a result, or an answer in it, that has no certificate (undecided, or known from one branch of several).

    Notes
    -----
    The proof is found in exact arithmetic, whatever the result rested on. Cost: exact linear solves of the size of the
    layer; 10 to 20 s for 784 inputs and 3500 units.
    """
    make = MAKERS.get(type(result))
    if make is None:
        names = ", ".join(t.__name__ for t in MAKERS)
        raise ArgumentError(f"certify: a {type(result).__name__} has no certificate. Give one of {names}.")
    model = _read(net, result)
    more = {key: value for key, value in (("box", box), ("target", target)) if value is not None}
    wrong = more.keys() - MORE.get(type(result), set())
    if wrong:
        raise ArgumentError(f"certify: a {type(result).__name__} takes no {' and no '.join(sorted(wrong))}.")
    claim = make(model, result, X, index, progress or Progress(), **more)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    if model.weights is not None:
        _write(target.with_suffix(".safetensors"), model.weights)
    body = {"plica certificate": FORMAT, **model.header, "claims": [claim]}
    _write(target, json.dumps(body).encode())
    return target


def _write(target: Path, data: bytes) -> None:
    """A file that appears under its name only when it is whole."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    partial.write_bytes(data)
    partial.replace(target)


def _read(net: Network, result: Result | Preimage) -> _Model:
    """The model as the checker reads it: the ONNX file itself where it can be, else a description of the graph."""
    given = result.header.get("network_hash") if isinstance(result, Result) else None
    if given is not None:
        from plica.store import network_hash

        if network_hash(net) != given:
            raise ArgumentError("certify: the result is about another network. Give the network it was computed for.")
    source = Path(net.origin.path) if net.origin.path else None
    if source is not None and net.origin.tensors and source.suffix in (".onnx", ".gz") and source.exists():
        data = source.read_bytes()
        try:
            graph = exact_model.read_onnx(data)
            names = {name: tensor for name, tensor in net.origin.tensors if name in _known(net)}
            model = _Model(net, graph, {INPUT: graph.input, **names}, {"model": hashlib.sha256(data).hexdigest()}, None)
            exact_model.run(
                graph, exact_model.point(graph, ["0x0p+0"] * int(np.prod(graph.shape))), {model.of(net.output)}
            )
            return model
        except Exception:
            pass  # an operation that the checker does not read: the graph is described to it
    words, weights = described(net)
    header = {"model": hashlib.sha256(weights).hexdigest(), "graph": words}
    names = {name: name for name in _known(net)}
    return _Model(net, exact_model.read_described(words, weights), names, header, weights)


def _known(net: Network) -> set[str]:
    return {INPUT, *(node.name for node in net.nodes)}


def _words(x: Any) -> list[str]:
    """Floats in hexadecimal."""
    return [float(v).hex() for v in np.asarray(x, dtype=np.float64).ravel()]


def _kind(model: _Model, result: KindResult, X: Any, index: int, progress: Progress) -> dict[str, Any]:
    """The claim about the kind of one input's preimage."""
    if X is None or not 0 <= index < len(result.kinds):
        raise ArgumentError(f"certify: give the inputs X of the result, and an index below {len(result.kinds)}.")
    kind = Kind(result.kinds[index])
    if kind not in (Kind.SINGLETON, Kind.COMPACT, Kind.UNBOUNDED):
        raise ArgumentError(f"certify: input {index} is {kind}, which has no certificate.")
    x = model.net.as_batch(np.asarray(X))[index].cpu().numpy()
    claim: dict[str, Any] = {
        "claim": "kind",
        "x": _words(x),
        "layer": model.of(result.layer),
        "sources": [model.of(name) for name in result.source],
        "kind": kind.value,
    }
    equal, below, n = checker.activity_rows(model.graph, claim)[:3]
    directions = cone_proof(equal, [row for row, tight in below if tight], n, progress)
    claim["dimension"] = n - len(directions["independent"])
    rows = [row for row, _ in below]
    proof: dict[str, Any] = {"directions": directions}
    if kind is Kind.UNBOUNDED:
        proof["recession"] = direction_to_infinity(equal, rows, n, progress)
    elif kind is Kind.COMPACT:
        proof["recession"] = bounded_proof(equal, rows, n, progress)
    return {**claim, "proof": proof}


def _features(model: _Model, result: ImpostorResult, X: Any, index: int, progress: Progress) -> dict[str, Any]:
    """The claim that an impostor has the features of an input, to within an exact difference, and the two answers."""
    layer, words = model.of(result.layer), [_words(result.x), _words(result.impostor)]
    values = [exact_model.run(model.graph, exact_model.point(model.graph, w), {layer})[layer] for w in words]
    exact = [[v * t.unit for v in t.data] for t in values]
    largest = max((abs(a - b) for a, b in zip(*exact, strict=True)), default=Fraction(0))
    limit = float(largest)  # rounded to nearest; the next float is above
    return {
        "claim": "features",
        "x": words[0],
        "other": words[1],
        "layer": layer,
        "tolerance": (limit if Fraction(limit) >= largest else float(np.nextafter(limit, np.inf))).hex(),
        "output": model.of(model.net.output),
        "classes": [result.class_x, result.class_impostor],
    }


MAKERS: dict[type, Callable[..., dict[str, Any]]] = {
    KindResult: _kind,
    ImpostorResult: _features,
    DistortionResult: bound_claim,
    Preimage: union_claim,
    PreimageResult: union_claim,
}
MORE = {DistortionResult: {"box"}, PreimageResult: {"target"}}  # arguments of their own
