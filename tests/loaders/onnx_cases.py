"""Models of one or a few ONNX nodes: every operation, on odd sizes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from onnx import TensorProto, helper, numpy_helper

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
