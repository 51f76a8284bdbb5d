"""Deep preimages: all inputs with one activity at a layer, or that reach a set (Carlsson et al. 2017, s. 3)."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import torch

from plica.analyses.preimage.union_set import Preimage, Question
from plica.analyses.preimage.union_target import checked_box, inside, levels, wins
from plica.core.domain import Box
from plica.core.exact import columns as exact
from plica.core.network import INPUT, Network
from plica.core.polyhedron import Polyhedron
from plica.core.progress import Progress
from plica.errors import ArgumentError, DataError, ShapeError


def preimage(
    net: Network,
    x: np.ndarray,
    *,
    layer: str | int,
    from_layer: str | int | None = None,
    domain: Box | None = None,
    progress: Progress | None = None,
) -> Preimage:
    """All inputs with exactly the activity of x at a layer, as a lazy union of polyhedra.

    Parameters
    ----------
    net : Network
    x : array, shape input_shape
        The witness. Its activity is taken in exact arithmetic, so that a layer with more units than inputs does not
        contradict itself.
    layer : str or int
        Name or index of the layer, as ``plica info`` prints them; what comes out of it is kept.
    from_layer : str or int, optional
        A layer before it: the preimage then lies in the space of its outputs. Everything between must read it alone.
    domain : Box, optional
        Allowed inputs (or outputs of `from_layer`); the whole space by default.
    progress : Progress, optional
        Budgets and listener.

    Returns
    -------
    Preimage
        Nothing is searched before it is asked for.

    Raises
    ------
    ArgumentError, ShapeError, DataError
        For a layer that is not there, an x that is not one finite input, a domain of another size.

    Notes
    -----
    Cost: depends on how many patterns have a point, which may be astronomical; `Preimage.pieces` is a stream, and
    budgets end it.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from plica.core.affine import Dense
    >>> from plica.core.choice import relu
    >>> from plica.core.network import Graph
    >>> graph = Graph((1,))
    >>> _ = graph.add("a", Dense(torch.tensor([[1.0], [-1.0]]).double(), None, (1,)), "input")
    >>> _ = graph.add("fold", relu((2,)), "a")
    >>> _ = graph.add("b", Dense(torch.tensor([[1.0, 1.0]]).double(), None, (2,)), "fold")
    >>> _ = graph.add("out", relu((1,)), "b")
    >>> both = preimage(graph.network(), np.array([3.0]), layer="out")
    >>> str(both.kind), both.vertices().tolist()
    ('finite', [[-3.0], [3.0]])
    """
    name, point = net.resolve(layer), _one(net, x)
    if name == INPUT:
        raise ArgumentError("layer = 'input': the input keeps everything; name a later layer.")
    start = exact.Columns.of(point)
    values, _ = exact.forward(net.upto(name).nodes, start)
    source, part = INPUT, net.upto(name)
    if from_layer is not None:
        source = net.resolve(from_layer)
        if source not in values or source == name:
            raise ArgumentError(f"from_layer = {from_layer!r} does not come before layer {name!r}.")
        start, part = values[source], part.after(source) if source != INPUT else part
    box = checked_box(domain, math.prod(part.input_shape))
    conditions = levels(part, name, values[name])
    return Preimage(Question(part, name, source, "the activity of x", conditions, box, start), progress)


def preimage_of(
    net: Network,
    target: Polyhedron | tuple[np.ndarray, float] | int,
    *,
    layer: str | int,
    domain: Box | None = None,
    progress: Progress | None = None,
) -> Preimage:
    """All inputs that a layer sends into a set.

    Parameters
    ----------
    net : Network
    target : Polyhedron, (y, tolerance) or int
        A polyhedron in the layer's flat outputs; outputs within a tolerance of y, unit by unit; or the number of the
        unit whose output is a largest one (class k wins, ties included).
    layer, domain, progress
        As in `preimage`.

    Returns
    -------
    Preimage
        Of kind EMPTY, with a proof, when no input reaches the target.

    Raises
    ------
    ArgumentError, ShapeError, DataError
        For a target that does not fit the layer.
    """
    name = net.resolve(layer)
    if name == INPUT:
        raise ArgumentError("layer = 'input': name a later layer.")
    part, units = net.upto(name), math.prod(net.shape_of(name))
    box = checked_box(domain, math.prod(net.input_shape))
    if isinstance(target, Polyhedron):
        if target.ambient != units:
            raise ShapeError(f"The target has {target.ambient} variables; layer {name!r} has {units} units.")
        conditions, words = inside(name, target.G, target.h, target.E, target.e), "a polyhedron"
    elif isinstance(target, (int, np.integer)):
        if not 0 <= target < units:
            raise ArgumentError(f"target = {target}: layer {name!r} has units 0 to {units - 1}.")
        conditions, words = wins(part, name, int(target)), f"unit {target} is a largest one"
    else:
        y, tolerance = _tolerant(target, units)
        column, room = exact.Columns.of(y), Fraction(tolerance)
        conditions, words = levels(part, name, column, room), f"outputs within {tolerance:g} of y"
    return Preimage(Question(part, name, INPUT, words, conditions, box, None), progress)


def _tolerant(target: object, units: int) -> tuple[np.ndarray, float]:
    """A (y, tolerance) pair, checked."""
    if not (isinstance(target, tuple) and len(target) == 2):
        raise ArgumentError("target: give a plica.Polyhedron, a pair (y, tolerance), or the number of a unit.")
    try:
        y, tolerance = np.asarray(target[0], dtype=np.float64).ravel(), float(target[1])
    except (TypeError, ValueError) as error:
        raise DataError(f"target: y and its tolerance must be numbers ({error}).") from None
    if len(y) != units:
        raise ShapeError(f"y has {len(y)} entries; the layer has {units} units.")
    bad = np.flatnonzero(~np.isfinite(y))
    if len(bad):
        raise DataError(f"y has {len(bad)} entries that are NaN or infinite, first at {bad[0]}; give finite outputs.")
    if not 0 <= tolerance < math.inf:
        raise DataError(f"tolerance = {tolerance:g}: give a finite number that is not negative.")
    return y, tolerance


def _one(net: Network, x: np.ndarray) -> np.ndarray:
    """One finite input, flat."""
    batch = net.as_batch(x)
    if len(batch) != 1:
        raise ArgumentError(f"x holds {len(batch)} inputs; give one input of shape {net.input_shape}.")
    if not bool(torch.isfinite(batch).all()):
        raise DataError("x holds NaN or infinite entries; give a finite input.")
    return batch[0].flatten().cpu().numpy()
