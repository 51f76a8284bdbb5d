"""What is asked about regions: a network in the domain's own coordinates, and the domain in them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from plica.analyses.regions.planar_window import window_of
from plica.analyses.regions.solid import VERTEX_VARIABLES, domain_mark
from plica.analyses.regions.solid_domain import domain_of, is_bounded
from plica.analyses.regions.solid_frontier import mark_of
from plica.core.domain import Ball, Box, Plane, Segment
from plica.core.network import Network
from plica.core.polyhedron import Polyhedron
from plica.errors import ArgumentError, DataError

Where = Box | Ball | Polyhedron | Plane | Segment
INSTEAD = "Take them in parts, plica.stream_regions, or count them, plica.count_regions."


@dataclass(frozen=True, eq=False)
class Question:
    """A network of the domain's own coordinates, the domain in them, and the way back to inputs."""

    net: Network
    where: Box | Ball | Polyhedron | None
    origin: np.ndarray | None = None
    basis: np.ndarray | None = None

    @property
    def dimension(self) -> int:
        """Number of coordinates."""
        return math.prod(self.net.input_shape)

    @property
    def planar(self) -> bool:
        """Whether the planar engine takes it."""
        round_ = isinstance(self.where, Ball) and self.where.norm == 2.0
        return self.dimension == 2 and not round_ and is_bounded(self.where)


def question_of(net: Network, domain: Any) -> Question:
    """The network in the domain's own coordinates."""
    if domain is not None and not isinstance(domain, Where):
        raise ArgumentError(
            f"domain: it is of type {type(domain).__name__}; give a plica.Box, Ball, Polyhedron, Plane or Segment, or "
            "None for all of space."
        )
    if isinstance(domain, Segment):
        domain = domain.plane()
    if not isinstance(domain, Plane):
        return Question(net, domain)
    if domain.window is None:
        raise ArgumentError(
            "domain: the plane is unbounded; give it a window, Plane(origin, basis, Box(lower, upper))."
        )
    if np.linalg.matrix_rank(domain.basis) < domain.dimension:
        raise DataError(
            f"domain: its basis spans less than {domain.dimension} dimensions (equal ends of a segment, or points on a "
            "line); give points that span it."
        )
    return Question(net.on(domain), domain.window, domain.origin, domain.basis)


def listable(asked: Question) -> Box | Ball | Polyhedron:
    """The domain, where its regions can be listed."""
    if asked.where is None or not is_bounded(asked.where):
        raise ArgumentError("domain: it is unbounded; bound it, or only count: plica.count_regions.")
    if asked.dimension > VERTEX_VARIABLES:
        raise ArgumentError(
            f"domain: it has {asked.dimension} dimensions; regions are listed with their vertices in up to "
            f"{VERTEX_VARIABLES}. Count them (plica.count_regions), or list those on a slice "
            "(plica.Plane.through(points))."
        )
    return asked.where


def check_numbers(most: int | None, threads: int) -> None:
    """Refuse numbers below 1."""
    for name, value in (("max_regions", most), ("threads", threads)):
        if value is not None and value < 1:
            raise ArgumentError(f"{name} is {value}; it must be 1 or more.")


def mark(asked: Question) -> str:
    """What tells apart bounded questions: a hash of the network and of the domain's sides."""
    assert asked.where is not None  # bounded
    domain = domain_of(asked.where, asked.dimension)
    return mark_of(asked.net, tuple(window_of(domain).lines)) if asked.planar else domain_mark(asked.net, domain)
