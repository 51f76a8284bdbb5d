"""Every ONNX operation against onnx's reference evaluator, on odd sizes, with an open and a fixed batch axis."""

from __future__ import annotations

import gzip
import itertools

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, save

import plica
from loaders.onnx_cases import CASES, FIXED, RNG, Case, N, ints, w
from plica.core.affine import Scale
from plica.core.choice import MaxOver, Piecewise
from plica.errors import ImportMismatch, ModelError, ShapeError, UnsupportedLayer
from plica.loaders.onnx_ops import LOWER
from plica.loaders.onnx_oracle import evaluator

EXACT = {  # operations that move entries or choose among them: nothing is rounded
    *(
        "Abs",
        "Clip",
        "Concat",
        "Constant",
        "Expand",
        "Flatten",
        "Gather",
        "GlobalMaxPool",
        "Identity",
        "Max",
        "MaxPool",
    ),
    *("Min", "Neg", "Pad", "ReduceMax", "ReduceMin", "Relu", "Reshape", "Shape", "Slice", "Split", "Squeeze", "Tile"),
    *("TopK", "Transpose", "Unsqueeze", "Where"),
}


def written(folder, model, name="model.onnx"):
    path = folder / name
    save(model, path)
    return path


def compare(model, net, inputs):
    """Largest difference between a network and the reference evaluator, one input at a time or all at once."""
    expected = evaluator(model).run(None, {"x": inputs})[0]
    got = net(inputs.reshape(-1, *net.input_shape)).numpy()
    return np.abs(got.reshape(expected.shape) - expected).max() / max(np.abs(expected).max(), 1e-9)


@pytest.mark.parametrize("name", CASES)
def test_operation_with_any_batch(name, tmp_path):
    case = CASES[name]
    single = any(node.op_type in ("Cast", "ConstantOfShape") for node in case.nodes)  # they say float32 themselves
    model = case.model("n", np.float32 if single else np.float64)
    net = plica.load(written(tmp_path, model))
    assert net.input_shape == case.shape
    assert net.origin.difference < (1e-6 if single else 1e-12)
    x = np.random.default_rng(1).normal(size=(5, *case.shape)).astype(np.float32 if single else np.float64)
    difference = compare(model, net, x)
    assert difference < (1e-6 if single else 1e-12)
    assert difference == 0 or {node.op_type for node in case.nodes} - EXACT


@pytest.mark.parametrize("name", [*CASES, *FIXED])
def test_operation_with_a_batch_of_one(name, tmp_path):
    case = {**CASES, **FIXED}[name]
    model = case.model(1)
    net = plica.load(written(tmp_path, model))
    assert net.input_shape == case.shape
    assert compare(model, net, np.random.default_rng(1).normal(size=(1, *case.shape)).astype(np.float32)) < 1e-5


@pytest.mark.parametrize("name", sorted(set(FIXED) - {"ranks", "concat"}))
def test_the_batch_axis_stays_in_front(name, tmp_path):
    with pytest.raises(UnsupportedLayer, match=r"batch axis|keep every input"):
        plica.load(written(tmp_path, FIXED[name].model("n")))


def test_every_operation_has_a_case():
    tested = {node.op_type for case in [*CASES.values(), *FIXED.values()] for node in case.nodes}
    assert set(LOWER) - tested == set()


@pytest.mark.parametrize("shape", [(5,), (1,)])
def test_rank_one_has_no_batch(shape, tmp_path):
    nodes = [N("Reshape", "x s", "a"), N("MatMul", "a w", "h"), N("Relu", "h", "r"), N("MatMul", "r v", "o"),
             N("Reshape", "o t")]  # fmt: skip
    model = Case(nodes, shape, {"s": ints(1, -1), "w": w(shape[0], 4), "v": w(4, 2), "t": ints(2)}).model(None)
    net = plica.load(written(tmp_path, model))
    assert net.input_shape == shape
    assert net.output_shape == (2,)
    x = RNG.normal(size=shape).astype(np.float32)
    assert compare(model, net, x) < 1e-5


def test_rank_one_through_a_convolution(tmp_path):
    nodes = [N("Reshape", "x s", "a"), N("Conv", "a w", "h"), N("MaxPool", "h", "p", kernel_shape=[2, 2]),
             N("BatchNormalization", "p g b m v", "n"), N("AveragePool", "n", "q", kernel_shape=[2, 2]),
             N("Flatten", "q")]  # fmt: skip
    constants = {"s": ints(1, 1, 6, 5), "w": w(3, 1, 2, 2), "g": w(3), "b": w(3), "m": w(3), "v": np.abs(w(3))}
    model = Case(nodes, (30,), constants).model(None)
    net = plica.load(written(tmp_path, model))
    assert compare(model, net, RNG.normal(size=30).astype(np.float32)) < 1e-5


