"""Pieces of random networks, half of them degenerate, against exact rationals: the map, the margins, the neighbours."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

import zoo
from oracles import networks as oracle
from plica.core.pattern import generic_direction
from plica.core.piece import Piece, pull, push
from plica.core.polyhedron import Polyhedron
from plica.errors import ArgumentError, MemoryBudgetError

EPS = Fraction(1, 2**2000)  # below every gap between sums of products of a tiny net's weights
CASES = [(kind, seed) for kind in zoo.KINDS for seed in range(40)]
some_nets = pytest.mark.parametrize(("kind", "seed"), CASES)


def dot(u, v):
    return sum((a * b for a, b in zip(u, v, strict=True)), Fraction(0))


def along(x, *steps):
    """x + sum of (length, direction)."""
    return [v + sum(t * d[i] for t, d in steps) for i, v in enumerate(x)]


class Case:
    """A random net, a point, its piece, and the piece's exact rows."""

    def __init__(self, kind: str, seed: int) -> None:
        self.data, draw = zoo.random_net(kind, seed, degenerate=seed % 2 == 1, scales=seed % 4 >= 2)
        self.net = zoo.build(self.data)
        self.n = int(np.prod(self.net.input_shape))
        self.x = draw.point(self.n)
        self.exact_x = [oracle.rational(v) for v in self.x]
        self.generic = [Fraction(int(v)) for v in generic_direction(self.n)]
        self.piece = Piece(self.net, self.net.pattern(self.x), torch.from_numpy(self.x).reshape(self.net.input_shape))
        self.branches = zoo.as_branches(self.piece.pattern)
        origin, units = [Fraction(0)] * self.n, np.eye(self.n, dtype=int).tolist()
        self.offsets = oracle.margins(self.data, origin, self.branches)
        columns = [oracle.margins(self.data, u, self.branches) for u in units]
        self.rows = [[c[i] - g for c in columns] for i, g in enumerate(self.offsets)]

    def margins(self, x) -> list[Fraction]:
        return [dot(row, x) + g for row, g in zip(self.rows, self.offsets, strict=True)]

    def sizes(self, x, *, constant: bool = True) -> dict[str, torch.Tensor]:
        """Sums of absolute terms behind every value and the margins: the scale of rounding errors."""
        values = {"input": torch.as_tensor(x).reshape(1, *self.net.input_shape).abs()}
        for node in self.piece.frozen.nodes:
            op = node.op.magnitude()
            out = op.apply(*(values[i] for i in node.inputs))
            values[node.name] = out if op.bias is None else out + op.bias
        return values

    def same_facet(self, i: int, j: int) -> bool:
        """Whether margins i and j vanish on the same hyperplane, with the cell on the same side."""
        a, b = [*self.rows[i], self.offsets[i]], [*self.rows[j], self.offsets[j]]
        k = next((k for k, v in enumerate(a) if v), None)
        return k is not None and a[k] * b[k] > 0 and [v * b[k] for v in a] == [v * a[k] for v in b]

    def has_room(self, margin: int) -> bool:
        """Whether floats see a point of the margin's hyperplane that is well inside the cell's other margins."""
        G = np.array([[float(v) for v in row] for row in self.rows])
        norms = np.linalg.norm(G, axis=1)
        if not any(self.rows[margin]):
            return False
        aside = [i for i, v in enumerate(norms) if v and not self.same_facet(margin, i)]
        unit, height = G[aside] / norms[aside, None], np.array([float(self.offsets[i]) for i in aside]) / norms[aside]
        A = np.column_stack([-unit, np.ones(len(aside))])
        cost, equality = np.append(np.zeros(self.n), -1.0), np.append(G[margin] / norms[margin], 0.0)[None]
        level = -float(self.offsets[margin]) / norms[margin]
        found = linprog(cost, A, height, equality, [level], [(-1e6, 1e6)] * self.n + [(None, 1.0)])
        return bool(found.status == 0 and found.x[-1] > 1e-6)


@pytest.mark.big(sample=21)
@some_nets
def test_the_pattern_is_that_of_a_cell_along_the_direction(kind, seed):
    case = Case(kind, seed)
    assert oracle.branches(case.data, along(case.exact_x, (EPS, case.generic))) == case.branches
    near = case.margins(along(case.exact_x, (EPS, case.generic)))
    for margin, row, offset in zip(near, case.rows, case.offsets, strict=True):
        assert margin > 0 or (margin == 0 == offset and not any(row))  # inside, but for branches equal on the cell


