"""Networks of two units a level: Figs 1, 2 and 6."""

from __future__ import annotations

import numpy as np

from plica.analyses.preimage import Kind, Preimage, preimage
from plica.core.domain import Box
from plica.core.network import Network
from plica.core.result import weakest
from plica.experiments.carlsson2017.tiny import relu_network, ring
from plica.experiments.figure import Claim, Made, Panel, Setting

HALF = 4.0
WINDOW = Box([-HALF, -HALF], [HALF, HALF])  # what is drawn; the claims are about the whole plane
NO_NUMBERS = "The paper draws by hand and prints no weights; these are in the source."
SKEW = ([[1.0, 0.5], [-0.5, 1.0]], [-0.25, 0.125])
LEVELS = (
    ([[-1.25, 0.25], [-0.25, -0.5]], [0.25, 0.5]),
    ([[0.0, -1.25], [0.5, -0.5]], [0.5, -0.25]),
    ([[0.75, -1.25], [1.75, -0.75]], [-0.25, 0.25]),
)
SPLIT = ([[1.0, 0.0], [-1.0, 0.0]], [-1.5, 1.5])
MERGE = ([[1.0, 1.0], [-1.0, -1.0]], [0.0, 0.0])


def _drawn(name: str, net: Network, x: list[float]) -> dict[str, np.ndarray]:
    """The pieces of a preimage inside the window."""
    pieces = preimage(net, np.array(x), layer=-1, domain=WINDOW).pieces()
    return {f"_{name}{k}" if k else name: ring(p.polyhedron().vertices()) for k, p in enumerate(pieces)}


def _shape(of: Preimage) -> str:
    """Kind, dimension and number of pieces."""
    pieces = len(list(of.pieces()))
    return f"{of.kind}, dimension {of.dimension}, {pieces} piece{'s' * (pieces != 1)}"


def quadrants(setting: Setting) -> Made:
    """Fig. 1: a point, two rays and a wedge."""
    net = relu_network(SKEW)
    claims, standings = [], []
    series: dict[str, np.ndarray] = {}
    cases = (
        ("both units on", [2.0, 2.0], "the input itself", Kind.SINGLETON, 0),
        ("second unit off", [2.0, -1.5], "a dashed line", Kind.UNBOUNDED, 1),
        ("first unit off", [-1.5, 2.0], "a dashed line", Kind.UNBOUNDED, 1),
        ("both units off", [-2.0, -2.0], "the grey area", Kind.UNBOUNDED, 2),
    )
    for name, x, printed, kind, dimension in cases:
        whole = preimage(net, np.array(x), layer=-1)
        holds = (whole.kind, whole.dimension) == (kind, dimension)
        claims.append(Claim(f"preimage with {name}", printed, _shape(whole), holds, NO_NUMBERS))
        standings.append(whole.standing)
        series |= _drawn(name, net, x)
    return claims, [Panel("areas", "preimages of four activities", series, "x1", "x2")], weakest(standings)


def three_levels(setting: Setting) -> Made:
    """Fig. 2: curves of several pieces, and the grey area that is mixed for ever."""
    net = relu_network(*LEVELS)
    steps = np.arange(-HALF, HALF + 1 / 8, 1 / 8)  # exact floats, as all values at them are
    grid = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)
    values = net(grid).cpu().numpy()
    grey = preimage(net, grid[np.flatnonzero(~values.any(1))[0]], layer=-1)
    wrong = int((grey.contains(grid) != ~values.any(1)).sum())
    claims = [
        Claim("preimage of (0, 0)", "a grey area", _shape(grey), grey.dimension == 2, NO_NUMBERS),
        Claim("it holds exactly what is sent there", "all", f"{wrong} of {len(grid)} grid points differ", wrong == 0),
    ]
    series, standings = _drawn("(0, 0)", net, list(grey.result().points[0])), [grey.standing]
    for unit in (0, 1):
        alone = grid[(values[:, unit] > 0) & (values[:, 1 - unit] == 0)]
        curves = [(preimage(net, x, layer=-1), x) for x in alone[:: max(1, len(alone) // 12)]]
        if curves:
            longest, x = max(curves, key=lambda pair: len(list(pair[0].pieces())))
            words = f"an output with unit {unit + 1} alone"
            pieces = [piece.dimension for piece in longest.pieces()]
            claims.append(
                Claim(
                    f"preimage of {words}", "a piecewise linear line",
                    f"{_shape(longest)}; pieces of dimension {', '.join(map(str, sorted(pieces)))}",
                    len(pieces) > 1 and 1 in pieces,
                    "A piece is an area, not a line, where an earlier level has sent an area to one line.",
                )
            )  # fmt: skip
            series |= _drawn(words, net, x.tolist())
            standings.append(longest.standing)
    return claims, [Panel("areas", "preimages at level 3", series, "x1", "x2")], weakest(standings)


def split_and_merge(setting: Setting) -> Made:
    """Fig. 6: A and B on one line end on two; B on two lines ends on one."""
    split, merge = relu_network(SPLIT), relu_network(SPLIT, MERGE)
    A, B = (np.stack([np.linspace(a, b, 9), np.zeros(9)], 1) for a, b in ((0.25, 1.25), (1.75, 3.0)))
    hull = {name: Box(X.min(0), X.max(0)) for name, X in (("A", A), ("B", B))}
    shared = [preimage(split, a, layer=-1, domain=hull["B"]) for a in A]
    apart = sum(s.kind is Kind.EMPTY for s in shared)
    on_axes = (split(A).numpy() > 0).sum(0).tolist(), (split(B).numpy() > 0).sum(0).tolist()
    twin = [preimage(merge, a, layer=-1, domain=hull["B"]) for a in A[A[:, 0] <= 1.25]]
    met = sum(t.kind is not Kind.EMPTY for t in twin)
    claims = [
        Claim("A and B on one line are split", "two manifolds", f"positive units {on_axes[0]} and {on_axes[1]}",
              on_axes == ([0, 9], [9, 0]), NO_NUMBERS),
        Claim("no activity is shared after it", "split", f"{apart} of {len(A)} preimages miss B, each proven",
              apart == len(A)),
        Claim("parts of one class on two lines are merged", "one manifold", f"{met} of {len(twin)} preimages reach the "
              "other part", met == len(twin)),
    ]  # fmt: skip
    panels = [
        Panel("scatter", title, {name: net(X).numpy().T for name, X in (("A", A), ("B", B))}, "unit 1", "unit 2")
        for title, net in (("split: each on its own axis", split), ("merged: both on one axis", merge))
    ]
    line = Panel("scatter", "before: A and B on one line", {"A": A.T, "B": B.T}, "x1", "x2")
    return claims, [line, *panels], weakest(s.standing for s in (*shared, *twin))
