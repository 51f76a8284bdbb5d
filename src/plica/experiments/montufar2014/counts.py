"""Every bound for the number of linear regions against exact counts of small networks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import plica
from plica.analyses.regions.bound_result import BoundsResult
from plica.analyses.regions.chain import Chain, Construction
from plica.analyses.regions.constructions import (
    absolute_value_network,
    catalan_network,
    folding_network,
    maxout_folding_network,
    maxout_network,
    shi_network,
)
from plica.core.network import Network
from plica.core.result import Standing
from plica.experiments.figure import Claim, Made, Panel, Setting
from plica.experiments.montufar2014.whole import number_of

RECTIFIERS = ((1, (3, 4)), (2, (6,)), (2, (4, 4)), (2, (5, 4, 3)), (3, (4, 3)))
MAXOUT = ((2, (3,), 3), (2, (2, 2), 3), (2, (3, 2), 2))
SAMPLES = 3  # random networks of each architecture, quick


def table_of_bounds(setting: Setting) -> Made:
    """Constructions attain their numbers; random networks stay below every upper bound."""
    built = list(_built(setting))
    drawn = list(_drawn(setting))
    claims = [claim for claim, _, _ in built] + [claim for found, _, _ in drawn for claim in found]
    return claims, (_attained(built), _random(drawn)), Standing.RIGOROUS


def known() -> Iterator[tuple[str, Construction]]:
    """The networks of the proofs, small enough to count."""
    yield "eq. (7), 1-3-4-5", folding_network(1, [3, 4, 5])
    yield "eq. (7), 2-5-4-3", folding_network(2, [5, 4, 3])
    yield "Theorem 4, 3-6-4", folding_network(3, [6, 4])
    yield "eq. (7) with p + 1 folds (Serra et al. 2018), 2-6-6-4", folding_network(2, [6, 6, 4], most=True)
    yield "Fig. 2: 2 inputs, 3 layers of absolute values", absolute_value_network(2, 3)
    yield "section 4: rank-2 maxout, 2 inputs, 2 layers", absolute_value_network(2, 2, kind="maxout")
    yield "Theorem 8: 2 inputs, 3 layers, rank 3", maxout_network(2, 3, 3)
    yield "Theorem 8: 2 inputs, 2 layers, rank 4", maxout_network(2, 2, 4)
    yield "Example 9: Shi arrangement of 3 variables", shi_network(3)
    yield "Example 9: Shi arrangement of 4 variables", shi_network(4)
    yield "Example 9: Catalan arrangement of 3 variables", catalan_network(3)
    yield "maxout folding, 2-4-4-2, rank 3", maxout_folding_network(2, [4, 4, 2], 3)


def random_network(inputs: int, widths: tuple[int, ...], rank: int, rng: np.random.Generator) -> Network:
    """Normal weights and biases; rectifiers, or maxout units where `rank` is not 0."""
    chain, size, many = Chain(inputs), inputs, rank or 1
    for level, n in enumerate(widths, 1):
        weight = rng.normal(size=(n * many, size)) * np.sqrt(2 / size)
        chain.affine(f"units{level}", weight, 0.3 * rng.normal(size=n * many))
        chain.choose(f"choice{level}", "maxout" if rank else "relu", rank or 2)
        size = n
    return chain.network()


def _built(setting: Setting) -> Iterator[tuple[Claim, int, int]]:
    for name, built in known():
        found = number_of(built.network, built.domain, setting)
        sign = "" if built.exact else "at least "
        holds = found == built.regions if built.exact else found >= built.regions
        reason = "" if built.exact else "The proof counts one cone's pieces per fold; the whole space has more."
        yield (Claim(f"construction: {name}", f"{sign}{built.regions:,}", f"{found:,}", holds, reason),
               built.regions, found)  # fmt: skip


def _drawn(setting: Setting) -> Iterator[tuple[list[Claim], BoundsResult, int]]:
    """Random networks in the whole input space."""
    cases = [(n, widths, 0) for n, widths in RECTIFIERS] + list(MAXOUT)
    for number, (n, widths, rank) in enumerate(cases):
        counts = []
        for sample in range(10 * SAMPLES if setting.full else SAMPLES):
            net = random_network(n, widths, rank, np.random.default_rng([setting.seed, number, sample]))
            counts.append(number_of(net, None, setting))
        bounds = plica.region_bounds(widths, inputs=n, kind="maxout" if rank else "relu", rank=rank or None)
        units = f"{n}-{'-'.join(map(str, widths))}" + (f", rank {rank}" if rank else "")
        yield [_row(f"{units}: {row.name}", row.side, row.value, max(counts), len(counts))
               for row in bounds.rows if row.value is not None], bounds, max(counts)  # fmt: skip


def _row(what: str, side: str, value: int, most: int, samples: int) -> Claim:
    """An upper bound is for every network; a lower one says that some network has so many."""
    found = f"{most:,} is the most of {samples} random networks"
    if side == "upper":
        return Claim(what, f"at most {value:,}", found, most <= value)
    return Claim(what, f"some network has {value:,} linear regions", f"{found}, activation regions", None,
                 "About the best weights: shown by the constructions, not by random weights.")  # fmt: skip


def _attained(built: list[tuple[Claim, int, int]]) -> Panel:
    numbers = np.array([(promised, found) for _, promised, found in built], dtype=np.float64).T
    places = np.arange(numbers.shape[1], dtype=np.float64) + 1
    series = {"proven": np.stack([places, numbers[0]]), "counted": np.stack([places, numbers[1]])}
    return Panel("bars", "Constructions, in the table's order", series, "construction", "regions", "y")


def _random(drawn: list[tuple[list[Claim], BoundsResult, int]]) -> Panel:
    places = np.arange(len(drawn), dtype=np.float64) + 1
    rows = {
        "best lower bound": [float(bounds.lower) for _, bounds, _ in drawn],
        "random, most": [float(most) for _, _, most in drawn],
        "best upper bound": [float(bounds.upper) for _, bounds, _ in drawn],
    }
    series = {name: np.stack([places, np.array(values)]) for name, values in rows.items()}
    return Panel("bars", "Random networks between the bounds", series, "architecture", "regions", "y")
