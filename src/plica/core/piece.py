"""Pieces: the cells on which a network is affine."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from plica.core.affine import Affine
from plica.core.choice import Choice
from plica.core.exact import columns as exact
from plica.core.network import INPUT, Network
from plica.core.pattern import Pattern, generic_direction, stack_branches
from plica.core.progress import DEFAULT_BYTES, Progress, refuse_above
from plica.core.solve import linear_program
from plica.errors import ArgumentError

if TYPE_CHECKING:
    from plica.core.polyhedron import Polyhedron


EXACT_ENTRIES = 10_000  # rows times variables up to which a facet that floats do not find is looked for exactly


def push(frozen: Network, v: Tensor, *wanted: str) -> dict[str, Tensor]:
    """Linear part of an affine network: values of the named nodes (all by default) for directions v."""
    values = {INPUT: v}
    for node in frozen.nodes:
        if wanted and values.keys() >= set(wanted):
            break
        values[node.name] = node.op.apply(*(values[i] for i in node.inputs))  # type: ignore[union-attr]
    return {name: values[name] for name in wanted} if wanted else values


def pull(frozen: Network, cotangents: dict[str, Tensor]) -> Tensor:
    """Transpose of `push`: the sum over the named values of their maps' transposes."""
    pending = dict(cotangents)
    for node in reversed(frozen.nodes):
        w = pending.pop(node.name, None)
        if w is None:
            continue
        for name, part in zip(node.inputs, node.op.adjoint(w), strict=True):  # type: ignore[union-attr]
            pending[name] = pending[name] + part if name in pending else part
    if INPUT in pending:
        return pending[INPUT]
    batch = max(len(w) for w in cotangents.values())
    return next(iter(cotangents.values())).new_zeros(batch, *frozen.input_shape)