def test_a_fixed_first_axis_belongs_to_the_input(tmp_path):
    model = Case([N("MatMul", "x w", "h"), N("Relu", "h")], (4, 3), {"w": w(3, 2)}).model(None)
    net = plica.load(written(tmp_path, model))
    assert (net.input_shape, net.output_shape) == ((4, 3), (4, 2))
    assert any("no batch axis" in text for text in net.origin.notices)


# --- what is dropped, folded, kept ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax", "Sigmoid"])
def test_final_softmax_is_dropped(kind, tmp_path):
    net = plica.load(written(tmp_path, Case([N("Gemm", "x w", "z"), N(kind, "z")], (4,), {"w": w(4, 3)}).model()))
    assert [type(node.op).__name__ for node in net.nodes] == ["Dense"]
    assert any(kind in text and "dropped" in text for text in net.origin.notices)


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("kind", ["Softmax", "Sigmoid", "Tanh", "Gelu", "ThresholdedRelu", "Floor"])
def test_other_layers_are_refused_by_name(kind, place, tmp_path):
    """As the first, a middle or the last node, but for a final softmax or sigmoid."""
    kinds = ["Abs", "Neg"]
    kinds.insert(place, kind)
    values = ["x", "a", "b", "y"]
    names = [f"/features/features.{i}/{'Act' if k == kind else k}" for i, k in enumerate(kinds)]
    nodes = [helper.make_node(k, [values[i]], [values[i + 1]], name=names[i]) for i, k in enumerate(kinds)]
    path = written(tmp_path, Case(nodes, (4,), opset=20).model())
    if place == 2 and kind in ("Softmax", "Sigmoid"):
        assert len(plica.load(path).nodes) == 2
        return
    known = "is not known" if kind in ("ThresholdedRelu", "Floor") else "is not piecewise linear"
    expected = (
        rf"node 'features\.{place}\.Act' is {kind}, which {known}\. plica reads: Linear, Conv1d .* part of the model"
    )
    with pytest.raises(UnsupportedLayer, match=expected) as caught:
        plica.load(path)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        ([N("Mul", "x x")], {}),
        ([N("Div", "c x")], {"c": w(4)}),
        ([N("MatMul", "x x")], {}),
        ([N("Shrink", "x", lambd=0.5, bias=0.0)], {}),
        ([N("Relu", "x", "g"), N("Where", "g x c")], {"c": w(4)}),
        ([N("Cast", "x", "a", to=TensorProto.INT32), N("Cast", "a", to=1)], {}),
        ([N("Gather", "c x")], {"c": w(4)}),
    ],
)
def test_what_is_not_piecewise_linear_is_refused(nodes, constants, tmp_path):
    with pytest.raises(UnsupportedLayer, match="node '"):
        plica.load(written(tmp_path, Case(nodes, (4,), constants).model()))


def test_the_oracle_is_torch_where_onnx_has_no_right_one():
    """The operations that replace those of onnx's evaluator, against torch."""
    x, kernel, bias = (torch.from_numpy(w(*s)) for s in ((2, 4, 5, 3), (4, 3, 2, 3), (6,)))
    case = Case([N("ConvTranspose", "x w b", group=2, strides=[2, 3], dilations=[1, 2], pads=[1, 1, 1, 1],
                   output_padding=[1, 0])], (4, 5, 3), {"w": kernel.numpy(), "b": bias.numpy()})  # fmt: skip
    expected = torch.nn.functional.conv_transpose2d(x, kernel, bias, (2, 3), 1, (1, 0), 2, (1, 2))
    np.testing.assert_allclose(evaluator(case.model("n", np.float64)).run(None, {"x": x.numpy()})[0], expected)
    for ceil, counted in itertools.product((0, 1), (0, 1)):
        pool = Case(
            [N("AveragePool", "x", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=ceil,
               count_include_pad=counted)], (4, 6, 3)
        )  # fmt: skip
        y = torch.from_numpy(w(2, 4, 6, 3))
        expected = torch.nn.functional.avg_pool2d(y, (3, 2), 2, 1, bool(ceil), bool(counted))
        np.testing.assert_allclose(evaluator(pool.model("n", np.float64)).run(None, {"x": y.numpy()})[0], expected)
    for ceil in (0, 1):
        pool = Case(
            [N("MaxPool", "x", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=ceil)], (4, 5, 3)
        )
        expected = torch.nn.functional.max_pool2d(x, (3, 2), 2, 1, ceil_mode=bool(ceil))
        np.testing.assert_array_equal(evaluator(pool.model("n", np.float64)).run(None, {"x": x.numpy()})[0], expected)


