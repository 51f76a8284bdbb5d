"""The claim that no input near a given one has another class, from a result with proven bounds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from plica import checker, exact_model
from plica.analyses.adversarial.exact import prepare, smallest
from plica.analyses.adversarial.result import DistortionResult
from plica.certificates.bracket import proof
from plica.core.domain import Box
from plica.core.progress import Progress
from plica.errors import ArgumentError


def bound_claim(
    model: Any, result: DistortionResult, X: Any, index: int, progress: Progress, box: Box | None = None
) -> dict[str, Any]:
    """Search once more around one image, and record what excludes every other class.

    Raises
    ------
    ArgumentError
        Where nothing is proven of the image, for values of a layer, or where the checker does not accept the proof.

    Notes
    -----
    The box is the one given, else that of the result, else the network's own, else none. The claim is about all other
    classes, whatever targets the result had.
    """
    if X is None or not 0 <= index < len(result.label):
        raise ArgumentError(f"certify: give the inputs X of the result, and an index below {len(result.label)}.")
    if result.layer or not result.lower_bound[index] > 0:
        raise ArgumentError(f"certify: no bound above 0 is proven for input {index}. Use min_distortion(exact=True).")
    x = model.net.as_batch(np.asarray(X))[index].double().cpu().numpy().ravel()
    allowed = box or _recorded(result, x) or model.net.box
    label, far = int(result.label[index]), float(result.distance[index])
    known = np.asarray(result.x_adv[index], dtype=np.float64) if math.isfinite(far) else None
    found = smallest(prepare(model.net), x, label, norm=result.norm, box=allowed, upper=known, progress=progress)
    output = model.of(model.net.output)
    given = exact_model.point(model.graph, [float(v).hex() for v in x])[model.graph.input]
    around = {model.graph.input: exact_model.add(exact_model.columns(given.shape, 0), given)}
    read = exact_model.network(model.graph, output, around)
    claim = None if found.tree is None else proof(found.tree, read, progress)
    if claim is None:
        raise ArgumentError(f"certify: no proof was found for input {index}. Give more time (progress).")
    claim |= {"claim": "bound", "label": label, "output": output}
    try:
        checker.bound_claim(model.graph, claim)
    except Exception as error:
        raise ArgumentError(f"certify: the checker does not accept the proof for input {index} ({error}).") from error
    return claim


def _recorded(result: DistortionResult, x: np.ndarray) -> Box | None:
    """The box that a result says it was computed in."""
    ends = [result.header.get(key) for key in ("box_lower", "box_upper")]
    if any(end is None for end in ends):
        return None
    return Box(*(np.broadcast_to(np.asarray(end, dtype=np.float64).ravel(), x.shape).copy() for end in ends))