@dataclass(frozen=True, eq=False)
class Piece:
    """One full-dimensional cell of a network and its affine map on it.

    Attributes
    ----------
    network : Network
    pattern : Pattern
        Of one input.
    point : Tensor, shape input_shape, optional
        A point of the (closed) cell.
    """

    network: Network
    pattern: Pattern
    point: Tensor | None = None
    _frozen: Network = field(init=False, repr=False)
    _margins: dict[str, Affine] = field(init=False, repr=False)
    _spans: dict[str, slice] = field(init=False, repr=False)  # where the margins of every choice node stand

    def __post_init__(self) -> None:
        branches = self.pattern.branches
        margins = {n.name: n.op.margins(branches[n.name]) for n in self.network.nodes if isinstance(n.op, Choice)}
        object.__setattr__(self, "_frozen", self.network.freeze(self.pattern))
        object.__setattr__(self, "_margins", margins)
        sizes = [math.prod(op.shape(self.network.shape_of(self._read(name)))) for name, op in margins.items()]
        ends = np.cumsum([0, *sizes]).tolist()
        object.__setattr__(self, "_spans", dict(zip(margins, map(slice, ends, ends[1:]), strict=False)))

    @property
    def frozen(self) -> Network:
        """The affine network of this piece."""
        return self._frozen

    def _read(self, choice: str) -> str:
        return self.network[choice].inputs[0]

    def __len__(self) -> int:
        """Number of margins."""
        return max((rows.stop for rows in self._spans.values()), default=0)

    def margin_slice(self, layer: str | int) -> slice:
        """Where the margins of a choice layer stand among all margins."""
        name = self.network.resolve(layer)
        if name not in self._spans:
            raise ArgumentError(f"layer = {name!r} makes no choice; the ones that do are {', '.join(self._spans)}.")
        return self._spans[name]

    def locate(self, margin: int) -> tuple[str, int]:
        """Choice node of a margin, and the flat unit (the output of a max) it belongs to."""
        for name, rows in self._spans.items():
            if rows.start <= margin < rows.stop:
                node, inner = self.network[name], margin - rows.start
                units = math.prod(node.shape)
                per_unit = (rows.stop - rows.start) // units
                is_max = hasattr(node.op, "index")
                return name, inner // per_unit if is_max else inner % units
        raise ArgumentError(f"margin = {margin}: the piece has {len(self)} margins.")

    # -- the affine map -------------------------------------------------------------------------------------------

    def apply(self, v: Tensor | np.ndarray, layer: str | int | None = None) -> Tensor:
        """Linear part of the map to a layer (the output by default) for directions v, shape (n, *input_shape)."""
        name = self.network.resolve(self.network.output if layer is None else layer)
        batch = self.network.as_batch(v)
        return batch if name == INPUT else push(self.frozen, batch, name)[name]

    def adjoint(self, w: Tensor, layer: str | int | None = None) -> Tensor:
        """Transpose of `apply`: covectors w at a layer, shape (n, *shape), pulled back to the input."""
        return pull(self.frozen, {self.network.resolve(self.network.output if layer is None else layer): w})

    @property
    def offset(self) -> Tensor:
        """Constant part: the piece's map at x = 0, shape output_shape."""
        return self.frozen(torch.zeros(self.network.input_shape, dtype=torch.float64, device=self.network.device))

    def matrix(self, layer: str | int | None = None, *, max_bytes: int = DEFAULT_BYTES) -> Tensor:
        """Explicit matrix of the map to a layer, shape (m, n); cost min(m, n) passes."""
        name = self.network.resolve(self.network.output if layer is None else layer)
        shape = self.network.shape_of(name)
        m, n = math.prod(shape), math.prod(self.network.input_shape)
        refuse_above(
            max_bytes,
            8 * m * n,
            f"The matrix of this piece at {name!r} has {m} rows and {n} columns",
            "Use piece.apply(v) or piece.adjoint(w), or restrict the input: net.on(slice_).",
        )
        if m <= n:
            parts = [self.adjoint(e.reshape(-1, *shape), name).flatten(1) for e in self._units(m)]
            return torch.cat(parts)
        parts = [self.apply(e.reshape(-1, *self.network.input_shape), name).flatten(1) for e in self._units(n)]
        return torch.cat(parts).T.contiguous()

    def gram(self, layer: str | int | None = None, *, max_bytes: int = DEFAULT_BYTES) -> Tensor:
        """J J' when the layer is the smaller side, else J' J, streamed in chunks."""
        name = self.network.resolve(self.network.output if layer is None else layer)
        shape, n = self.network.shape_of(name), math.prod(self.network.input_shape)
        m = math.prod(shape)
        refuse_above(
            max_bytes,
            8 * min(m, n) ** 2,
            f"The Gram matrix of this piece at {name!r} has {min(m, n)} rows and columns",
            "Use piece.apply(v) and piece.adjoint(w), or restrict the input: net.on(slice_).",
        )
        if m <= n:
            return torch.cat(
                [self.apply(self.adjoint(e.reshape(-1, *shape), name), name).flatten(1) for e in self._units(m)]
            )
        inputs = self.network.input_shape
        return torch.cat(
            [self.adjoint(self.apply(e.reshape(-1, *inputs), name), name).flatten(1) for e in self._units(n)]
        )

    def _units(self, size: int, chunk: int = 256) -> Iterator[Tensor]:
        """Unit vectors in chunks, shape (chunk, size)."""
        for i in range(0, size, chunk):
            rows = min(chunk, size - i)
            e = torch.zeros(rows, size, dtype=torch.float64, device=self.network.device)
            e[:, i : i + rows].fill_diagonal_(1.0)
            yield e

    # -- the cell -------------------------------------------------------------------------------------------------

    def margins(self, x: Tensor | np.ndarray) -> Tensor:
        """Margins at points x, shape (n, margins): all >= 0 exactly in the closed cell."""
        batch = self.network.as_batch(x)
        values = self.frozen.values(batch)
        parts = []
        for name, op in self._margins.items():
            out = op.apply(values[self._read(name)])
            parts.append(out if op.bias is None else out + op.bias)
        return torch.cat(parts, 1) if parts else batch.new_zeros(len(batch), 0)

    def margin_rates(self, v: Tensor | np.ndarray) -> Tensor:
        """Linear part of the margins for directions v, shape (n, margins)."""
        batch = self.network.as_batch(v)
        values = push(self.frozen, batch)
        parts = [op.apply(values[self._read(name)]) for name, op in self._margins.items()]
        return torch.cat(parts, 1) if parts else batch.new_zeros(len(batch), 0)

    def rows(self, margins: np.ndarray | Tensor | None = None, *, chunk: int = 256) -> tuple[Tensor, Tensor]:
        """Normals and offsets of some margins (all by default): margin_i(x) = G_i x + g_i.

        Returns
        -------
        G : Tensor, shape (k, n)
        g : Tensor, shape (k,)
        """
        wanted = torch.arange(len(self)) if margins is None else torch.as_tensor(margins).reshape(-1)
        size, n = len(self), math.prod(self.network.input_shape)
        zero = torch.zeros(1, *self.network.input_shape, dtype=torch.float64, device=self.network.device)
        offsets = self.margins(zero)[0][wanted.to(zero.device)]
        parts = [zero.new_zeros(0, n)]
        chunk = max(1, min(chunk, 2**24 // max(size, 1)))  # covectors of all margins at once: 128 MiB at most
        for i in range(0, len(wanted), chunk):
            pick = wanted[i : i + chunk].to(zero.device)
            e = zero.new_zeros(len(pick), size)
            e[torch.arange(len(pick)), pick] = 1.0
            parts.append(self._pull_margins(e).flatten(1))
        return torch.cat(parts), offsets

    def _pull_margins(self, e: Tensor) -> Tensor:
        cotangents: dict[str, Tensor] = {}
        for name, op in self._margins.items():
            part = e[:, self._spans[name]]
            if not bool(part.any()):
                continue
            (w,) = op.adjoint(part)
            read = self._read(name)
            cotangents[read] = cotangents[read] + w if read in cotangents else w
        return pull(self.frozen, cotangents) if cotangents else e.new_zeros(len(e), *self.network.input_shape)

    def row_norms(self, *, chunk: int = 256) -> Tensor:
        """Euclidean norms of the normals of all margins, shape (margins,), streamed over the input's unit vectors."""
        total = torch.zeros(len(self), dtype=torch.float64, device=self.network.device)
        for e in self._units(math.prod(self.network.input_shape), chunk):
            total += self.margin_rates(e.reshape(-1, *self.network.input_shape)).square().sum(0)
        return total.sqrt()

    def polyhedron(self, *, max_bytes: int = DEFAULT_BYTES) -> Polyhedron:
        """The closed cell as an explicit `Polyhedron` {x : -G x <= g} in flat input coordinates.

        Notes
        -----
        The rows of deeper layers are products of weights, rounded to float64: parallel ones may meet far away, where
        `facets` then finds a facet that the cell does not have. `neighbour` is decided on the exact rows.
        """
        from plica.core.polyhedron import Polyhedron

        m, n = len(self), math.prod(self.network.input_shape)
        refuse_above(
            max_bytes,
            8 * m * n,
            f"The polyhedron of this piece has {m} inequalities in {n} variables",
            "Use piece.margins(x) or piece.rows(units), or restrict the input: net.on(slice_).",
        )
        normals, offsets = self.rows()
        return Polyhedron(-normals.cpu().numpy(), offsets.cpu().numpy())

    # -- across a facet -------------------------------------------------------------------------------------------

    def neighbour(
        self, facet: int, point: Tensor | np.ndarray | None = None, *, progress: Progress | None = None
    ) -> Piece:
        """The piece on the other side of a facet.

        Parameters
        ----------
        facet : int
            Index of a margin that is a facet of the cell.
        point : array, shape input_shape, optional
            A point near the relative interior of the facet. By default the projection of the piece's own point on the
            facet's hyperplane, or, where that leaves the cell, a centre of the facet found by linear programming.
        progress : Progress, optional
            Its seconds, for these programs; `BudgetReached` when they end.

        Raises
        ------
        ArgumentError
            When the margin is not a facet: the cell touches its hyperplane in a lower dimension only. A facet that lies
            so far away, or is so small, that float64 rows do not show it is refused in the same way.

        Notes
        -----
        Decided in rationals: the point is moved exactly on the hyperplane, and every choice that is tied there is read
        along the outward normal, then along a generic direction.
        """
        self.locate(facet)  # raises when there is no such margin
        normal, offset = self.rows(np.array([facet]))
        if not bool(normal.any()):
            raise ArgumentError(f"margin {facet} is constant on the piece and no facet of it.")
        for candidate in self._facet_points(facet, normal[0], offset[0], point, progress or Progress()):
            pattern = self._pattern_across(facet, candidate, normal[0])
            if pattern is not None:
                return Piece(self.network, pattern, candidate.reshape(self.network.input_shape))
        raise ArgumentError(
            f"margin {facet} is not a facet of the piece: no point of it lies inside the margin's side."
        )

    def _facet_points(
        self, facet: int, normal: Tensor, offset: Tensor, point: object, progress: Progress
    ) -> Iterator[Tensor]:
        """Candidates for a point in the relative interior of a facet, cheapest first, flat."""
        given = point if point is not None else self.point
        if given is not None:
            x = self.network.as_batch(given)[0].flatten()  # type: ignore[arg-type]
            yield x - (normal @ x + offset) / (normal @ normal) * normal
        normals, offsets = (t.cpu().numpy() for t in self.rows())
        aside = self._aside(facet, normal)
        for centre in _facet_centres(normals, offsets, facet, aside, progress):
            yield torch.from_numpy(centre).to(normal)

    def _aside(self, facet: int, normal: Tensor) -> np.ndarray:
        """Which margins do not vanish on the whole hyperplane of a facet, decided in rationals; boolean."""
        columns = self._onto(facet, torch.zeros_like(normal), normal)
        if columns is None:
            return np.zeros(len(self), dtype=bool)
        _, margins = self._exact_margins(columns)
        return ~((margins.numerator[:, 0] == 0) & self._parallel(facet, margins))

    def _onto(self, facet: int, point: Tensor, normal: Tensor) -> exact.Columns | None:
        """Exact columns: the point moved along the normal onto the hyperplane, the outward normal, a generic one."""
        outward = (-normal).cpu().numpy()
        flat = exact.Columns.of(point.cpu().numpy(), outward)
        _, before = self._exact_margins(flat)
        slope = before.numerator[facet, 1]
        if slope >= 0:  # the normal is zero, and its floats are rounding errors
            return None
        # x + t d with t = -margin / slope lies exactly on the hyperplane; scaled by -slope to stay in integers
        on_facet = flat.numerator[:, 0] * -slope + flat.numerator[:, 1] * before.numerator[facet, 0]
        generic = exact.Columns.of(generic_direction(len(outward)))
        unscaled = exact.Columns(on_facet[:, None], flat.scale / int(-slope))
        return exact.join(unscaled, exact.Columns(flat.numerator[:, 1:], flat.scale), generic)

    def _pattern_across(self, facet: int, point: Tensor, normal: Tensor) -> Pattern | None:
        """Pattern beyond the facet at a point near it; None when the point is not inside the facet."""
        columns = self._onto(facet, point, normal)
        if columns is None:
            return None
        _, margins = self._exact_margins(columns)
        at = margins.numerator[:, 0]
        # A tied margin must be parallel to the facet: as it is >= 0 on the facet it vanishes on all of it
        if bool((at < 0).any()) or not bool(self._parallel(facet, margins)[at == 0].all()):
            return None
        nodes = self.network.nodes
        _, branches = exact.forward(nodes, columns)
        return Pattern({k: v.to(point.device) for k, v in stack_branches(nodes, [branches]).items()})

    def _parallel(self, facet: int, margins: exact.Columns) -> np.ndarray:
        """Which margins are multiples of the facet's, tested on the outward and a generic direction; boolean."""
        outward, generic = margins.numerator[:, 1], margins.numerator[:, 2]
        return (outward * generic[facet] == generic * outward[facet]).astype(bool)

    def _exact_margins(self, columns: exact.Columns) -> tuple[dict[str, exact.Columns], exact.Columns]:
        """Exact values of the piece's own affine map, and its margins, for columns."""
        values = {INPUT: columns}
        parts = []
        for node in self.frozen.nodes:
            inputs = [values[i] for i in node.inputs]
            if node.name in self._margins:
                margin = self._margins[node.name]
                parts.append(exact.affine(margin, margin.shape(self.network.shape_of(node.inputs[0])), *inputs))
            assert not isinstance(node.op, Choice)  # frozen
            values[node.name] = exact.affine(node.op, node.shape, *inputs)
        return values, exact.stack(parts)


def _facet_centres(
    normals: np.ndarray, offsets: np.ndarray, facet: int, aside: np.ndarray, progress: Progress
) -> Iterator[np.ndarray]:
    """Points of the facet's hyperplane as far as possible (at most the radius) from the hyperplanes of `aside`.

    The solver's tolerances are absolute: a facet too small for them is looked at again through a magnifying glass, and
    one that is still not found (or far away) in exact arithmetic, while the rows are few.
    """
    norms = np.linalg.norm(normals, axis=1)
    scale = np.where(norms > 0, norms, 1.0)
    unit, height = normals / scale[:, None], offsets / scale
    others = (norms > 0) & aside
    cost = np.append(np.zeros(unit.shape[1]), -1.0)
    rows = np.vstack([np.column_stack([-unit[others], np.ones(others.sum())]), -cost])
    centre = np.zeros(unit.shape[1])
    for radius in (1.0, 1e-5, 1e-10):
        seen = (height + unit @ centre) / radius
        right, on = np.append(seen[others], 1.0), np.append(unit[facet], 0.0)[None]
        solution = linear_program(cost, rows, right, on, -seen[[facet]], progress=progress)
        if solution.status != "optimal" or solution.x[-1] < -1e-6:
            break
        centre = centre + radius * solution.x[:-1]
        if solution.x[-1] > 0:
            yield centre
    if normals[others].size <= EXACT_ENTRIES:
        from plica.core.polyhedron import Polyhedron

        face = Polyhedron(-normals[others], offsets[others], -normals[[facet]], offsets[[facet]])
        face.facts.decide(progress)
        if not face.is_empty():
            yield face.facts.inner_point.astype(np.float64)
