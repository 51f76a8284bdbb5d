"""Spectra of WideCIFAR, ThinCIFAR and the MNIST network, layer by layer (Figs 4, 5, 7, 9 and 10)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from plica.analyses.spectrum import SpectrumResult, join_spectra, spectrum
from plica.core.network import Network
from plica.core.result import Completeness, Standing
from plica.errors import BudgetReached, DataError
from plica.experiments.behrmann2018.kinds import FULL as MNIST_FULL
from plica.experiments.behrmann2018.kinds import QUICK as MNIST_QUICK
from plica.experiments.behrmann2018.kinds import first_layer
from plica.experiments.behrmann2018.models import THIN, WIDE, accuracy, cifar_net
from plica.experiments.figure import Claim, Made, Panel, Setting
from plica.experiments.training import train
from plica.loaders import load
from plica.store import load_result, save, stamped

IMAGES = {"WideCIFAR": 1, "ThinCIFAR": 1, "MNIST": 5}  # test images of a quick figure
IMAGES_FULL = 50
MAPS = {"WideCIFAR": WIDE, "ThinCIFAR": THIN}
EPSILON = 1e-9  # relative; beyond what rounding does to values that are compared
DATA = "Trained on the part of CIFAR-10 given, not on all of it: fewer images, other weights than the paper's."


@dataclass(frozen=True)
class Study:
    """A trained network, the test images, and their spectra before and after every ReLU."""

    name: str
    net: Network
    images: np.ndarray
    accuracy: float
    found: SpectrumResult

    @property
    def layers(self) -> tuple[str, ...]:
        """The ReLU layers, in order."""
        return tuple(dict.fromkeys(self.found.layers))

    def curve(self, number: int, side: str) -> np.ndarray:
        """Median singular values at the paper's layer `number`, counted from 1, that are not zero."""
        values = self.found.curve(self.layers[number - 1], side)
        return values[values > 0]

    def median(self, what: str, number: int, side: str) -> float:
        """Median over the images of an array of the spectrum."""
        return float(np.nanmedian(getattr(self.found, what)[:, self.found.place(self.layers[number - 1], side)]))


# --- networks and their spectra ---------------------------------------------------------------------------------


def cifar_module(setting: Setting, name: str) -> nn.Module:
    """WideCIFAR or ThinCIFAR, trained as A4 says, or less for a quick figure."""
    epochs, batch, rate = (100, 32, 1e-4) if setting.full else (1, 32, 5e-4)

    def fit(module: nn.Module) -> None:
        images = setting.images("cifar", "train")
        optimiser = partial(torch.optim.RMSprop, lr=rate, alpha=0.9, eps=1e-7)
        train(module, images.images, np.asarray(images.labels), epochs=epochs, batch=batch, optimiser=optimiser,
              seed=setting.seed, check=setting.progress.check)  # fmt: skip

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setting.seed)
        module = cifar_net(MAPS[name], side=setting.images("cifar", "test", limit=1).images.shape[-1])
    how = {
        "name": name,
        "epochs": epochs,
        "batch": batch,
        "rate": rate,
        "seed": setting.seed,
        "data": str(setting.data),
    }
    return setting.trained(module, fit, how)


def study(setting: Setting, name: str) -> Study:
    """Train a network, or read it, and find the spectra of its test images, or read them."""
    if name in MAPS:
        module, data = cifar_module(setting, name), "cifar"
    else:
        module, data = first_layer(setting, (MNIST_FULL if setting.full else MNIST_QUICK)[0]), "mnist"
    test = setting.images(data, "test", limit=1000)
    images = test.images[: IMAGES_FULL if setting.full else IMAGES[name]]
    net = load(module, images.shape[1:])
    found = spectra(setting, net, module, images)
    return Study(name, net, images, accuracy(module, test.images, np.asarray(test.labels)), found)


