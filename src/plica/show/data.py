"""What the report page is made of: saved results and the facts of the run. Nothing here computes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, TypeVar

from plica.analyses.preimage.result import FacetResult, ImpostorResult, KindResult
from plica.core.result import Completeness, Result, Standing, weakest

R = TypeVar("R", bound=Result)


@dataclass(frozen=True)
class ModelPart:
    """Everything the report says about one model.

    Parameters
    ----------
    name : str
        Name of the model, as printed; letters, digits, dashes.
    facts : dict
        Facts of this model; the keys of `ReportData.facts`. A key that is missing here is looked up there.
    results : tuple of Result
        All results of this model, in the order they were computed. A section takes those of its own types with `of`.
    image_shape : tuple of int or None
        How to draw one input: (h, w), (1, h, w), (3, h, w) or (h, w, 3); None where inputs are not images.
    """

    name: str
    facts: dict[str, Any] = field(default_factory=dict)
    results: tuple[Result, ...] = ()
    image_shape: tuple[int, ...] | None = None

    def of(self, kind: type[R]) -> tuple[R, ...]:
        """Results of one type."""
        return tuple(r for r in self.results if isinstance(r, kind))

    @property
    def kinds(self) -> tuple[KindResult, ...]:
        """Kinds of preimages, one result per layer, in the order of the network."""
        return self.of(KindResult)

    @property
    def facets(self) -> FacetResult | None:
        """Distances to the nearest facet, per choice layer."""
        return next(iter(self.of(FacetResult)), None)

    @property
    def impostors(self) -> tuple[ImpostorResult, ...]:
        """The pairs to show, the most striking first."""
        return self.of(ImpostorResult)


@dataclass(frozen=True)
class ReportData:
    """Everything the report page shows.

    Parameters
    ----------
    facts : dict
        All keys are optional; what is missing is not shown.

        ``model`` (name), ``architecture`` (one line), ``units``, ``parameters``, ``file`` (path or name),
        ``accuracy`` (share in [0, 1] or None), ``images`` (count), ``data`` (name), ``dtype`` (of the original model),
        ``import_difference`` (largest difference between the network and the original on random
        inputs, as a share of the largest output), ``seconds``, ``cores``,
        ``seed``, ``notices`` (list of sentences), ``versions``, ``hashes``, ``options``, ``timings`` (dicts of name
        to value; timings in seconds), ``command`` (the line that made the report).
    models : tuple of ModelPart
        The models, in the order shown.
    """

    facts: dict[str, Any]
    models: tuple[ModelPart, ...]

    def fact(self, part: ModelPart, key: str) -> Any:
        """Return a fact of a model, or of the whole run where the model has none; None where it is not known."""
        value = part.facts.get(key, self.facts.get(key))
        return None if isinstance(value, float) and math.isnan(value) else value


def standing_of(results: tuple[Result, ...]) -> Standing:
    """Weakest standing of some results: a claim over all of them is as sure as that."""
    return weakest(r.standing for r in results)


def completeness_of(results: tuple[Result, ...]) -> Completeness:
    """Least complete of some results."""
    order = list(Completeness)
    return max((Completeness(r.completeness) for r in results), key=order.index, default=Completeness.COMPLETE)
