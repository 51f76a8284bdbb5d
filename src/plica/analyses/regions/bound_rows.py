"""The rows of `region_bounds`: which theorem applies to what, and its number."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial

from flint import fmpz

from plica.analyses.regions import formulas
from plica.analyses.regions.bound_result import RegionBound, short
from plica.analyses.regions.layers import Layers
from plica.core.progress import Progress

EVERY = "activation regions, hence linear regions, for every choice of the parameters"
MOST = "linear regions, their largest number over all choices of the parameters"
NOT_DENSE = "about fully connected layers; this network has others"
TRIED = 100  # numbers of inputs that "fewer inputs" tries, all of them or a geometric sequence
MATRIX_INPUTS = 256  # inputs up to which the bound of Hinz and van de Geer is multiplied out


@dataclass(frozen=True)
class Case:
    """What the bounds are asked for, and the rows so far."""

    layers: Layers
    kind: str
    rank: int
    progress: Progress
    rows: list[RegionBound] = field(default_factory=list)

    @property
    def inputs(self) -> int:
        """Dimension of the input space."""
        return self.layers.inputs

    @property
    def widths(self) -> tuple[int, ...]:
        """Units per layer."""
        return self.layers.widths

    def add(
        self, name: str, side: str, source: str, value: Callable[[], int], *,
        when: str = "any widths", refused: str = "", note: str = "",
    ) -> None:  # fmt: skip
        """Append a row; `refused` says why it does not apply."""
        self.progress.check()
        decimal = None if refused else str(fmpz(value()))
        of = EVERY if side == "upper" else MOST
        self.rows.append(RegionBound(name, side, decimal, of, when, source, refused or note))


# --- rectifiers ----------------------------------------------------------------------------------------------------


def rectifier_rows(case: Case) -> None:
    """Rows of a chain of rectifier layers; lower bounds hold for maxout units too, as max{0, z}."""
    n0, widths = case.inputs, case.widths
    relu = case.kind == "relu"
    wide = "n_l >= n_0" if relu else "n_l >= n_0; a rectifier is max{0, z}"
    narrow = "" if min(widths, default=n0) >= n0 else f"needs every width to be at least the {n0} inputs"
    narrow = narrow if widths else "there is no hidden layer"
    narrow = narrow if case.layers.is_dense else NOT_DENSE
    for name, source, value in (
        ("Pascanu et al. 2013", "Pascanu, Montúfar, Bengio (2013), Theorem 1", formulas.pascanu2013),
        ("Theorem 4", "Montúfar et al. (2014), Theorem 4", formulas.theorem4),
        ("eq. (7)", "Montúfar et al. (2014), appendix B, eq. (7)", formulas.equation7),
        (
            "Serra et al. 2018",
            "Serra et al. (2018), Theorem 7, remainders used as in eq. (7)",
            formulas.serra2018_lower,
        ),
    ):
        case.add(name, "lower", source, partial(value, n0, widths), when=wide, refused=narrow)
    case.add("fewer inputs", "lower", "Serra et al. (2018), Theorem 7, on m <= n_0 inputs, best m",
             lambda: _fewer_inputs(case), when="any widths; the other inputs are not read",
             refused="" if case.layers.is_dense else NOT_DENSE)  # fmt: skip
    if relu:
        _rates(case)
        _rectifier_upper(case)


def _fewer_inputs(case: Case) -> int:
    """The best of the lower bounds that read m of the inputs only."""
    most = min((case.inputs, *case.widths)) if case.widths else 0
    tried = {round(most ** (i / TRIED)) for i in range(TRIED + 1)} if most > TRIED else range(1, most + 1)
    return max((formulas.serra2018_lower(m, case.widths) for m in tried), default=1)


def _rates(case: Case) -> None:
    """Corollary 5 and appendix C, which are about n_l = n tending to infinity."""
    n0, depth = case.inputs, len(case.widths)
    if not depth:
        return
    parameters = sum((a + 1) * b for a, b in zip((n0, *case.widths), case.widths, strict=False))
    of = f"Omega((n/{n0})^{(depth - 1) * n0} n^{n0}) linear regions"
    case.rows.append(RegionBound(
        "Corollary 5", "rate", None, MOST, f"n_0 = {n0}, L = {depth} fixed, all widths n to infinity",
        "Montúfar et al. (2014), Corollary 5", of,
    ))  # fmt: skip
    per = ""
    if case.rows[2].value is not None and parameters:
        per = (
            f"; here eq. (7) per parameter is {_ratio(Fraction(case.rows[2].value, parameters))} ({parameters} of them)"
        )
    note = f"Omega((n/n_0)^(n_0 (L-1)) n^(n_0-2) / L); shallow O(L^(n_0-1) n^(n_0-1)){per}"
    case.rows.append(RegionBound(
        "appendix C", "rate", None, "linear regions per parameter", "n_0 fixed, all widths n to infinity",
        "Montúfar et al. (2014), appendix C (its gamma is n)", note,
    ))  # fmt: skip


def _ratio(value: Fraction) -> str:
    """A rate in few digits."""
    return f"{float(value):.4g}" if value < 10**15 else short(str(fmpz(int(value))))


def _rectifier_upper(case: Case) -> None:
    """Upper bounds, and Zaslavsky's number, which is both."""
    n0, widths = case.inputs, case.widths
    case.add("Proposition 3", "upper", "Montúfar et al. (2014), Proposition 3: 2^N", lambda: 2 ** sum(widths))
    one = "" if len(widths) == 1 else f"needs one hidden layer, there are {len(widths)}"
    for side in ("upper", "lower"):
        refused = one if side == "upper" or case.layers.is_dense else NOT_DENSE
        case.add("Zaslavsky", side, "Zaslavsky (1975); Pascanu et al. (2013), Proposition 5",
                 lambda: formulas.zaslavsky(widths[0], n0), when="one hidden layer", refused=refused or one,
                 note="attained if and only if the hyperplanes are in general position")  # fmt: skip
    layers = case.layers
    case.add("Montúfar 2017", "upper", "Montúfar (2017), Proposition 3",
             lambda: formulas.montufar2017(n0, layers.faces, layers.dimensions))  # fmt: skip
    case.add("Serra et al. 2018", "upper", "Serra et al. (2018), Theorem 1, sum over the index set J",
             lambda: formulas.serra2018(n0, widths))  # fmt: skip
    many = f"not multiplied out for more than {MATRIX_INPUTS} inputs; it equals Serra et al. 2018"
    case.add("Hinz, van de Geer 2019", "upper", "Hinz, van de Geer (2019), matrix products with binomial histograms",
             lambda: formulas.hinz2019(n0, widths), refused=many if n0 > MATRIX_INPUTS else "")  # fmt: skip


