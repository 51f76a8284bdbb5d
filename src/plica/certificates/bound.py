"""The claim that no input near a given one has another class, from a result with proven bounds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from plica import bound_checker, checker
from plica.analyses.adversarial.exact import prepare, proof, smallest
from plica.analyses.adversarial.result import DistortionResult
from plica.core.progress import Progress
from plica.errors import ArgumentError


def bound_claim(model: Any, result: DistortionResult, X: Any, index: int, progress: Progress) -> dict[str, Any]:
    """Search once more around one image, and record what excludes every other class.

    Raises
    ------
    ArgumentError
        Where nothing is proven of the image, for values of a layer, or where the checker does not accept the proof.

    Notes
    -----
    The box is the network's own, and none without one: a result that was computed within a smaller box may have a
    larger bound than the certificate. The claim is about all other classes, whatever targets the result had.
    """
    if X is None or not 0 <= index < len(result.label):
        raise ArgumentError(f"certify: give the inputs X of the result, and an index below {len(result.label)}.")
    if result.layer or not result.lower_bound[index] > 0:
        raise ArgumentError(f"certify: no bound above 0 is proven for input {index}. Use min_distortion(exact=True).")
    x = model.net.as_batch(np.asarray(X))[index].double().cpu().numpy().ravel()
    label, far = int(result.label[index]), float(result.distance[index])
    known = np.asarray(result.x_adv[index], dtype=np.float64) if math.isfinite(far) else None
    found = smallest(prepare(model.net), x, label, norm=result.norm, box=model.net.box, upper=known, progress=progress)
    claim = None if found.tree is None else proof(found.tree, progress)
    if claim is None:
        raise ArgumentError(f"certify: no proof was found for input {index}. Give more time (progress).")
    del claim["margins"]
    claim = {**claim, "label": label, "output": model.of(model.net.output)}
    try:
        bound_checker.bound_claim(vars(checker), model.graph, claim)
    except Exception as error:
        raise ArgumentError(f"certify: the checker does not accept the proof for input {index} ({error}).") from error
    return claim