@pytest.mark.big(sample=21)
@some_nets
def test_the_affine_map_is_the_network_inside(kind, seed):
    case = Case(kind, seed)
    inside = along(case.exact_x, (EPS, case.generic))
    assert oracle.affine_output(case.data, inside, case.branches) == oracle.output(case.data, inside)
    exact = oracle.affine_output(case.data, case.exact_x, case.branches)
    A, b = case.piece.matrix(), case.piece.offset.flatten()
    size = case.sizes(case.x)[case.net.output].flatten()
    got = A @ torch.from_numpy(case.x) + b
    assert A.shape == (len(exact), case.n)
    for g, e, s in zip(got.tolist(), exact, size.tolist(), strict=True):
        assert abs(g - float(e)) <= 1e-12 * s
    torch.testing.assert_close(got, case.net(case.x).flatten(), rtol=0, atol=1e-12 * float(size.max()) + 1e-300)


@pytest.mark.big(sample=21)
@some_nets
def test_margins_and_rows_are_the_exact_ones(kind, seed):
    case = Case(kind, seed)
    assert len(case.piece) == len(case.rows)
    sizes = case.sizes(case.x)
    zero_sizes = case.sizes(np.ones(case.n))
    G, g = case.piece.rows()
    scale, row_scale = [], []
    for name in case.net.choices:
        rows, read = case.piece.margin_slice(name), case.net[name].inputs[0]
        count = rows.stop - rows.start
        scale += [2 * float(sizes[read].max()) + 2] * count
        row_scale += [2 * float(zero_sizes[read].max()) + 2] * count
    got, rates = case.piece.margins(case.x)[0].tolist(), case.piece.margin_rates(case.x)[0].tolist()
    for i, exact in enumerate(case.margins(case.exact_x)):
        assert abs(got[i] - float(exact)) <= 1e-12 * scale[i]
        assert abs(rates[i] - float(exact - case.offsets[i])) <= 1e-12 * scale[i]
        assert np.allclose(G[i].tolist(), [float(v) for v in case.rows[i]], rtol=0, atol=1e-12 * row_scale[i])
        assert abs(float(g[i]) - float(case.offsets[i])) <= 1e-12 * row_scale[i]
    torch.testing.assert_close(case.piece.row_norms(chunk=2), G.norm(dim=1), rtol=1e-9, atol=1e-9)


@pytest.mark.big(sample=16)
@some_nets
def test_every_facet_has_its_neighbour_and_no_other_margin(kind, seed):
    case = Case(kind, seed)
    for margin in range(len(case.piece)):
        try:
            beyond = case.piece.neighbour(margin)
        except ArgumentError as error:
            assert "facet" in str(error)
            assert not case.has_room(margin)
        else:
            check_neighbour(case, margin, beyond)


def check_neighbour(case: Case, margin: int, beyond: Piece) -> None:
    """Beyond the facet the network has the neighbour's pattern; inside it has the piece's.

    That the margin is a facet is proven here: all tied margins vanish on the same hyperplane.
    """
    assert len(beyond.pattern) == 1 and beyond.point.shape == case.net.input_shape
    pattern, normal = zoo.as_branches(beyond.pattern), case.rows[margin]
    point = [oracle.rational(v) for v in beyond.point.flatten().tolist()]
    on = along(point, (-(dot(normal, point) + case.offsets[margin]) / dot(normal, normal), normal))
    at = case.margins(on)
    assert at[margin] == 0
    assert min(at) >= 0
    assert all(case.same_facet(margin, i) for i, v in enumerate(at) if v == 0 and any(case.rows[i]))
    outside = along(on, (-EPS, normal), (EPS**2, case.generic))
    assert case.margins(outside)[margin] < 0
    assert oracle.branches(case.data, outside) == pattern != case.branches
    assert oracle.affine_output(case.data, outside, pattern) == oracle.output(case.data, outside)
    assert min(oracle.margins(case.data, outside, pattern)) >= 0
    inside = along(on, (EPS, normal), (EPS**2, case.generic))
    assert min(case.margins(inside)) >= 0
    assert oracle.affine_output(case.data, inside, case.branches) == oracle.output(case.data, inside)


# --- facets where several things happen at once -----------------------------------------------------------------


def piece_of(data, x) -> Piece:
    net = zoo.build(data)
    return Piece(net, net.pattern(np.array(x, dtype=float)), torch.tensor(x, dtype=torch.float64))


def dense(W, b=None):
    return ("dense", {"W": W, "b": b})