def spectra(setting: Setting, net: Network, module: nn.Module, images: np.ndarray) -> SpectrumResult:
    """Spectra at images, one by one; those of earlier runs and other figures are read.

    Raises
    ------
    BudgetReached
        When the time ends before the last image; what is done is kept for the next run.
    """
    weights = hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in module.parameters()))
    layers = net.choices
    parts: list[SpectrumResult] = []
    for image in images:
        key = hashlib.sha256(weights.digest() + np.ascontiguousarray(image).tobytes()).hexdigest()[:16]
        file = setting.models / f"spectra-{key}.npz"
        part = _kept(file) or spectrum(net, image[None], layers, progress=setting.progress)
        if part.completeness is not Completeness.COMPLETE:
            raise BudgetReached(f"spectra of {len(parts)} of {len(images)} images before the time ended.")
        if not file.exists():
            setting.models.mkdir(parents=True, exist_ok=True)
            save(stamped(part, network=net, data=image[None]), file)
        parts.append(part)
    return join_spectra(parts)


def _kept(file: Path) -> SpectrumResult | None:
    """The spectrum of an earlier run; None where there is none, or it is damaged."""
    if not file.exists():
        return None
    try:
        found = load_result(file)
    except DataError:
        file.unlink()
        return None
    return found if isinstance(found, SpectrumResult) else None


# --- figures ----------------------------------------------------------------------------------------------------


def over_layers(setting: Setting) -> Made:
    """Fig. 4: units, number of singular values and condition over the layers."""
    wide, thin = (study(setting, name) for name in MAPS)
    return (*counted(wide), *cut_off(thin)), _over_layers((wide, thin)), Standing.NUMERICAL


def counted(wide: Study) -> list[Claim]:
    """What Fig. 4 shows for WideCIFAR."""
    first, last = (wide.median("condition", k, "post") for k in (1, 5))
    ranks = [wide.median("ranks", k, "post") for k in range(1, 7)]
    inputs = wide.found.inputs
    return [
        _context(wide),
        Claim("WideCIFAR: the condition number grows over the layers", "from below 10 to above 1000 (read off)",
              f"layer 1: {first:.3g}, layer 5: {last:.3g}", last > first, DATA),
        Claim("WideCIFAR: no singular value is lost before layer 6", f"{inputs} in layers 1 to 5",
              ", ".join(f"{r:g}" for r in ranks), min(ranks[:5]) == inputs, f"Ranks of layers 1 to 6. {DATA}"),
        Claim("WideCIFAR: layer 6 has zero singular values", f"fewer than {inputs}", f"{ranks[5]:g}",
              ranks[5] < inputs, ""),
    ]  # fmt: skip


def cut_off(thin: Study) -> list[Claim]:
    """What Fig. 4 shows for ThinCIFAR."""
    rank = [thin.median("ranks", 5, side) for side in ("pre", "post")]
    condition = [thin.median("condition", 5, side) for side in ("pre", "post")]
    return [
        _context(thin),
        Claim("ThinCIFAR: fewer singular values after the ReLU of layer 5", "decreases",
              f"{rank[0]:g}, then {rank[1]:g}", rank[1] < rank[0], DATA),
        Claim("ThinCIFAR: that cuts off the smallest, so the condition falls", "lower condition number",
              f"{condition[0]:.3g}, then {condition[1]:.3g}", condition[1] < condition[0],
              "The nonzero values that are left are not those before: interlacing allows both."),
    ]  # fmt: skip


def decay(setting: Setting) -> Made:
    """Fig. 5: singular values after the ReLU of layers 1 to 6 of WideCIFAR."""
    wide = study(setting, "WideCIFAR")
    return (*grown(wide, 6), _largest(wide)), (_decay(wide, 6),), Standing.NUMERICAL


def grown(found: Study, last: int) -> list[Claim]:
    """How the ends of the spectrum move over the layers."""
    low = [found.median("smallest", k, "post") for k in range(1, last + 1)]
    relative = [v / found.median("largest", k, "post") for k, v in enumerate(low, 1)]
    ends = f"{relative[0]:.2g} of the largest in layer 1, {relative[-1]:.2g} in layer {last}"
    return [
        _context(found),
        Claim("small singular values decrease significantly over the layers", "several orders of magnitude (read off)",
              ends, relative[-1] < 0.1 * relative[0], "Relative to the largest, since trained gains differ."),
    ]  # fmt: skip


def _largest(wide: Study) -> Claim:
    high = [wide.median("largest", k, "post") for k in range(1, 7)]
    said = ", ".join(f"{v:.3g}" for v in high)
    return Claim("the largest singular value grows over layers 1 to 6", "grows", said, high[-1] > high[0], DATA)


