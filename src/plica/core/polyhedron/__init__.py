"""Polyhedra {x : G x <= h, E x = e}: exact decisions, extents, corners, samples."""

from plica.core.polyhedron.body import Polyhedron
from plica.core.polyhedron.corners import FacetRows
from plica.core.polyhedron.decide import Decision
from plica.core.polyhedron.extent import Centre, Support

__all__ = ["Centre", "Decision", "FacetRows", "Polyhedron", "Support"]
