"""What is fuzzed: sound files to start from, and what a reader may do with a damaged one."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import plica
from fuzzing.mutate import damaged, damaged_archive, damaged_json, damaged_onnx
from plica.errors import PlicaError

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Target:
    """One kind of file.

    Attributes
    ----------
    seeds : list of bytes
        Sound files.
    mutations : tuple of callable
        Each makes damaged bytes of sound ones.
    read : callable
        Reads the bytes as a user would; it may raise `PlicaError`. Whatever else it raises is a failure.
    """

    seeds: list[bytes]
    mutations: tuple[Callable[[bytes, random.Random], bytes], ...]
    read: Callable[[bytes, Path], None]


def _file(data: bytes, folder: Path, name: str) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


# --- models -----------------------------------------------------------------------------------------------------


def onnx_seeds() -> list[bytes]:
    from loaders.onnx_cases import CASES

    return [case.model().SerializeToString() for _, case in sorted(CASES.items())]


def read_onnx(data: bytes, folder: Path) -> None:
    plica.load(_file(data, folder, "model.onnx"))


def module() -> Any:
    import torch

    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8, 3)
    ).eval()


def safetensors_seeds() -> list[bytes]:
    from safetensors.torch import save

    return [save(module().state_dict())]


def read_safetensors(data: bytes, folder: Path) -> None:
    plica.load(module(), (1, 4, 4), weights=_file(data, folder, "weights.safetensors"))


# --- arrays and results -----------------------------------------------------------------------------------------


def image_seeds() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npz"
        rng = np.random.default_rng(0)
        np.savez(path, test_images=rng.integers(0, 256, (5, 4, 4), dtype=np.uint8), test_labels=np.arange(5))
        plain = path.read_bytes()
        np.savez_compressed(path, images=rng.random((3, 1, 4, 4)), labels=np.arange(3))
        return [plain, path.read_bytes()]


def read_images(data: bytes, folder: Path) -> None:
    from plica.loaders.images import read_images as read

    read(_file(data, folder, "images.npz"), shape=(1, 4, 4))


def result_seeds() -> list[bytes]:
    return [path.read_bytes() for path in sorted((ROOT / "data" / "results").glob("format-*/*.npz"))]


def read_result(data: bytes, folder: Path) -> None:
    plica.load_result(_file(data, folder, "result.npz"))


# --- properties -------------------------------------------------------------------------------------------------

PROPERTY = b"""; a comment
(declare-const X_0 Real)
(declare-const X_1 Real)
(declare-const Y_0 Real)
(declare-const Y_1 Real)
(assert (<= X_0 0.5)) (assert (>= X_0 -0.25)) (assert (or (and (<= X_1 1e-3) (>= Y_0 Y_1)) (and (<= Y_1 2))))
"""


def read_property(data: bytes, folder: Path) -> None:
    from plica.loaders.vnnlib import read_vnnlib

    read_vnnlib(_file(data, folder, "p.vnnlib"))


# --- certificates -----------------------------------------------------------------------------------------------


class Certificates:
    """Certificates of known claims about one network, and a judge that knows the claims by other means."""

    def __init__(self) -> None:
        import torch
        from torch import nn

        torch.manual_seed(0)
        first = nn.Linear(5, 24)
        with torch.no_grad():
            first.bias -= 0.5
        self.net = plica.load(nn.Sequential(first, nn.ReLU(), nn.Linear(24, 3)), (5,))
        X = np.random.default_rng(1).normal(size=(40, 5)) * np.linspace(0.05, 2, 40)[:, None]
        layer = self.net.choices[0]
        kinds = plica.preimage_kind(self.net, X, layer=layer)
        self.seeds: list[bytes] = []
        with tempfile.TemporaryDirectory() as folder:
            for kind in sorted(set(kinds.kinds)):
                index = int(np.argmax(kinds.kinds == kind))
                path = plica.certify(kinds, self.net, X, path=Path(folder) / f"{kind}.json", index=index)
                self.seeds.append(path.read_bytes())
            pair = plica.impostor(self.net, X[1], X[2], layer=layer)
            path = plica.certify(pair, self.net, path=Path(folder) / "pair.json")
            self.seeds.append(path.read_bytes())
            box, best = plica.Box(X[0] - 0.1, X[0] + 0.1), int(self.net(X[:1]).argmax())
            for target, name in ((best, "wins"), (plica.Polyhedron([[-1.0, 0, 0]], [-50.0]), "none")):
                union = plica.preimage_of(self.net, target, layer=self.net.layers[-1], domain=box)
                self.seeds.append(plica.certify(union, self.net, path=Path(folder) / f"{name}.json").read_bytes())
            near = plica.min_distortion(self.net, X[:1], method="fast", exact=True)
            path = plica.certify(near, self.net, X, path=Path(folder) / "bound.json")
            self.seeds.append(path.read_bytes())
            self.wrong = np.asarray(near.x_adv[0]).ravel()
            self.model = path.with_suffix(".safetensors").read_bytes()
        self.graph = json.loads(self.seeds[0])["graph"]

    def read(self, data: bytes, folder: Path) -> None:
        path, model = _file(data, folder, "c.json"), _file(self.model, folder, "c.safetensors")
        verdict = plica.verify(path, model)
        if any("MemoryError" in line for line in verdict.lines):  # under a limit; without one the machine is lost
            raise MemoryError(verdict.lines[-1])
        if verdict:
            self.judge(json.loads(data))

    def judge(self, body: dict) -> None:
        """Raise when an accepted certificate claims what is not so."""
        if body["graph"] != self.graph:  # about another graph, whose hash is printed with the verdict
            return
        for claim in body["claims"]:
            x = self._point(claim["x"]) if "x" in claim else np.zeros(5)
            if claim["claim"] in ("union", "bound"):
                right = self._covered(claim) if claim["claim"] == "union" else self._kept(claim, x)
            elif claim["claim"] == "kind":
                found = plica.preimage_kind(self.net, x[None], layer=self._layer(claim["layer"]))
                says = (claim["kind"], int(claim["dimension"]))
                right = says == (str(found.kinds[0]), int(found.dimensions[0]))
            else:
                other = self._point(claim["other"])
                part = self.net.upto(self._layer(claim["layer"]))
                gap = float((part(x[None]) - part(other[None])).abs().max())
                classes = [int(self.net(v[None]).argmax()) for v in (x, other)]
                right = gap <= float.fromhex(claim["tolerance"]) * (1 + 1e-9) + 1e-12 and classes == claim["classes"]
            if not right:
                raise AssertionError(f"a wrong claim was accepted: {json.dumps(claim)[:300]}")

    def _covered(self, claim: dict) -> bool:
        """Whether points of the box that clearly meet the conditions lie in listed pieces."""
        low, high = (np.clip(self._point(claim[key]), -50, 50) for key in ("lower", "upper"))
        points = low + (high - low) * np.random.default_rng(0).random((400, len(low)))
        part = self.net.upto(claim["layer"]) if claim["layer"] in self.net.layers else self.net
        values, meets = part(points).detach().flatten(1).numpy(), np.ones(len(points), dtype=bool)
        for terms, bottom, top in claim.get("rows", ()):
            total = sum(_fraction(c) * values[:, int(i)] for i, c in terms)  # an index may be `true`
            meets &= (bottom is None or total > _fraction(bottom) + 1e-9) & (
                top is None or total < _fraction(top) - 1e-9
            )
        if "x" in claim:
            meets &= (np.abs(values - part(self._point(claim["x"])[None]).detach().flatten(1).numpy()) == 0).all(1)
        z = self.net.upto(self.net[self.net.choices[0]].inputs[0])(points).detach().flatten(1).numpy()
        listed = [np.array(piece["branches"][0]) for piece in claim["pieces"]]
        fits = [((z <= 1e-9) | (own == 1)).all(1) & ((z >= -1e-9) | (own == 0)).all(1) for own in listed]
        return not (meets & ~np.any(fits, axis=0)).any() if fits else not meets.any()

    def _kept(self, claim: dict, x: np.ndarray) -> bool:
        """Whether no point near x, the misclassified one known and those on the way to it included, is above."""
        order, radius = float(claim["norm"]), float.fromhex(claim["radius"])
        rays = np.vstack([np.random.default_rng(0).normal(size=(300, len(x))), self.wrong - x])
        rays /= np.linalg.norm(rays, order, axis=1)[:, None]
        points = np.vstack([x + t * radius * rays for t in (0.5, 0.99, 1.0)])
        points = np.clip(points, self._point(claim["lower"]), self._point(claim["upper"]))
        out = self.net(points).detach().flatten(1).numpy()
        return bool((out.max(1) <= out[:, claim["label"]] + 1e-9).all())

    def _point(self, words: list[str]) -> np.ndarray:
        return np.array([float.fromhex(word) for word in words])

    def _layer(self, name: str) -> str:
        return name if name in self.net.layers else self.net.choices[0]


def _fraction(word: str) -> float:
    """A fraction of a certificate."""
    top, bottom = (int(part, 16) for part in (word if "/" in word else f"{word}/1").split("/"))
    return top / bottom


def swapped_models(certificates: Certificates) -> Target:
    """A sound certificate with a damaged model: never accepted."""

    def read(data: bytes, folder: Path) -> None:
        path, model = _file(certificates.seeds[0], folder, "c.json"), _file(data, folder, "c.safetensors")
        if data != certificates.model and plica.verify(path, model):
            raise AssertionError("another model was accepted")

    return Target([certificates.model], (damaged,), read)


def targets() -> dict[str, Target]:
    """Everything that is fuzzed, by name."""
    certificates = Certificates()
    return {
        "safetensors": Target(safetensors_seeds(), (damaged,), read_safetensors),
        "images": Target(image_seeds(), (damaged, damaged_archive), read_images),
        "result": Target(result_seeds(), (damaged, damaged_archive, damaged_archive), read_result),
        "property": Target([PROPERTY], (damaged,), read_property),
        "certificate": Target(certificates.seeds, (damaged, damaged_json, damaged_json), certificates.read),
        "model": swapped_models(certificates),
        "onnx": Target(onnx_seeds(), (damaged, damaged_onnx, damaged_onnx), read_onnx),
    }


def failure(target: Target, data: bytes, folder: Path) -> str:
    """Why the reading of these bytes is a failure; empty when it is none."""
    try:
        target.read(data, folder)
    except PlicaError as error:
        return "" if "\n" not in str(error) or len(str(error)) < 5000 else f"a message of {len(str(error))} characters"
    except MemoryError as error:
        return f"MemoryError: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""