def relu_wide(setting: Setting) -> Made:
    """Fig. 7: singular values before and after the ReLU of layers 2 and 5 of WideCIFAR."""
    wide = study(setting, "WideCIFAR")
    return (_context(wide), *removes(wide, (2, 5))), (_effect(wide, (2, 5)),), Standing.NUMERICAL


def relu_thin(setting: Setting) -> Made:
    """Fig. 9: as Figs 7 and 5, for ThinCIFAR."""
    thin, wide = study(setting, "ThinCIFAR"), study(setting, "WideCIFAR")
    ratios = [s.median("smallest", 2, "post") / s.median("smallest", 2, "pre") for s in (wide, thin)]
    stronger = Claim("a stronger effect of ReLU in layer 2 than in WideCIFAR", "stronger",
                     f"the smallest value falls to {ratios[1]:.2g} of itself; in WideCIFAR to {ratios[0]:.2g}",
                     ratios[1] < ratios[0], "Fewer rows remain.")  # fmt: skip
    claims = (*grown(thin, 6), *removes(thin, (2, 5)), stronger)
    return claims, (_effect(thin, (2, 5)), _decay(thin, 6)), Standing.NUMERICAL


def mnist_layers(setting: Setting) -> Made:
    """Fig. 10: as Figs 7 and 5, for the MNIST network of 3500 and 784 units."""
    found = study(setting, "MNIST")
    return (*grown(found, 2), *removes(found, (1, 2))), (_effect(found, (1, 2)), _decay(found, 2)), Standing.NUMERICAL


def removes(found: Study, numbers: Sequence[int]) -> list[Claim]:
    """The ReLU only removes rows: no value grows (interlacing; Lemma 8 says so of the largest and the smallest)."""
    claims = []
    for number in numbers:
        pre, post = (found.found.values[found.found.place(found.layers[number - 1], s)] for s in ("pre", "post"))
        grown = bool((post <= pre + EPSILON * pre[:, :1]).all())
        middle = int((post > 0).sum(1).min()) // 2
        kept = np.divide(post, pre, out=np.zeros_like(post), where=pre > 0)
        shares = [float(np.median(kept[:, i])) for i in (0, middle)]
        claims.append(
            Claim(f"layer {number}: the ReLU lowers every singular value", "the curve after lies below",
                  f"largest to {shares[0]:.2f}, middle to {shares[1]:.2f} of itself", grown,
                  "Holds for every matrix: rows are removed.")
        )  # fmt: skip
    return claims


def _context(found: Study) -> Claim:
    many = len(found.images)
    data = "the part of CIFAR-10 given" if found.name in MAPS else "MNIST"
    return Claim(f"{found.name}: setting", "median over 50 test images", f"median over {many}", None,
                 f"Trained on {data}; {found.accuracy:.0%} of up to 1,000 test images right.")  # fmt: skip


# --- panels -----------------------------------------------------------------------------------------------------


def _series(values: np.ndarray) -> np.ndarray:
    return np.stack([np.arange(1.0, len(values) + 1), values])


def _decay(found: Study, last: int) -> Panel:
    series = {f"layer {k}": _series(found.curve(k, "post")) for k in range(1, last + 1)}
    return Panel("lines", f"{found.name}: after each ReLU", series, "index", "singular value", "y")


def _effect(found: Study, numbers: Sequence[int]) -> Panel:
    series = {
        f"layer {2 * k - 1 + (side == 'post')} ({'before' if side == 'pre' else 'after'} the ReLU)": _series(
            found.curve(k, side)
        )
        for k in numbers
        for side in ("pre", "post")
    }
    return Panel("lines", f"{found.name}: effect of ReLU", series, "index", "singular value", "y")


def _over_layers(studies: Sequence[Study]) -> list[Panel]:
    panels = []
    for title, what, log in (("units", "units", "y"), ("singular values that are not zero", "ranks", ""),
                             ("condition", "condition", "y")):  # fmt: skip
        series = {}
        for s in studies:
            values = (
                np.asarray(s.found.units, float) if what == "units" else np.nanmedian(getattr(s.found, what), axis=0)
            )
            series[s.name] = _series(values)
        panels.append(Panel("lines", title, series, "layer, convolution and ReLU counted apart", "", log))
    return panels
