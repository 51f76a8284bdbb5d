"""A sample of the report's own claims, proven again: certificates, and the verdicts of the checker on them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from plica.analyses.adversarial import DistortionResult
from plica.analyses.preimage import PreimageResult
from plica.analyses.preimage.result import ImpostorResult, Kind, KindResult
from plica.certificates import VerifyResult, certify, verify
from plica.core.progress import Progress
from plica.core.result import Completeness
from plica.errors import BudgetReached, PlicaError
from plica.experiments.report.model import Done, Job, Part, model_facts
from plica.show.words import slug

CLAIMED = (Kind.SINGLETON, Kind.COMPACT, Kind.UNBOUNDED)
PER_LAYER = 1
ENTRIES = 300_000  # of a layer's matrix, above which exact solves take more than seconds; larger layers are left out
WEIGHTS = 300_000  # of a network, likewise for its exact evaluation
SEARCHED = 60_000  # of a network, up to which bounds and whole preimages are proven again
PIECES = 12  # of a whole preimage, above which its proof takes more than seconds
EACH = 6.0  # seconds for one proof

Claimed = KindResult | ImpostorResult | DistortionResult | PreimageResult


def _proofs(job: Job, progress: Progress, done: Done) -> Iterator[VerifyResult]:
    """Certificates of claims drawn at random, each checked against the model's file."""
    X = np.reshape(job.images.images, (-1, *job.net.input_shape))
    for k, (result, index) in enumerate(_sample(job, done)):
        path = job.folder / "certificates" / job.name / f"{k}-{slug(result.layer or 'bound')}.json"
        try:
            progress.check()
            clock = Progress(max_seconds=min(EACH, progress.seconds_left), max_bytes=progress.max_bytes)
            certify(result, job.net, X, path=path, index=index, progress=clock)
        except BudgetReached:
            if progress.seconds_left <= 0:
                return
            continue
        except PlicaError:
            continue  # one branch of several has no certificate; or no exact proof fits: the claim keeps its standing
        yield _checked(job, path, result, index)


def _sample(job: Job, done: Done) -> Iterator[tuple[Claimed, int]]:
    """An image of every layer that is small enough, the first impostor, a bound, and the first whole preimage."""
    rng = np.random.default_rng(job.seed)
    for result in done:
        if isinstance(result, KindResult) and math.prod(result.shape) <= ENTRIES:
            decided = np.flatnonzero(np.isin(result.kinds, [kind.value for kind in CLAIMED]))
            for index in rng.permutation(decided)[:PER_LAYER].tolist():
                yield result, index
    pairs = [result for result in done if isinstance(result, ImpostorResult)]
    if pairs and model_facts(job)["parameters"] <= WEIGHTS:
        yield pairs[0], 0
    if model_facts(job)["parameters"] <= SEARCHED:
        yield from _searched(done, rng)


def _searched(done: Done, rng: np.random.Generator) -> Iterator[tuple[Claimed, int]]:
    """What a search over branches has proven: a lower bound above 0, and a whole preimage within the images' range."""
    for result in done:
        if isinstance(result, DistortionResult) and result.standing.is_proof:
            above = np.flatnonzero((result.lower_bound > 0) & np.isfinite(result.distance))
            for index in rng.permutation(above)[:PER_LAYER].tolist():
                yield result, index
    whole = [r for r in done if isinstance(r, PreimageResult) and len(r.points) <= PIECES and "image" in r.header]
    for result in whole:
        closed = result.completeness in (Completeness.COMPLETE, Completeness.INFEASIBLE)
        if closed and np.isfinite([result.lower, result.upper]).all():
            yield result, int(result.header["image"])
            return


def _checked(job: Job, path: Path, result: Claimed, index: int) -> VerifyResult:
    """The checker's verdict, with the names of the two files."""
    beside = path.with_suffix(".safetensors")
    model = beside if beside.exists() else Path(job.net.origin.path)
    verdict = verify(path, model)
    names = {"certificate": str(path.relative_to(job.folder)), "image": index, "layer": result.layer}
    names["model"] = str(beside.relative_to(job.folder)) if beside.exists() else model.name
    return replace(verdict, header={**verdict.header, **names})


def _lines(results: Done) -> Iterator[str]:
    checks = [r for r in results if isinstance(r, VerifyResult)]
    if checks:
        yield f"{sum(map(bool, checks))} of {len(checks)} claims drawn at random accepted by the checker, in integers"


PARTS = (Part("certificates", 0.5, _proofs, _lines),)
