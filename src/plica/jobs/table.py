"""The analyses that run in chunks of inputs: where they are, and how the results of chunks become one."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from plica.core.progress import Progress
from plica.core.result import Completeness, Result, Standing, weakest
from plica.errors import ArgumentError
from plica.jobs.result import ManyResult

WORST = (Completeness.INTERRUPTED, Completeness.BUDGET, Completeness.INFEASIBLE)


@dataclass(frozen=True)
class Analysis:
    """One analysis.

    Attributes
    ----------
    address : str
        Module and name of the function ``f(net, X, ..., progress=)``.
    rows : tuple of str
        Fields of its result with one entry per input. Empty: the function takes a single input, and the results
        become a `ManyResult`.
    join : str
        Module and name of a function that joins results, where appending the rows is not enough.
    pairs : bool
        The function takes an input and another to move towards: the next one in the data.
    """

    address: str
    rows: tuple[str, ...] = ()
    join: str = ""
    pairs: bool = False
    each: tuple[str, ...] = ()

    @property
    def function(self) -> Callable[..., Any]:
        """The function itself."""
        return _named(self.address)

    @property
    def seeded(self) -> bool:
        """Whether it draws random numbers for each input."""
        return not self.rows and "seed" in inspect.signature(self.function).parameters


ANALYSES = {
    "preimage_kind": Analysis(
        "plica.analyses.preimage:preimage_kind",
        ("kinds", "dimensions", "positive", "standings", "reasons"),
        "plica.jobs.table:join_kinds",
    ),
    "nearest_facet": Analysis("plica.analyses.preimage:nearest_facet", ("distances", "units")),
    "impostor": Analysis("plica.analyses.preimage:impostor", pairs=True),
    "spectrum": Analysis(
        "plica.analyses.spectrum:spectrum", ("values", "ranks"), "plica.analyses.spectrum.result:join_spectra"
    ),
    "moments": Analysis("plica.analyses.moments:moments"),
    "moment_bounds": Analysis("plica.analyses.moments:moment_bounds"),
    "class_probabilities": Analysis("plica.analyses.moments.uses:class_probabilities"),
    "noise": Analysis("plica.jobs.table:noise_of"),
    "fooling_rate": Analysis(
        "plica.analyses.moments.uses:fooling_rate", ("clean", "shifted", "expected", "orders", "share")
    ),
    "fooling_map": Analysis("plica.analyses.moments.uses:fooling_map", ("fooled", "classes")),
    "min_distortion": Analysis(
        "plica.jobs.table:distortion_of",
        ("x_adv", "distance", "lower_bound", "proven", "l2", "linf", "rms", "label", "target", "status", "c"),
        "plica.jobs.table:join_distortions",
        each=("y",),
    ),
    "certified_radius": Analysis("plica.jobs.table:radius_of", ("radius", "label", "right", "done"), each=("y",)),
}


def _named(address: str) -> Any:
    module, name = address.split(":")
    return getattr(import_module(module), name)


def analysis_named(name: str, options: dict[str, Any]) -> Analysis:
    """Look an analysis up and check the names of its options.

    Raises
    ------
    ArgumentError
        For a name or an option that is not there, or an option that is missing.
    """
    plain = name.replace("-", "_")
    if plain not in ANALYSES:
        raise ArgumentError(f"analysis = {name!r}: choose one of {', '.join(ANALYSES)}.")
    found = ANALYSES[plain]
    parameters = list(inspect.signature(found.function).parameters.values())[3 if found.pairs else 2 :]
    allowed = {p.name: p for p in parameters if p.name != "progress"}
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        raise ArgumentError(f"{plain} has no option {', '.join(unknown)}. It has {', '.join(allowed) or 'none'}.")
    missing = [p.name for p in allowed.values() if p.default is p.empty and p.name not in options]
    if missing:
        raise ArgumentError(f"{plain} needs {', '.join(missing)}. Give {missing[0]}=..., or --set {missing[0]}=...")
    return found


def noise_of(net: Any, x: Any, *, shift: float, variance: float = 2.0, support: float = 1.0, rounds: int = 1,
             target: int | None = None, seed: int = 0, progress: Progress | None = None) -> Result:  # fmt: skip
    """`plica.noise` with its limits as plain numbers.

    Parameters
    ----------
    net, x, target, seed, progress
        As there.
    shift, variance, support, rounds
        The fields of `plica.NoiseLimits`.
    """
    from plica.analyses.moments.uses import NoiseLimits, noise

    return noise(net, x, NoiseLimits(shift, variance, support, rounds), target=target, seed=seed, progress=progress)


def distortion_of(net: Any, X: Any, *, y: Any = None, norm: float = 2.0, targets: Any = "all",
                  box: Sequence[float] | None = None, exact: bool = False, seed: int = 0,
                  progress: Progress | None = None) -> Any:  # fmt: skip
    """`plica.min_distortion` with the box as two numbers.

    Parameters
    ----------
    net, X, y, norm, targets, exact, seed, progress
        As there; `targets` is a rule or one class.
    box : two numbers, optional
        Smallest and largest value that an input may have.
    """
    from plica.analyses.adversarial import min_distortion

    limits = _box(net, box)
    return min_distortion(net, X, y, norm=norm, targets=targets, box=limits, exact=exact, seed=seed, progress=progress)


def radius_of(net: Any, X: Any, *, y: Any = None, norm: float = 2.0, box: Sequence[float] | None = None,
              progress: Progress | None = None) -> Any:  # fmt: skip
    """`plica.certified_radius` with the box as two numbers.

    Parameters
    ----------
    net, X, y, norm, progress
        As there.
    box : two numbers, optional
        Smallest and largest value that an input may have.
    """
    from plica.analyses.adversarial.certified import certified_radius

    return certified_radius(net, X, y, norm=norm, box=_box(net, box), progress=progress)


def _box(net: Any, box: Sequence[float] | None) -> Any:
    """The same two limits for all coordinates of an input, as a domain."""
    from plica.core.domain import Box

    if box is None:
        return None
    if np.shape(box) != (2,):
        raise ArgumentError(f"box = {box}: give the smallest and the largest value of an input, such as [0, 1].")
    size = int(np.prod(net.input_shape))
    return Box(np.full(size, box[0]), np.full(size, box[1]))


def compute(name: str, net: Any, X: np.ndarray, start: int, options: dict[str, Any], progress: Progress) -> Result:
    """Run an analysis on one chunk of inputs.

    Parameters
    ----------
    name : str
        A key of `ANALYSES`.
    net : Network
    X : array, shape (n, *input_shape), or (n, 2, *input_shape) where the analysis takes pairs
    start : int
        Number of the first input in the whole data; an analysis with a seed gets ``seed + number`` for each input.
    options : dict
        Keyword arguments of the analysis.
    progress : Progress
    """
    found = ANALYSES[name]
    if found.rows:
        return found.function(net, X, progress=progress, **options)
    results = []
    for i, x in enumerate(X):
        own = {**options, "seed": int(options.get("seed", 0)) + start + i} if found.seeded else options
        results.append(found.function(net, *(x if found.pairs else (x,)), progress=progress, **own))
        if results[-1].completeness is Completeness.INTERRUPTED:
            break
    return many(name, results)


def many(name: str, results: Sequence[Result]) -> ManyResult:
    """Put results of single inputs together; see `ManyResult`."""
    return ManyResult(
        standing=weakest(r.standing for r in results),
        completeness=_worst(results),
        header={},
        analysis=name,
        results=tuple(dataclasses.replace(r, header={}) for r in results),
    )


def join(name: str, parts: Sequence[Any]) -> Result:
    """Make one result of those of consecutive chunks, as the analysis would have given it for all inputs."""
    found = ANALYSES[name]
    bare = [dataclasses.replace(part, header={}) for part in parts]
    if not found.rows:
        return many(name, [result for part in bare for result in part.results])
    return _named(found.join)(bare) if found.join else append(bare, found.rows)


def append(parts: Sequence[Any], rows: Sequence[str]) -> Any:
    """Append fields with one entry per input; the others must agree.

    Raises
    ------
    ArgumentError
        When the parts do not belong together.
    """
    first: Any = parts[0]
    changed: dict[str, Any] = {}
    for field in dataclasses.fields(first):
        values = [getattr(part, field.name) for part in parts]
        if field.name in ("standing", "completeness", "header"):
            continue
        if field.name in rows and isinstance(values[0], np.ndarray):
            changed[field.name] = np.concatenate(values)
        elif field.name in rows and isinstance(values[0], tuple):
            changed[field.name] = tuple(entry for value in values for entry in value)
        elif any(repr(value) != repr(values[0]) for value in values):
            raise ArgumentError(
                f"Chunks of one job differ in {field.name}: {values[0]!r} and others. Empty the folder."
            )
    return dataclasses.replace(
        first, standing=weakest(part.standing for part in parts), completeness=_worst(parts), **changed
    )


def join_kinds(parts: Sequence[Any]) -> Any:
    """Join results of `preimage_kind`; the standing is the weakest among all decided inputs."""
    whole = append(parts, ANALYSES["preimage_kind"].rows)
    decided = whole.standings[whole.kinds != "undecided"]
    sure = weakest(decided) if len(decided) or not len(whole.kinds) else Standing.NUMERICAL
    return dataclasses.replace(whole, standing=sure)


def join_distortions(parts: Sequence[Any]) -> Any:
    """Join results of `min_distortion`; the passes through the model are added."""
    passes = {name: sum(getattr(part, name) for part in parts) for name in ("forward", "backward")}
    return append([dataclasses.replace(part, **passes) for part in parts], ANALYSES["min_distortion"].rows)


def _worst(parts: Sequence[Result]) -> Completeness:
    states = [part.completeness for part in parts]
    return next((state for state in WORST if state in states), Completeness.COMPLETE)
