"""All use of LP and QP solvers: HiGHS for linear programs, daqp and a dual Newton method for nearest points, NNLS.

Answers are floats within the solvers' tolerances: search here, decide in `plica.core.exact`.
"""

from plica.core.solve.linear import LPSolution, linear_program, nnls
from plica.core.solve.nearest import NearestPoint, nearest_point
from plica.core.solve.system import Bounds, Matrix

__all__ = ["Bounds", "LPSolution", "Matrix", "NearestPoint", "linear_program", "nearest_point", "nnls"]