RELU = ("relu", {})
DUPLICATES = zoo.chain((2,), dense([[1, 0], [2, 0], [-1, 0], [0, 1]]), RELU, dense([[1, 0, 0, 1]], [1]), RELU)


@pytest.mark.parametrize("margin", [0, 1, 2])
def test_all_units_on_the_facet_change_together(margin):
    """z, 2z and -z vanish on the same facet."""
    piece = piece_of(DUPLICATES, [1.0, 1.0])
    assert zoo.as_branches(piece.pattern) == {"relu1": [1, 1, 0, 1], "relu3": [1]}
    assert zoo.as_branches(piece.neighbour(margin).pattern) == {"relu1": [0, 0, 1, 1], "relu3": [1]}


def test_a_later_layer_that_is_tied_on_the_facet_is_read_beyond_it():
    """relu(x) - relu(-x) is 0 where x is: the second layer changes with the first."""
    data = zoo.chain((1,), dense([[1], [-1]]), RELU, dense([[1, -1], [-1, 1], [1, 1]]), RELU)
    piece = piece_of(data, [2.0])
    assert zoo.as_branches(piece.pattern) == {"relu1": [1, 0], "relu3": [1, 0, 1]}
    for margin in range(5):
        assert zoo.as_branches(piece.neighbour(margin).pattern) == {"relu1": [0, 1], "relu3": [0, 1, 1]}


def test_a_later_layer_may_be_constant_zero_on_one_side_only():
    data = zoo.chain((1,), dense([[1]]), RELU, dense([[-1]]), RELU)
    piece = piece_of(data, [-1.0])
    assert zoo.as_branches(piece.pattern) == {"relu1": [0], "relu3": [0]}
    beyond = piece.neighbour(0)
    assert zoo.as_branches(beyond.pattern) == {"relu1": [1], "relu3": [0]}
    assert zoo.as_branches(beyond.neighbour(0).pattern) == {"relu1": [0], "relu3": [0]}


def test_a_margin_that_touches_in_a_corner_is_no_facet():
    """x + y >= 0 follows from x >= 0 and y >= 0 and touches the cell in the origin."""
    piece = piece_of(zoo.chain((2,), dense([[1, 0], [0, 1], [1, 1]]), RELU), [1.0, 2.0])
    for margin in (0, 1):
        assert piece.neighbour(margin) is not None
    with pytest.raises(ArgumentError, match="not a facet"):
        piece.neighbour(2)


def test_a_constant_margin_is_no_facet():
    piece = piece_of(zoo.chain((2,), dense([[0, 0], [1, 0]], [1, 0]), RELU), [1.0, 2.0])
    with pytest.raises(ArgumentError, match="constant"):
        piece.neighbour(0)
    for wrong in (-1, 2):
        with pytest.raises(ArgumentError, match="2 margins"):
            piece.neighbour(wrong)


def test_a_normal_of_rounding_errors_is_no_facet():
    """0.1 + 0.2 - 0.3 is zero neither in floats nor exactly; (x + y) - x - y is zero exactly."""
    nodes = [
        ("a", "dense", ("input",), {"W": [[0.1, 0.3], [0.7, 0.2]]}),
        ("r", "dense", ("a",), {"W": [[1 / 3, 0.6], [0.1, 0.9]]}),
        ("d", "add", ("r", "r"), {"coefficients": [1, -1]}),
        ("out", "relu", ("d",), {}),
    ]
    with pytest.raises(ArgumentError, match="facet"):
        piece_of({"input": (2,), "nodes": nodes}, [1.0, 2.0]).neighbour(0)


