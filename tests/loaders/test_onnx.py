"""Every ONNX operation against onnx's reference evaluator, on odd sizes, with an open and a fixed batch axis."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper, save

import plica
from plica.core.affine import Scale
from plica.core.choice import MaxOver, Piecewise
from plica.errors import ImportMismatch, ModelError, ShapeError, UnsupportedLayer
from plica.loaders.onnx_ops import LOWER
from plica.loaders.onnx_oracle import evaluator

RNG = np.random.default_rng(0)


def N(op, inputs, output="y", **attributes):
    """A node; inputs and outputs are written as one string."""
    return helper.make_node(op, ["" if i == "-" else i for i in inputs.split()], output.split(), **attributes)


@dataclass
class Case:
    """A model: nodes from x to y, the shape of one input, constants, operator set."""

    nodes: list
    shape: tuple
    constants: dict = field(default_factory=dict)
    opset: int = 17

    def model(self, batch="n", kind=np.float32):
        constants = {name: np.asarray(v) for name, v in self.constants.items()}
        stored = [
            numpy_helper.from_array(v.astype(kind) if v.dtype.kind == "f" else v, name) for name, v in constants.items()
        ]
        shape = [*([batch] if batch else []), *self.shape]
        number = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
        graph = helper.make_graph(
            self.nodes,
            "case",
            [helper.make_tensor_value_info("x", number, shape)],
            [helper.make_empty_tensor_value_info("y")],
            stored,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=9)


def w(*shape):
    return RNG.normal(size=shape)


def ints(*values):
    return np.array(values, dtype=np.int64)


ONE = np.array(1, dtype=np.int64)
CASES = {
    "abs": Case([N("Abs", "x")], (3, 4)),
    "add_constant": Case([N("Add", "x c")], (3, 4), {"c": w(4)}),
    "add_constant_left": Case([N("Add", "c x")], (3, 4), {"c": w(1, 3, 1)}),
    "add_widens": Case([N("Add", "x c")], (1, 4), {"c": w(1, 3, 4)}),
    "add_residual": Case([N("Relu", "x", "a"), N("Add", "a x")], (3, 4)),
    "add_broadcast": Case([N("ReduceMax", "x", "a", axes=[2]), N("Add", "a x")], (3, 4)),
    "average_pool": Case([N("AveragePool", "x", kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 0, 1])], (2, 7, 6)),
    "average_pool_counted": Case(
        [N("AveragePool", "x", kernel_shape=[3, 2], strides=[2, 3], pads=[1, 0, 1, 1], count_include_pad=1)], (2, 7, 6)
    ),
    "average_pool_ceil": Case([N("AveragePool", "x", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)], (2, 8, 6)),
    "average_pool_1d": Case([N("AveragePool", "x", kernel_shape=[3], strides=[2])], (2, 9)),
    "average_pool_dilated": Case([N("AveragePool", "x", kernel_shape=[2, 2], dilations=[2, 3])], (2, 7, 6), opset=19),
    "average_pool_same": Case([N("AveragePool", "x", kernel_shape=[2, 2], auto_pad="SAME_UPPER")], (2, 5, 5)),
    "batch_norm": Case(
        [N("BatchNormalization", "x g b m v", epsilon=1e-3)],
        (3, 4, 5),
        {"g": w(3), "b": w(3), "m": w(3), "v": np.abs(w(3)) + 0.1},
    ),
    "batch_norm_flat": Case(
        [N("BatchNormalization", "x g b m v")], (3,), {"g": w(3), "b": w(3), "m": w(3), "v": np.abs(w(3)) + 0.1}
    ),
    "cast": Case([N("Cast", "x", "a", to=TensorProto.DOUBLE), N("Cast", "a", to=TensorProto.FLOAT)], (3,)),
    "clip": Case([N("Clip", "x l h")], (5, 4), {"l": np.array(-0.5), "h": np.array(0.7)}),
    "clip_old": Case([N("Clip", "x", min=-0.5, max=0.7)], (5, 4), opset=6),
    "clip_open": Case([N("Clip", "x - h")], (5, 4), {"h": np.array(0.2)}),
    "clip_nothing": Case([N("Clip", "x", "a"), N("Neg", "a")], (5,)),
    "concat_last": Case([N("Relu", "x", "a"), N("Concat", "a x", axis=-2)], (3, 4)),
    "conv": Case(
        [N("Conv", "x w b", strides=[2, 1], pads=[1, 0, 2, 1], dilations=[1, 2])],
        (3, 9, 8),
        {"w": w(5, 3, 3, 2), "b": w(5)},
    ),
    "conv_groups": Case([N("Conv", "x w", group=2, kernel_shape=[2, 3])], (4, 6, 7), {"w": w(6, 2, 2, 3)}),
    "conv_depthwise": Case([N("Conv", "x w b", group=3, pads=[1, 1, 1, 1])], (3, 5, 4),
                           {"w": w(3, 1, 3, 3), "b": w(3)}),
    "conv_1d": Case([N("Conv", "x w b", strides=[3], pads=[2, 1])], (2, 11), {"w": w(4, 2, 4), "b": w(4)}),
    "conv_same_upper": Case([N("Conv", "x w", auto_pad="SAME_UPPER", strides=[2, 3])], (2, 7, 8), {"w": w(3, 2, 4, 3)}),
    "conv_same_lower": Case([N("Conv", "x w", auto_pad="SAME_LOWER", strides=[2, 1])], (2, 7, 8), {"w": w(3, 2, 4, 2)}),
    "conv_valid": Case([N("Conv", "x w", auto_pad="VALID")], (2, 7, 8), {"w": w(3, 2, 4, 2)}),
    "conv_transpose": Case(
        [N("ConvTranspose", "x w b", strides=[2, 3], pads=[1, 0, 0, 1], output_padding=[1, 0])],
        (3, 4, 5),
        {"w": w(3, 2, 3, 4), "b": w(2)},
    ),
    "conv_transpose_groups": Case(
        [N("ConvTranspose", "x w", group=2, dilations=[2, 1], strides=[1, 2])], (4, 4, 3), {"w": w(4, 3, 2, 3)}
    ),
    "conv_transpose_1d": Case([N("ConvTranspose", "x w b", strides=[2])], (3, 4), {"w": w(3, 2, 3), "b": w(2)}),
    "conv_transpose_shape": Case(
        [N("ConvTranspose", "x w", strides=[2, 2], output_shape=[8, 8])], (3, 4, 4), {"w": w(3, 2, 3, 3)}
    ),
    "div": Case([N("Div", "x c")], (3, 4), {"c": w(4) + 3}),
    "dropout": Case([N("Dropout", "x", "a"), N("Neg", "a")], (3, 4)),
    "dropout_old": Case([N("Dropout", "x", "a", ratio=0.3), N("Neg", "a")], (3, 4), opset=10),
    "expand": Case([N("Expand", "x s")], (1, 4), {"s": ints(3, 4)}),
    "expand_full": Case([N("Expand", "x s")], (3, 1), {"s": ints(1, 1, 5)}),
    "flatten": Case([N("Flatten", "x")], (3, 4, 2)),
    "gather": Case([N("Gather", "x i", axis=1)], (5, 4), {"i": ints(3, 0, -1, 3)}),
    "gather_scalar": Case([N("Gather", "x i", axis=-1)], (5, 4), {"i": np.array(2, dtype=np.int64)}),
    "gather_matrix": Case([N("Gather", "x i", axis=2)], (5, 4), {"i": ints(0, 1, 3, 2).reshape(2, 2)}),
    "gemm": Case([N("Gemm", "x w b", alpha=0.5, beta=2.0)], (4,), {"w": w(4, 3), "b": w(3)}),
    "gemm_transposed": Case([N("Gemm", "x w b", transB=1)], (4,), {"w": w(3, 4), "b": w(1, 3)}),
    "gemm_scalar_bias": Case([N("Gemm", "x w b")], (4,), {"w": w(4, 3), "b": np.array(0.5)}),
    "gemm_value_bias": Case([N("Relu", "x", "a"), N("Gemm", "x w a", beta=0.5)], (4,), {"w": w(4, 4)}),
    "gemm_no_bias": Case([N("Gemm", "x w")], (4,), {"w": w(4, 3)}),
    "global_average": Case([N("GlobalAveragePool", "x")], (3, 4, 5)),
    "global_max": Case([N("GlobalMaxPool", "x")], (3, 4, 5)),
    "hard_sigmoid": Case([N("HardSigmoid", "x", "a", alpha=0.3, beta=0.4), N("Neg", "a")], (3, 4)),
    "identity": Case([N("Identity", "x", "a"), N("Neg", "a")], (3, 4)),
    "leaky_relu": Case([N("LeakyRelu", "x", alpha=0.07)], (3, 4)),
    "matmul": Case([N("MatMul", "x w", "a"), N("Add", "a b")], (4,), {"w": w(4, 3), "b": w(3)}),
    "matmul_deep": Case([N("MatMul", "x w")], (2, 5, 4), {"w": w(4, 3)}),
    "matmul_stacked_one": Case([N("MatMul", "x w")], (5, 4), {"w": w(1, 4, 3)}),
    "matmul_vector": Case([N("MatMul", "x w")], (5, 4), {"w": w(4)}),
    "matmul_left": Case([N("MatMul", "w x")], (5, 4), {"w": w(3, 5)}),
    "matmul_left_vector": Case([N("MatMul", "w x")], (5, 4), {"w": w(5)}),
    "max_of_two": Case([N("Neg", "x", "a"), N("Max", "x a")], (3, 4)),
    "max_of_three": Case([N("Neg", "x", "a"), N("Mul", "x c", "d"), N("Max", "x a d")], (3, 4), {"c": w(4)}),
    "max_constant": Case([N("Max", "x c")], (3, 4), {"c": w(4)}),
    "max_scalar": Case([N("Max", "c x")], (3, 4), {"c": np.array(0.3)}),
    "max_pool": Case(
        [N("MaxPool", "x", kernel_shape=[3, 2], strides=[1, 2], pads=[1, 0, 1, 1], dilations=[2, 1])], (2, 9, 7)
    ),
    "max_pool_ceil": Case([N("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)], (2, 8, 6)),
    "max_pool_overlap": Case([N("MaxPool", "x", kernel_shape=[3, 3])], (2, 6, 5)),
    "max_pool_1d": Case([N("MaxPool", "x", kernel_shape=[3], strides=[2], pads=[1, 1])], (2, 8)),
    "max_pool_same": Case([N("MaxPool", "x", kernel_shape=[3, 2], strides=[2, 2], auto_pad="SAME_LOWER")], (2, 8, 5)),
    "mean": Case([N("Neg", "x", "a"), N("Relu", "x", "d"), N("Mean", "x a d")], (3, 4)),
    "min_of_two": Case([N("Mul", "x c", "a"), N("Min", "x a")], (3, 4), {"c": w(4)}),
    "min_constant": Case([N("Min", "x c")], (3, 4), {"c": w(1, 3, 4)}),
    "mul": Case([N("Mul", "c x")], (3, 4), {"c": w(3, 1)}),
    "neg": Case([N("Neg", "x")], (3, 4)),
    "pad": Case([N("Pad", "x p v")], (2, 5, 4), {"p": ints(0, 0, 1, 2, 0, 0, 3, -1), "v": np.array(0.5)}),
    "pad_axes": Case([N("Pad", "x p - a")], (2, 5, 4), {"p": ints(1, 0, 2, 3), "a": ints(-1, 2)}, opset=18),
    "pad_old": Case([N("Pad", "x", pads=[0, 0, 1, 0, 1, 2], mode="constant", value=0.25)], (5, 4), opset=10),
    "pad_reflect": Case([N("Pad", "x p", mode="reflect")], (2, 5, 4), {"p": ints(0, 0, 2, 1, 0, 0, 3, 2)}),
    "pad_edge": Case([N("Pad", "x p", mode="edge")], (2, 5, 4), {"p": ints(0, 0, 2, 1, 0, 0, 3, 2)}),
    "prelu": Case([N("PRelu", "x s")], (3, 4, 2), {"s": w(3, 1, 1)}),
    "prelu_one": Case([N("PRelu", "x s")], (3, 4), {"s": w(1)}),
    "reduce_max": Case([N("ReduceMax", "x", axes=[-1], keepdims=0)], (3, 4)),
    "reduce_mean": Case([N("ReduceMean", "x", axes=[2, 3])], (3, 4, 5)),
    "reduce_mean_input": Case([N("ReduceMean", "x a", keepdims=0)], (3, 4, 5), {"a": ints(-1, 1)}, opset=18),
    "reduce_mean_nothing": Case([N("ReduceMean", "x", "a", noop_with_empty_axes=1), N("Neg", "a")], (3,), opset=18),
    "reduce_min": Case([N("ReduceMin", "x", axes=[1])], (3, 4)),
    "reduce_sum": Case([N("ReduceSum", "x a", keepdims=0)], (3, 4), {"a": ints(2)}),
    "relu": Case([N("Relu", "x")], (3, 4)),
    "reshape": Case([N("Reshape", "x s")], (3, 4, 2), {"s": ints(0, -1, 4)}),
    "reshape_inferred": Case([N("Reshape", "x s")], (3, 4), {"s": ints(-1, 2, 6)}),
    "reshape_by_shape": Case(
        [N("Shape", "x", "s"), N("Gather", "s i", "n"), N("Concat", "n m", "t", axis=0), N("Reshape", "x t")],
        (3, 4),
        {"i": ints(0), "m": ints(-1)},
    ),
    "shape_part": Case(
        [N("Shape", "x", "s", start=1), N("ConstantOfShape", "s", "c"), N("Add", "x c")], (3, 4), opset=17
    ),
    "shrink": Case([N("Shrink", "x", lambd=0.4, bias=0.4)], (3, 4)),
    "size": Case([N("Shape", "x", "s", start=1), N("ReduceProd", "s", "p", keepdims=0), N("Size", "s", "r"),
                  N("Mul", "p r", "q"), N("Cast", "q", "c", to=1), N("Add", "x c")], (3, 4)),
    "slice": Case([N("Slice", "x b e a t")], (7, 6),
                  {"b": ints(5, 1), "e": ints(-100, 5), "a": ints(1, 2), "t": ints(-2, 3)}),
    "slice_batch": Case([N("Slice", "x b e")], (7, 6), {"b": ints(0, 2, 1), "e": ints(2**31 - 1, 2**31 - 1, -1)}),
    "slice_old": Case([N("Slice", "x", starts=[1], ends=[4], axes=[2])], (7, 6), opset=9),
    "split": Case([N("Split", "x s", "a b", axis=1), N("Relu", "b", "c"), N("Concat", "c a", axis=1)], (5, 3),
                  {"s": ints(2, 3)}),
    "split_equal": Case([N("Split", "x", "a b", axis=-1), N("Sub", "a b")], (5, 4)),
    "split_count": Case([N("Split", "x", "a b c", axis=1, num_outputs=3), N("Concat", "c b a", axis=1)],
                        (7, 2), opset=18),
    "split_old": Case([N("Split", "x", "a b", axis=1, split=[1, 4]), N("Concat", "b a", axis=1)], (5, 2), opset=11),
    "squeeze": Case([N("Squeeze", "x a")], (1, 4, 1), {"a": ints(1, -1)}),
    "squeeze_old": Case([N("Squeeze", "x", axes=[1])], (1, 4), opset=11),
    "sub": Case([N("Sub", "x c")], (3, 4), {"c": w(4)}),
    "sub_from": Case([N("Sub", "c x")], (3, 4), {"c": w(3, 4)}),
    "sub_values": Case([N("Relu", "x", "a"), N("Sub", "a x")], (3, 4)),
    "sum": Case([N("Neg", "x", "a"), N("Relu", "x", "d"), N("Sum", "a c d")], (3, 4), {"c": w(4)}),
    "tile": Case([N("Tile", "x r")], (3, 2), {"r": ints(1, 2, 3)}),
    "top_k": Case([N("TopK", "x k", "y i", axis=1)], (5, 3), {"k": ints(3)}),
    "top_one": Case([N("TopK", "x k", "y i", largest=0)], (5, 3), {"k": ints(1)}),
    "sort": Case([N("Reshape", "x s", "a"), N("TopK", "a k", "b i"), N("Flatten", "b")], (12,),
                 {"s": ints(0, 4, 3), "k": ints(3)}),
    "transpose": Case([N("Transpose", "x", perm=[0, 3, 1, 2])], (3, 4, 5)),
    "unsqueeze": Case([N("Unsqueeze", "x a")], (3, 4), {"a": ints(1, -1)}),
    "unsqueeze_old": Case([N("Unsqueeze", "x", axes=[2])], (3, 4), opset=11),
    "where": Case([N("Where", "m x c")], (3, 4), {"m": RNG.random((3, 4)) < 0.5, "c": w(3, 4)}),
    "where_values": Case([N("Neg", "x", "a"), N("Equal", "i j", "m"), N("Where", "m x a")], (3, 4),
                         {"i": ints(1, 2, 3, 4), "j": ints(1, 0, 3, 0)}),
}  # fmt: skip
# Valid for a batch of one only.
FIXED = {
    "concat": Case([N("Relu", "x", "a"), N("Concat", "a c x", axis=2)], (3, 4), {"c": w(1, 3, 2)}),
    "squeeze_batch": Case([N("Squeeze", "x a"), ], (3, 4), {"a": ints(0)}),
    "reshape_batch": Case([N("Reshape", "x s")], (3, 4), {"s": ints(4, 3)}),
    "reshape_and_back": Case([N("Reshape", "x s", "a"), N("Relu", "a", "r"), N("Reshape", "r t", "c"),
                              N("MatMul", "c w")], (3, 4), {"s": ints(4, 3), "t": ints(1, 12), "w": w(12, 2)}),
    "transpose_batch": Case([N("Transpose", "x", perm=[1, 0, 2])], (3, 4)),
    "gather_batch": Case([N("Gather", "x i", axis=0)], (3, 4), {"i": np.array(0, dtype=np.int64)}),
    "flatten_all": Case([N("Flatten", "x", axis=0)], (3, 4)),
    "flatten_late": Case([N("Flatten", "x", axis=-1)], (3, 4)),
    "reduce_all": Case([N("ReduceMean", "x")], (3, 4)),
    "concat_batch": Case([N("Neg", "x", "a"), N("Concat", "a x", axis=0)], (3, 4)),
    "matmul_left_batch": Case([N("MatMul", "w x")], (4,), {"w": w(3, 1)}),
    "ranks": Case([N("Squeeze", "x a", "s"), N("Relu", "s", "r"), N("Add", "r x")], (3, 4), {"a": ints(0)}),
}  # fmt: skip


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
    assert compare(model, net, x) < (1e-6 if single else 1e-12)


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


@pytest.mark.parametrize("kind", ["Softmax", "Sigmoid", "Tanh", "Gelu", "ThresholdedRelu", "Floor"])
def test_other_layers_are_refused_by_name(kind, tmp_path):
    nodes = [helper.make_node(kind, ["x"], ["a"], name="/features/features.7/Act"), N("Relu", "a")]
    with pytest.raises(UnsupportedLayer, match=rf"node 'features.7.Act' is {kind}.*plica reads: Abs, Add"):
        plica.load(written(tmp_path, Case(nodes, (4,), opset=20).model()))


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


def test_names_are_short_and_unique(tmp_path):
    nodes = [
        helper.make_node("Relu", ["x"], ["1"]),
        helper.make_node("Relu", ["1"], ["a"], name="/layer1/layer1.0/relu/Relu"),
        helper.make_node("Relu", ["a"], ["b"], name="/layer1/layer1.0/relu/Relu_1"),
        helper.make_node("Relu", ["b"], ["c"], name="model/dense 2/Relu"),
        helper.make_node("Relu", ["c"], ["y"], name="input"),
    ]
    net = plica.load(written(tmp_path, Case(nodes, (4,)).model()))
    names = [node.name for node in net.nodes]
    assert names == ["relu_1", "layer1.0.relu", "layer1.0.relu_2", "model.dense_2", "input_2"]


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