def test_only_the_first_output_counts(tmp_path):
    model = Case([N("Neg", "x"), N("Tanh", "y", "z")], (4,)).model()
    model.graph.output.append(helper.make_empty_tensor_value_info("z"))
    net = plica.load(written(tmp_path, model))
    assert any("2 outputs" in text for text in net.origin.notices)


def test_weights_listed_as_inputs_are_constants(tmp_path):
    model = CASES["gemm"].model()
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 3]))
    assert plica.load(written(tmp_path, model)).output_shape == (3,)


def test_constants_are_folded_exactly(tmp_path):
    """0.1f * 0.3f has no place in float32; and int8 weights times their scale neither."""
    third, tenth = np.float32(0.3), np.float32(0.1)
    nodes = [N("Mul", "a c", "f"), N("Mul", "x f", "u"), N("DequantizeLinear", "q s z", "d"), N("Mul", "u d")]
    constants = {"a": np.array(third), "c": np.array(tenth), "q": np.array([[7]], np.int8), "s": np.array(third),
                 "z": np.array(-3, np.int8)}  # fmt: skip
    net = plica.load(written(tmp_path, Case(nodes, (1,), constants).model()))
    factors = [float(node.op.factor) for node in net.nodes]
    assert factors == [float(third) * float(tenth), 10 * float(third)]
    assert any("2 nodes" in text and "folded" in text for text in net.origin.notices)


def test_averages_keep_their_divisor(tmp_path):
    net = plica.load(written(tmp_path, CASES["average_pool"].model()))
    scale = next(node.op for node in net.nodes if isinstance(node.op, Scale))
    assert set(scale.divisor.unique().tolist()) <= {2.0, 3.0, 4.0, 6.0}
    assert float(scale.factor) == 1.0


@pytest.mark.parametrize(("name", "kind"), [("max_constant", Piecewise), ("min_constant", Piecewise),
                                            ("max_of_two", MaxOver)])  # fmt: skip
def test_maxima_become_choices(name, kind, tmp_path):
    net = plica.load(written(tmp_path, CASES[name].model()))
    assert isinstance(net[net.layers[0]].op, kind)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_dtype_is_cast_once_and_said(kind, tmp_path):
    case = Case([N("Gemm", "x w b", "h"), N("Relu", "h", "r"), N("Gemm", "r v")], (6,),
                {"w": w(6, 5), "b": w(5), "v": w(5, 3)})  # fmt: skip
    net = plica.load(written(tmp_path, case.model("n", kind)))
    assert net.origin.dtype == np.dtype(kind).name
    assert any(np.dtype(kind).name in text and "float64" in text for text in net.origin.notices)
    assert net.dtype == torch.float64
    rounded = any("rounds by" in text for text in net.origin.notices)
    assert rounded == (kind is np.float16)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["", "/layer1/layer1.0/relu/Relu", "/layer1/layer1.0/relu/Relu_1", "model/dense 2/Relu", "input"],
         ["relu_1", "layer1.0.relu", "layer1.0.relu_1", "model.dense_2", "input.relu"]),
        (["net/sequential/dense/Relu", "net/sequential/dense_1/Relu", "net/sequential/dense_1/Relu"],
         ["dense", "dense_1", "dense_1.relu"]),
        (["/features/features.0/Relu", "/features/features.1/Relu"], ["features.0", "features.1"]),
        (["net/a/BiasAdd__7", "net/a/Relu", "onnx::Relu_9"], ["a.relu", "a", "Relu_9"]),
        (["a" * 20 + "/" + "b" * 20 + "/c", "d/e"], ["b" * 20 + ".c", "d.e"]),
        (["0", "1/2", "$(rm)"], ["relu_0", "relu_1.2", "_rm_"]),
    ],
)  # fmt: skip
def test_names_are_short_and_unique(given, expected, tmp_path):
    values = ["x", *map(str, range(1, len(given))), "y"]
    nodes = [helper.make_node("Relu", [values[i]], [values[i + 1]], name=name) for i, name in enumerate(given)]
    net = plica.load(written(tmp_path, Case(nodes, (4,)).model()))
    assert [node.name for node in net.nodes] == expected