# --- maxout --------------------------------------------------------------------------------------------------------


def maxout_rows(case: Case) -> None:
    """Rows that only maxout units have."""
    if case.kind != "maxout":
        return
    n0, widths, k = case.inputs, case.widths, case.rank
    depth, n = len(widths), widths[0] if widths else 0
    one = "" if depth == 1 else f"needs one hidden layer, there are {depth}"
    case.add("Proposition 7", "lower", "Montúfar et al. (2014), Proposition 7: k^min(n, m)",
             lambda: k ** min(n0, n), when="one hidden layer", refused=one)  # fmt: skip
    case.add("Theorem 8", "lower", "Montúfar et al. (2014), Theorem 8: k^(L-1) k^n_0",
             lambda: k ** (depth - 1 + n0), when="all widths n_0; n_0 >= 2 or k = 2", refused=_theorem8_refused(case),
             note="the printed construction needs an even k <= 2 n_0; rotated k-gons serve the rest")  # fmt: skip
    twice = "" if k == 2 and set(widths) <= {n0} else "needs rank 2 and all widths n_0"
    case.add("rank 2 as rectifiers", "lower", "Montúfar et al. (2014), section 4: 2^(n_0 L)",
             lambda: 2 ** (n0 * depth), when="rank 2, all widths n_0", refused=twice,
             note="|z| = max{z, -z} is two rectifiers")  # fmt: skip
    small = "" if min(widths, default=n0) >= n0 else f"needs every width to be at least the {n0} inputs"
    case.add("maxout folding", "lower", "folds by convex and concave units in turn, as Montúfar, Ren, Zhang (2022)",
             lambda: formulas.maxout_lower(n0, widths, k), when="n_l >= n_0", refused=small)  # fmt: skip
    case.add("patterns", "upper", "as Proposition 3: k^N", lambda: k ** sum(widths))
    case.add("Proposition 7", "upper", "Montúfar et al. (2014), Proposition 7: min(sum C(k^2 m, j), k^m)",
             lambda: min(formulas.zaslavsky(k * k * n, n0), k**n), when="one hidden layer",
             refused=one)  # fmt: skip
    pairs = [{1: k * (k - 1) // 2 * m} for m in widths]
    reached = [min((n0, *widths[:i])) for i in range(depth)]
    case.add("Serra et al. 2018", "upper", "Serra et al. (2018), maxout: product of sum C(k(k-1)/2 n_l, j)",
             lambda: formulas.montufar2017(n0, pairs, reached))  # fmt: skip
    case.add("Montúfar, Ren, Zhang 2022", "upper", "Montúfar, Ren, Zhang (2022): product of sum C(n_l, j) (k-1)^j",
             lambda: formulas.montufar2017(n0, case.layers.faces),
             note="attained where there is one hidden layer" if depth == 1 else "")  # fmt: skip


def _theorem8_refused(case: Case) -> str:
    """Why Theorem 8 does not apply, or nothing."""
    if set(case.widths) != {case.inputs}:
        return "needs all widths to be n_0"
    if case.inputs == 1 and case.rank >= 3 and len(case.widths) > 1:
        return (
            "false for n_0 = 1 and k >= 3: a convex function of one variable takes a value at most twice, so two units "
            "of rank 3 make at most 7 linear regions, not 9"
        )
    return ""


# --- any network ---------------------------------------------------------------------------------------------------


def network_rows(case: Case) -> None:
    """Rows of a graph with any choices: upper bounds only."""
    layers = case.layers
    case.add("patterns", "upper", "as Proposition 3: product of the branches of all units",
             lambda: math.prod((f + 1) ** n for layer in layers.faces for f, n in layer.items()))  # fmt: skip
    case.add("Montúfar 2017", "upper", "as Montúfar (2017), with f faces per unit: product of sum e_j(f)",
             lambda: formulas.montufar2017(layers.inputs, layers.faces, layers.dimensions),
             when="any graph of affine nodes and choices")  # fmt: skip
