"""Misclassified points on the way: values at a point, proven ones, and the nearest point of a piece."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from plica.analyses.adversarial.exact.bounds import SLACK, Domain, ball, bound, charge
from plica.analyses.adversarial.exact.layers import Layers, Scalar
from plica.analyses.adversarial.exact.program import nearest_in_piece, piece
from plica.core.exact.floats import gamma
from plica.core.progress import Progress

NUDGES = (0.0, 1e-13, 1e-12, 1e-11, 1e-10, 1e-9, 1e-8, 1e-7)  # shares by which a point on the border goes beyond it
STEPS = 8  # pieces that are walked through
LIFTS = (1e-11, 1e-9, 1e-8, 1e-7)  # margins, as shares of the largest output, of points that are looked for off a tie
ASIDE = 4  # slopes tried at a point on a border


def length(d: np.ndarray, norm: float) -> float:
    """Norm of a perturbation."""
    if norm == 2.0:
        return float(np.linalg.norm(d))
    return float(np.abs(d).max(initial=0.0)) if norm == np.inf else float(np.abs(d).sum())


def value(layers: Layers, d: np.ndarray) -> np.ndarray:
    """Outputs of the network, in floats."""
    sources = [d]
    for j, choice in enumerate(layers.choices):
        z = _affine(layers, j, sources)
        if isinstance(choice, Scalar):
            branch, units = (z > choice.knots).sum(0), np.arange(choice.units)
            sources.append(choice.slopes[branch, units] * z + choice.intercepts[branch, units])
        else:
            sources.append(np.where(choice.index >= 0, z[choice.index], -np.inf).max(1))
    return _affine(layers, len(layers.choices), sources)


def _affine(layers: Layers, j: int, sources: list[np.ndarray]) -> np.ndarray:
    reading = layers.readings[j]
    return sum((matrix @ sources[s] for s, matrix, _ in reading.parts), reading.offset)


def proven_margins(layers: Layers, x: np.ndarray, aim: np.ndarray) -> np.ndarray:
    """Proven lower bounds of margins at one input, in real arithmetic."""
    here = layers.at(x, x, x)
    still = ball(here, np.inf, 0.0)
    state = bound(here, still, [np.full(c.units, -1) for c in here.choices])
    lows = [still.lower, *(h.low for h in state.hulls)]
    highs = [still.upper, *(h.high for h in state.hulls)]
    reading = here.readings[-1]
    middle = reading.offset + sum(m @ (0.5 * (lows[s] + highs[s])) for s, m, _ in reading.parts)
    spread = sum(
        (a @ (0.5 * (highs[s] - lows[s])) for s, _, a in reading.parts), 2 * charge(reading, list(state.sizes))
    )
    return aim @ middle - (np.abs(aim) @ (spread + gamma(8) * np.abs(middle))) * SLACK


@dataclass
class Best:
    """The nearest point so far that proves to be misclassified.

    Attributes
    ----------
    layers : Layers
    lower, upper : ndarray
        The box itself.
    norm : float
    aims : tuple of ndarray
        Each: margins that must all be positive.
    distance : float
    x : ndarray or None
    aim : int
    """

    layers: Layers
    lower: np.ndarray
    upper: np.ndarray
    norm: float
    aims: tuple[np.ndarray, ...]
    distance: float = np.inf
    x: np.ndarray | None = None
    aim: int = -1
    tried: int = field(default=0)

    def accept(self, x: np.ndarray, which: int | None = None) -> bool:
        """Take an input when it is nearer, in the box, and proven to have a wanted class."""
        size = length(x - self.layers.x, self.norm) * (1 + 4e-15)
        if not size < self.distance or (x < self.lower).any() or (x > self.upper).any():
            return False
        for k in range(len(self.aims)) if which is None else (which,):
            if (proven_margins(self.layers, x, self.aims[k]) > 0).all():
                self.distance, self.x, self.aim = size, x.copy(), k
                return True
        return False

    def offer(self, d: np.ndarray, which: int, domain: Domain, progress: Progress) -> bool:
        """Try a perturbation, and go on to the nearest points of the pieces around it."""
        aim, layers = self.aims[which], self.layers
        d = np.clip(d, layers.lower, layers.upper)
        if (aim @ value(layers, d)).min() < -1e-7 * (1.0 + np.abs(value(layers, d)).max()):
            return False
        self.tried += 1
        size, better, start = length(d, self.norm), self.beyond(d, which) or self._aside(d, which), d
        for _ in range(STEPS):
            near = nearest_in_piece(layers, d, aim, domain, progress)
            if near is None:
                break
            near = self._back(np.clip(near, layers.lower, layers.upper), aim)
            better |= self.beyond(near, which) or self._aside(near, which)
            now = length(near, self.norm)
            if now >= size * (1 - 1e-9):
                break
            size, d = now, near * (1 + 1e-7)
        return better or self._lifted(start, which, domain, progress)

    def _lifted(self, d: np.ndarray, which: int, domain: Domain, progress: Progress) -> bool:
        """Where no step leads off a border: the nearest point of the piece whose margin is a little above 0."""
        aim, layers = self.aims[which], self.layers
        outputs = value(layers, d)
        if not (aim @ outputs).min() > 0:
            return False
        for share in LIFTS:
            lift = share * float(np.abs(outputs).max())
            near = nearest_in_piece(layers, d, aim, domain, progress, lift)
            if near is None:
                return False
            x = np.clip(layers.x + near, self.lower, self.upper)
            if length(x - layers.x, self.norm) >= self.distance:
                return False
            if self.accept(x, which):
                return True
        return False

    def _back(self, d: np.ndarray, aim: np.ndarray) -> np.ndarray:
        """Walk towards the input until a margin is 0."""
        if (aim @ value(self.layers, d)).min() <= 1e-9:
            return d
        low, high = 0.0, 1.0
        for _ in range(50):
            middle = 0.5 * (low + high)
            across = (aim @ value(self.layers, middle * d)).min() > 0
            low, high = (low, middle) if across else (middle, high)
        return high * d

    def beyond(self, d: np.ndarray, which: int) -> bool:
        """Accept the point, or one a little farther out."""
        for share in NUDGES:
            x = np.clip(self.layers.x + d * (1 + share), self.lower, self.upper)
            if length(x - self.layers.x, self.norm) >= self.distance:
                return False
            if self.accept(x, which):
                return True
        return False

    def _aside(self, d: np.ndarray, which: int) -> bool:
        """From a border that no longer step along d crosses: a little way up the slopes of the pieces around it."""
        scale = 1.0 + float(np.abs(self.layers.x).max(initial=0.0))
        rng = np.random.default_rng(0)
        for k in range(ASIDE):
            if not length(d, self.norm) < self.distance * (1 - 1e-6):
                return False
            around = d + (k > 0) * 1e-7 * scale * rng.normal(size=len(d))
            slope = -piece(self.layers, around, self.aims[which])[0][-1:]
            slope = (slope if self.layers.read is None else slope @ self.layers.read[0])[0]
            size = length(slope, np.inf)
            for step in (1e-12, 1e-11, 1e-10, 1e-9) if size > 0 else ():
                x = np.clip(self.layers.x + d + step * scale / size * slope, self.lower, self.upper)
                if self.accept(x, which):
                    return True
        return False