def test_the_name_of_a_layer_is_that_of_its_matrix(tmp_path):
    """What TensorFlow's exporters write: a bias is added under the layer's name, the activation has it as well."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="net/dense/MatMul"),
        helper.make_node("Add", ["a", "b"], ["c"], name="net/dense/BiasAdd"),
        helper.make_node("Relu", ["c"], ["d"], name="net/dense/Relu"),
        helper.make_node("MatMul", ["d", "v"], ["y"], name="net/dense_1/MatMul"),
    ]
    net = plica.load(written(tmp_path, Case(nodes, (4,), {"w": w(4, 3), "b": w(3), "v": w(3, 2)}).model()))
    assert [node.name for node in net.nodes] == ["dense", "dense.relu", "dense_1"]


# --- a constant that is added becomes a bias --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nodes", "shape", "constants", "kinds"),
    [
        ([N("MatMul", "x w", "a"), N("Add", "a b")], (4,), {"w": w(4, 3), "b": w(3)}, ["Dense"]),
        ([N("MatMul", "x w", "a"), N("Sub", "a b")], (5, 4), {"w": w(4, 3), "b": w(1, 1, 3)}, ["Dense"]),
        ([N("MatMul", "x w", "a"), N("Add", "a b")], (4,), {"w": w(4, 3), "b": np.array(0.3)}, ["Dense"]),
        ([N("MatMul", "x w", "a"), N("Add", "b a")], (5, 4), {"w": w(4, 3), "b": w(5, 1)}, ["Dense", "Gather"]),
        ([N("MatMul", "x w", "a"), N("Add", "a b", "c"), N("Add", "c b")], (4,), {"w": w(4, 3), "b": w(3)},
         ["Dense", "Gather"]),
        ([N("Gemm", "x w b", "a"), N("Add", "a b")], (4,), {"w": w(4, 3), "b": w(3)}, ["Dense", "Gather"]),
        ([N("MatMul", "x w", "a"), N("Add", "a b", "c"), N("Add", "a c")], (4,), {"w": w(4, 3), "b": w(3)},
         ["Dense", "Gather", "Sum"]),
        ([N("MatMul", "x w", "a"), N("Sub", "b a")], (4,), {"w": w(4, 3), "b": w(3)}, ["Dense", "Scale"]),
        ([N("Add", "x b", "a"), N("Mul", "a c", "d"), N("Add", "d b")], (4,), {"b": w(4), "c": w(4)},
         ["Gather", "Scale", "Gather"]),
        ([N("Conv", "x w", "a"), N("Add", "a b")], (2, 5, 4), {"w": w(3, 2, 2, 2), "b": w(3, 1, 1)}, ["Conv"]),
        ([N("Conv", "x w", "a"), N("Add", "a b")], (2, 5), {"w": w(3, 2, 2), "b": w(1, 3, 1)}, ["Conv"]),
        ([N("Conv", "x w", "a"), N("Add", "a b")], (2, 5, 4), {"w": w(3, 2, 2, 2), "b": w(3)}, ["Conv", "Gather"]),
        ([N("Conv", "x w", "a"), N("Add", "a b")], (2, 5, 4), {"w": w(3, 2, 2, 2), "b": w(4, 3)}, ["Conv", "Gather"]),
    ],
)  # fmt: skip
def test_added_constants_become_a_bias(nodes, shape, constants, kinds, tmp_path):
    """Only of a matrix or kernel without a bias, whose values nothing else reads, and one number per channel."""
    model = Case(nodes, shape, constants).model("n", np.float64)
    net = plica.load(written(tmp_path, model))
    assert [type(node.op).__name__ for node in net.nodes] == kinds
    assert compare(model, net, RNG.normal(size=(3, *shape))) < 1e-12


def test_a_bias_is_taken_up_without_rounding(tmp_path):
    case = CASES["matmul"]
    net = plica.load(written(tmp_path, case.model()))
    assert np.array_equal(net.nodes[0].op.bias.numpy(), case.constants["b"].astype(np.float32).astype(float))


# --- comparison with the original -------------------------------------------------------------------------------


def test_a_wrong_import_is_found(monkeypatch, tmp_path):
    from plica.core.choice import leaky_relu

    monkeypatch.setitem(LOWER, "Relu", lambda b, node, x: b.add(leaky_relu(x.shape, 1e-3), x))
    with pytest.raises(ImportMismatch, match=r"differ by .* of the largest output"):
        plica.load(written(tmp_path, CASES["relu"].model()))


def test_gzip_is_the_same(tmp_path):
    path = written(tmp_path, CASES["conv"].model())
    (tmp_path / "model.onnx.gz").write_bytes(gzip.compress(path.read_bytes()))
    x = RNG.normal(size=(2, 3, 9, 8))
    assert torch.equal(plica.load(path)(x), plica.load(tmp_path / "model.onnx.gz")(x))


@pytest.mark.data
def test_all_networks_of_the_collection(shared_data):
    paths = sorted([*shared_data.rglob("*.onnx"), *shared_data.rglob("*.onnx.gz")])
    assert paths
    for path in paths:
        net = plica.load(path)
        assert net.origin.difference <= 1e-5, path
        assert len({node.name for node in net.nodes}) == len(net.nodes)


@pytest.mark.data
@pytest.mark.parametrize(
    ("file", "shape"),
    [
        ("acasxu/ACASXU_run2a_1_1_batch_2000.onnx", (1, 1, 5)),
        ("mnist_fc/mnist-net_256x2.onnx", (784, 1)),
        ("test_small/test_nano.onnx", (1,)),
        ("marabou_cifar10/cifar10_small.onnx", (32, 32, 3)),
    ],
)
def test_shapes_of_the_collection(shared_data, file, shape):
    assert plica.load(shared_data / file).input_shape == shape


@pytest.mark.parametrize("given", [(3, 5, 5), None, (1, 5, 4), (3, 5)])
def test_open_sizes_need_an_input_shape(given, tmp_path):
    model = Case([N("Relu", "x")], ("c", 5, "w")).model()
    path = written(tmp_path, model)
    if given in ((3, 5, 5), (1, 5, 4)):
        assert plica.load(path, given).input_shape == given
        return
    with pytest.raises(ShapeError, match=r"open sizes|does not fit"):
        plica.load(path, given)


def test_absurd_nodes_are_refused_before_they_are_made(tmp_path):
    cases = [
        Case([N("ConstantOfShape", "s", "c"), N("Add", "x c")], (4,), {"s": ints(1 << 40)}),
        Case([N("Expand", "c s", "d"), N("Add", "x d")], (4,), {"s": ints(1 << 20, 1 << 20), "c": w(1)}),
        Case([N("Range", "a b c", "d"), N("Add", "x d")], (4,),
             {"a": np.array(0.0), "b": np.array(1e12), "c": np.array(1.0)}),
        Case([N("Expand", "x s")], (4, 1), {"s": ints(1, 4, 1 << 40)}),
        Case([N("Pad", "x p")], (4, 1), {"p": ints(0, 0, 0, 0, 0, 1 << 40)}),
        Case([N("Tile", "x r")], (4, 1), {"r": ints(1, 1, 1 << 40)}),
        Case([N("Conv", "x w", pads=[1 << 30] * 4, strides=[1 << 30] * 2)], (1, 4, 4), {"w": w(1, 1, 2, 2)}),
        Case([N("MaxPool", "x", kernel_shape=[1 << 20] * 2, pads=[1 << 19] * 4)], (1, 4, 4)),
    ]  # fmt: skip
    for case in cases:
        with pytest.raises((ModelError, ShapeError), match=r"node '.*(numbers|empty)"):
            plica.load(written(tmp_path, case.model()))


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        ([N("Gather", "x i", axis=1)], {"i": ints(9)}),
        ([N("Transpose", "x", perm=[0, 2])], {}),
        ([N("MatMul", "x w")], {"w": w(5, 3)}),
        ([N("Conv", "x w")], {"w": w(5, 3, 3, 3)}),
        ([N("Conv", "x w", pads=[1])], {"w": w(5, 3, 3)}),
        ([N("MaxPool", "x", kernel_shape=[9])], {}),
        ([N("Concat", "x c", axis=2)], {"c": w(1, 7, 2)}),
        ([N("Reshape", "x s")], {"s": ints(0, 5)}),
        ([N("BatchNormalization", "x g g g v")], {"g": w(3), "v": -np.ones(3)}),
        ([N("Div", "x c")], {"c": np.zeros(4)}),
        ([N("Add", "x nothing")], {}),
        ([N("Clip", "x l h")], {"l": np.array(1.0), "h": np.array(-1.0)}),
        ([N("RandomNormal", "", "r", shape=[4]), N("Add", "x r")], {}),
    ],
)
def test_nonsense_is_refused_with_the_node(nodes, constants, tmp_path):
    with pytest.raises((ModelError, ShapeError), match="node '"):
        plica.load(written(tmp_path, Case(nodes, (3, 4), constants).model()))