@pytest.mark.parametrize("seed", range(6))
def test_the_neighbour_of_the_neighbour_is_the_piece(seed):
    case = Case("dense", 2 * (seed % 3) + 8 * (seed // 3) + 4)
    for margin in range(len(case.piece)):
        try:
            beyond = case.piece.neighbour(margin)
        except ArgumentError:
            continue
        assert beyond.neighbour(margin, beyond.point).pattern.keys() == case.piece.pattern.keys()


def test_without_a_point_of_its_own_the_facet_is_found():
    net = zoo.build(DUPLICATES)
    piece = Piece(net, net.pattern(np.array([1.0, 1.0])))
    assert zoo.as_branches(piece.neighbour(0).pattern)["relu1"] == [0, 0, 1, 1]


def test_a_point_names_one_of_several_neighbours():
    """|x| - y changes the facet x = 0 of the cells beyond: the point says where to cross."""
    data = zoo.chain((2,), dense([[1, 0], [-1, 0], [0, 1]]), RELU, dense([[1, 1, -1]]), RELU)
    piece = piece_of(data, [1.0, -5.0])
    assert zoo.as_branches(piece.neighbour(2, np.array([5.0, 0.0])).pattern) == {"relu1": [1, 0, 1], "relu3": [1]}
    assert zoo.as_branches(piece.neighbour(0, np.array([0.0, -3.0])).pattern) == {"relu1": [0, 1, 0], "relu3": [1]}


# --- the rest of the interface -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", zoo.KINDS)
def test_matrix_gram_adjoint_and_rows_belong_together(kind):
    case = Case(kind, 4)
    piece, net = case.piece, case.net
    for layer in (None, *net.layers, "input"):
        name = net.resolve(net.output if layer is None else layer)
        shape, A = net.shape_of(name), case.piece.matrix(layer)
        v, w = torch.randn(3, *net.input_shape).double(), torch.randn(3, *shape).double()
        torch.testing.assert_close(piece.apply(v, layer).flatten(1), v.flatten(1) @ A.T)
        torch.testing.assert_close(piece.adjoint(w, layer).flatten(1), w.flatten(1) @ A)
        torch.testing.assert_close(piece.gram(layer), A @ A.T if len(A) <= A.shape[1] else A.T @ A)
    everything, some = piece.rows(), piece.rows(np.array([len(piece) - 1, 0]), chunk=1)
    assert torch.equal(everything[0][[-1, 0]], some[0])
    assert torch.equal(everything[1][[-1, 0]], some[1])
    P = piece.polyhedron()
    assert np.array_equal(P.G, -everything[0].numpy()) and np.array_equal(P.h, everything[1].numpy())


def test_locate_and_margin_slice():
    shape = {"W": np.eye(4).tolist()}
    data = zoo.chain((4,), ("dense", shape), ("clip", {"lower": -1, "upper": 1}), ("maxout", {"size": 2}), RELU)
    piece = piece_of(data, [0.5, 0.25, 3.0, -4.0])
    assert len(piece) == 8 + 2 + 2
    assert [piece.locate(i) for i in (0, 3, 4, 7)] == [("clip1", u) for u in (0, 3, 0, 3)]
    assert [piece.locate(i) for i in range(8, 12)] == [("maxout2", 0), ("maxout2", 1), ("relu3", 0), ("relu3", 1)]
    assert piece.margin_slice("maxout2") == slice(8, 10)
    assert piece.margin_slice(-1) == slice(10, 12)
    wide = piece_of(zoo.chain((6,), ("maxout", {"size": 3})), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert [wide.locate(i)[1] for i in range(4)] == [0, 0, 1, 1]  # the margins of a group stand together
    with pytest.raises(ArgumentError, match="12 margins"):
        piece.locate(12)
    with pytest.raises(ArgumentError, match="makes no choice"):
        piece.margin_slice("dense0")


def test_an_affine_network_is_one_piece():
    piece = piece_of(zoo.chain((2,), dense([[1, 2]], [3])), [1.0, 1.0])
    assert len(piece) == 0 and piece.margins(np.ones(2)).shape == (1, 0)
    assert piece.rows()[0].shape == (0, 2)
    assert piece.polyhedron().dimension() == 2
    assert torch.equal(piece.matrix(), torch.tensor([[1.0, 2.0]]).double()) and piece.offset.tolist() == [3.0]


def test_what_does_not_fit_is_refused_with_arithmetic():
    piece = piece_of(DUPLICATES, [1.0, 1.0])
    with pytest.raises(MemoryBudgetError, match=r"5 inequalities in 2 variables .* max_bytes"):
        piece.polyhedron(max_bytes=79)
    assert isinstance(piece.polyhedron(max_bytes=80), Polyhedron)
    with pytest.raises(MemoryBudgetError, match=r"'relu1' has 4 rows and 2 columns .* max_bytes"):
        piece.matrix("relu1", max_bytes=63)
    assert piece.matrix("relu1", max_bytes=64).shape == (4, 2)
    with pytest.raises(MemoryBudgetError, match=r"'relu1' has 2 rows and columns .* max_bytes"):
        piece.gram("relu1", max_bytes=31)


def test_pull_of_a_value_the_input_does_not_reach_is_zero():
    net = zoo.build(zoo.chain((2,), dense([[1, 1]])))
    assert pull(net, {"nowhere": torch.ones(3, 1).double()}).shape == (3, 2)
    assert list(push(net, torch.ones(1, 2).double())) == ["input", "dense0"]
