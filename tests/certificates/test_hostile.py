"""The checker against a stranger: files that other readers understand otherwise, and verdicts that mislead."""

import gzip
import hashlib
import json
import struct

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import plica
from plica import checker, exact_model
from plica.certificates.describe import described


def words(x):
    return [float(v).hex() for v in np.asarray(x, dtype=np.float64).ravel()]


def file(*nodes, constants=(), shape=(1, 2), opset=17):
    """A model of ONNX from x to the last node's output."""
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in dict(constants).items()]
    ends = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, shape) for name in ("x", nodes[-1].output[0])]
    graph = helper.make_graph(list(nodes), "g", ends[:1], ends[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def node(op, inputs, output="y", **attributes):
    return helper.make_node(op, inputs.split(), [output], **attributes)


def values(data, x, output="y"):
    """What the checker's reader makes of a file at x."""
    graph = exact_model.read_onnx(data)
    found = exact_model.run(graph, exact_model.point(graph, words(x)), {output})[output]
    return [float(v) for v in exact_model.fractions(found)]


RELU = file(node("Relu", "x"))
W = np.array([[1.0, 2.0], [3.0, 4.0]])
GEMM = {"constants": {"w": W}, "opset": 13}


def varint(number):
    found = b""
    while number > 127:
        found, number = found + bytes([number & 127 | 128]), number >> 7
    return found + bytes([number])


def field(number, value):
    """A field of protobuf: bytes, or a whole number."""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


VERSION = field(8, field(2, 17))


def changed(model, change):
    """The bytes of a changed copy."""
    copied = type(model).FromString(model.SerializeToString())
    change(copied)
    return copied.SerializeToString()


def attribute(model, **fields):
    """A model whose first attribute has further fields."""
    for key, value in fields.items():
        setattr(model.graph.node[0].attribute[0], key, value)
    return model.SerializeToString()


def test_sound_files_are_read():
    assert values(RELU.SerializeToString(), [1, -1]) == [1, 0]
    assert values(gzip.compress(RELU.SerializeToString()), [1, -1]) == [1, 0]
    assert values(file(node("Gemm", "x w", transB=1), **GEMM).SerializeToString(), [1, 1]) == [3, 7]
    assert values(file(node("Mul", "c x"), constants={"c": np.array([2.0])}).SerializeToString(), [1, 3]) == [2, 6]
    shaped = file(node("Reshape", "x s"), constants={"s": np.array([2, 1])})
    assert values(shaped.SerializeToString(), [1, 3]) == [1, 3]
    once = file(node("Constant", "", "c", value=numpy_helper.from_array(np.array([1.0, 2.0]))), node("Add", "x c"))
    assert values(once.SerializeToString(), [1, 1]) == [2, 3]


def test_sound_convolutions_and_pools_are_read():
    plain = file(node("Conv", "x w", auto_pad="VALID"), **FILTER).SerializeToString()
    assert values(plain, [1, 2, 3, 4]) == [10]
    two = file(node("MaxPool", "x", kernel_shape=[1, 2]), shape=(1, 2, 2, 2)).SerializeToString()
    assert values(two, [1, 2, 4, 3, 5, 6, 8, 7]) == [2, 4, 6, 8]


LEGACY = {"constants": {"c": np.array([1.0, 2.0])}, "shape": (2, 2), "opset": 6}
CUBE = {"shape": (1, 1, 2, 2)}
FILTER = {"constants": {"w": np.ones((1, 1, 2, 2))}, "shape": (1, 1, 2, 2)}


def constant(name, value):
    """A change that adds a constant."""
    return lambda model: model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))


def first(what, change):
    """A change of the first node, or the first constant."""
    return lambda model: change(getattr(model.graph, what)[0])


SUM, SECOND = file(node("Add", "x c"), constants={"c": np.array([1.0])}), node("Relu", "y", "z").SerializeToString()
MISREAD = {  # other readers make something else of these files, or refuse them
    "a graph in two parts, which are one": RELU.SerializeToString() + field(7, field(1, SECOND)),
    "an archive of two files, which are one": gzip.compress(RELU.SerializeToString())
    + gzip.compress(field(7, field(1, SECOND))),
    "a file that ends in a field": RELU.SerializeToString()[:-1],
    "a field of negative size": RELU.SerializeToString() + varint(6 << 3 | 2) + varint((1 << 64) - 11),
    "half of an archive": gzip.compress(RELU.SerializeToString() + field(6, b"x" * 99))[:-9],
    "alpha as float and as whole number": attribute(file(node("Gemm", "x w", alpha=2.0), **GEMM), i=1),
    "alpha that is no float": attribute(file(node("Gemm", "x w", alpha=2.0), **GEMM), type=2),
    "an attribute twice": changed(
        file(node("Gemm", "x w", transB=1), **GEMM),
        first("node", lambda n: n.attribute.append(helper.make_attribute("transB", 0))),
    ),
    "a sum along an axis": file(node("Add", "x c", axis=0, broadcast=1), **LEGACY).SerializeToString(),
    "padding, of two kinds": file(
        node("Conv", "x w", auto_pad="VALID", pads=[1, 1, 1, 1]), **FILTER
    ).SerializeToString(),
    "padding, on one side": file(
        node("Conv", "x w", auto_pad="VALID", pads=[1, 0, 0, 0]), **FILTER
    ).SerializeToString(),
    "a bias of another size": changed(file(node("Conv", "x w b"), **FILTER), constant("b", np.ones(3))),
    "a pool of rounded size": file(node("MaxPool", "x", kernel_shape=[2, 2], ceil_mode=1), **CUBE).SerializeToString(),
    "dropout, in training": file(
        node("Dropout", "x r t"), constants={"r": np.array(0.5), "t": np.array(1)}
    ).SerializeToString(),
    "dropout of a version that drops unless told not to": file(node("Dropout", "x"), opset=6).SerializeToString(),
    "no version": changed(RELU, lambda model: model.opset_import.pop()),
    "two versions": changed(RELU, lambda model: model.opset_import.append(helper.make_opsetid("", 6))),
    "two versions, under two names": changed(
        RELU, lambda model: model.opset_import.append(helper.make_opsetid("ai.onnx", 6))
    ),
    "an input left out in the middle": changed(
        file(node("Gemm", "x w"), **GEMM), first("node", lambda n: n.input.insert(1, ""))
    ),
    "a shape by division, which rounds": file(
        node("Div", "a b", "s"),
        node("Mul", "s b", "t"),
        node("Reshape", "x t"),
        constants={"a": np.array([3]), "b": np.array([2])},
    ).SerializeToString(),
    "a constant twice": changed(SUM, constant("c", [2.0])),
    "a constant, and a node of its name": file(
        node("Constant", "", "c", value=numpy_helper.from_array(np.array([5.0]))),
        node("Add", "x c"),
        constants={"c": np.array([1.0])},
    ).SerializeToString(),
    "an operation of the file's own": RELU.SerializeToString() + field(25, field(1, b"Relu")),
    "constants of another form": VERSION + field(7, RELU.graph.SerializeToString() + field(15, b"")),
    "an operation of another domain": changed(RELU, first("node", lambda n: setattr(n, "domain", "mine"))),
    "numbers twice": changed(SUM, first("initializer", lambda t: t.double_data.append(2.0))),
    "numbers elsewhere": changed(SUM, first("initializer", lambda t: t.external_data.add(key="location", value="w"))),
    "an operation of plica's own": file(node("Pick", "x", index=[0, 0], shape=[2])).SerializeToString(),
}


@pytest.mark.parametrize("name", MISREAD)
def test_what_others_read_otherwise_is_refused(name):
    for size in (2, 4):
        with pytest.raises((ValueError, KeyError, IndexError, TypeError)):
            values(MISREAD[name], np.arange(float(size)))


@pytest.mark.parametrize(
    ("value", "reason"),
    [(varint(2 << 3 | 2) + varint(4) + struct.pack("<f", 1.0), "another type"),
     (varint(2 << 3 | 1) + struct.pack("<ff", 1.0, 9.0), "another type"),
     (varint(2 << 3 | 5) + struct.pack("<f", 9.0) + varint(2 << 3 | 5) + struct.pack("<f", 1.0), "twice"),
     (varint(2 << 3 | 5) + struct.pack("<f", 1.0), None)],
    ids=["bytes", "double", "twice", "float"],
)  # fmt: skip
def test_fields_of_another_type_are_refused(value, reason):
    """A reader of protobuf leaves them out, and takes the last of two."""
    model = file(node("Gemm", "x w"), **GEMM)
    alpha = field(1, b"alpha") + value + field(20, 1)
    body = field(1, b"x") + field(1, b"w") + field(2, b"y") + field(4, b"Gemm") + field(5, alpha)
    model.graph.ClearField("node")
    data = VERSION + field(7, model.graph.SerializeToString() + field(1, body))
    if reason is None:
        assert values(data, [1, 1]) == [4, 6]
        return
    with pytest.raises(ValueError, match=reason):
        values(data, [1, 1])


def test_numbers_of_one_byte_and_of_several_are_read():
    """127 is the largest number of one byte; numbers of one field may be packed."""
    for size in (127, 128, 300):
        data = file(node("Add", "x c"), constants={"c": np.ones(size)}, shape=(1, size)).SerializeToString()
        assert values(data, np.zeros(size)) == [1] * size
    tensor = field(1, varint(2) + varint(1)) + field(2, 11) + field(8, b"c") + field(10, struct.pack("<dd", 1.0, 2.0))
    model = file(node("Add", "x c"), shape=(2, 1))
    data = VERSION + field(7, model.graph.SerializeToString() + field(5, tensor))
    assert exact_model.read_onnx(data).constants["c"].shape == (2, 1)
    assert values(data, [0, 0]) == [1, 2]


def test_negative_numbers_are_read():
    """-1 has ten bytes."""
    model = file(node("Reshape", "x s"))
    model.graph.initializer.append(helper.make_tensor("s", TensorProto.INT64, [2], [-1, 1]))
    graph = exact_model.read_onnx(model.SerializeToString())
    assert graph.constants["s"].data == [-1, 1]
    assert exact_model.run(graph, exact_model.point(graph, words([1, 2])), {"y"})["y"].shape == (2, 1)


def test_numbers_of_more_than_64_bits_are_refused():
    tensor = field(1, 1 << 64) + field(2, 11) + field(8, b"c") + field(9, struct.pack("<d", 1.0))
    with pytest.raises(ValueError, match="64 bits"):
        exact_model.read_onnx(VERSION + field(7, field(5, tensor)))


# --- safetensors and JSON -----------------------------------------------------------------------------------------


def weights(table, body):
    header = table if isinstance(table, bytes) else json.dumps(table).encode()
    return len(header).to_bytes(8, "little") + header + body


ROW = {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}
EIGHT = struct.pack("<d", 1.0)


@pytest.mark.parametrize(
    ("data", "reason"),
    [(weights({"a": ROW}, EIGHT), None), (weights({"a": ROW, "b": ROW}, EIGHT), "overlap"),
     (weights({"a": ROW}, EIGHT + EIGHT), "gaps"),
     (weights({"a": {**ROW, "data_offsets": [-8, 8]}}, EIGHT), "gaps"),
     (weights({"a": {**ROW, "dtype": "I64"}}, EIGHT), "I64"),
     (weights(b'{"a": %s, "a": %s}' % ((json.dumps(ROW).encode(),) * 2), EIGHT), "twice")],
    ids=["sound", "overlap", "gap", "negative", "type", "twice"],
)  # fmt: skip
def test_weights_that_others_read_otherwise_are_refused(data, reason):
    graph = {"input": "x", "shape": [1], "steps": [["Add", ["x", "a"], "y", {}]]}
    if reason is None:
        assert exact_model.read_described(graph, data).constants["a"].data == [1]
        return
    with pytest.raises((ValueError, KeyError), match=reason):
        exact_model.read_described(graph, data)


# --- claims ---------------------------------------------------------------------------------------------------


def net():
    """|x1| and |x2| as differences, then their sum and 10."""
    first, last = nn.Linear(2, 2).double(), nn.Linear(2, 2).double()
    with torch.no_grad():
        first.weight[:], first.bias[:] = torch.eye(2), 0.0
        last.weight[:], last.bias[:] = torch.tensor([[1.0, 1.0], [0.0, 0.0]]), torch.tensor([0.0, 10.0])
    return plica.load(nn.Sequential(first, nn.ReLU(), last), (2,))


def said(claim, change=lambda body: None):
    graph, data = described(net())
    body = {"plica certificate": 1, "model": hashlib.sha256(data).hexdigest(), "graph": graph, "claims": [claim]}
    change(body)
    return checker.verify(json.dumps(body).encode(), data)


LAYER = net().layers[0]
PAIR = {"claim": "features", "x": words([1, 1]), "other": words([1, 2]), "layer": LAYER, "classes": [1, 1]}
PAIR |= {"tolerance": (1.0).hex(), "output": net().output}
BOUND = {"claim": "bound", "x": words([1, 1]), "label": 1, "output": net().output, "norm": "inf", "radius": (1.0).hex()}
BOUND |= {"lower": words([-9, -9]), "upper": words([9, 9]), "trees": [{"steps": [{}, {"rows": [-(1 << 60)]}]}]}
POINT = {"implied": [], "equal": ["0", "0"], "multipliers": [], "direction": ["0"] * 2, "independent": [0, 1]}
KIND = {"claim": "kind", "x": words([1, 1]), "layer": LAYER, "sources": ["input"], "kind": "singleton", "dimension": 0}
KIND |= {"proof": {"directions": {**POINT, "kernel": []}}}


def test_a_verdict_says_what_it_is_about():
    assert said(PAIR)[-1].endswith("two inputs differ by at most 1.0 and are answered [1, 1]")
    line = said({**BOUND, "radius": (1 / 3).hex(), "upper": words([9, 1.0000001])})[-1]
    assert f"within {1 / 3!r} of x" in line and "from -9.0 to 9.0, narrowest side 10)" in line
    assert f"{LAYER!r} gives its activity" in said(KIND)[-1]


def test_what_is_answered_is_the_model_s_answer():
    """At the first layer, (1, 2) has a 2 in the place of a class, and so has (3, 1) within 1/2."""
    with pytest.raises(ValueError, match="largest outputs"):
        said({**PAIR, "output": LAYER, "classes": [0, 1]})
    with pytest.raises(ValueError, match="not given the class"):
        said({**BOUND, "output": LAYER, "x": words([3, 1]), "label": 0, "radius": (0.5).hex()})
    with pytest.raises(ValueError, match="not given the class"):
        said({**BOUND, "label": -1, "trees": BOUND["trees"] * 2})


def test_the_ends_of_a_condition_are_numbers():
    claim = {"claim": "union", "source": "input", "layer": net().output, "rows": [[[[0, "1/1"]], "5/1", ""]]}
    claim |= {"lower": words([0, 0]), "upper": words([1, 1]), "tree": {"steps": [{}, {"rows": [-(1 << 60)]}]}}
    with pytest.raises(ValueError):
        said({**claim, "pieces": []})


@pytest.mark.parametrize(("row", "weight"), [([1], "d"), ([10], "b")], ids=["a rest", "a rest that is taken away"])
def test_multipliers_with_a_common_factor_cancel_to_the_last_digit(row, weight):
    """13 * 1 - 10 * 1 = 3, in tens 1 - 1 = 0; and 11 * 10 - 10 * 9 = 20, in tens 1 and 10 more."""
    proof = {**POINT, "equal": [weight], "multipliers": ["a"], "implied": [0], "independent": [0], "kernel": []}
    with pytest.raises(ValueError, match="cancel"):
        checker.cone([row], [[-1 if row == [1] else -9]], proof, 1)
    assert checker.cone([[1]], [[-1]], {**proof, "equal": ["a"]}, 1) == 0


def test_a_source_that_is_not_read_is_refused():
    """It would add a dimension, and make anything unbounded."""
    away = {"direction": ["0", "0", "1", "0"]}
    directions = {**POINT, "direction": ["0"] * 4, "kernel": []}
    claim = {**KIND, "sources": ["input", net().output], "kind": "unbounded", "dimension": 2}
    with pytest.raises(ValueError, match="not read"):
        said({**claim, "proof": {"directions": directions, "recession": away}})
    assert said(KIND)


def test_no_line_of_a_verdict_is_forged(tmp_path, capsys):
    """Names are quoted; what a refusal cites cannot end its line."""

    def renamed(body):
        for step in body["graph"]["steps"]:
            step[1:3] = [
                [name if name != LAYER else forged for name in step[1]],
                forged if step[2] == LAYER else step[2],
            ]

    forged = "it\naccepted\nmodel"
    lines = said({**KIND, "layer": forged}, renamed)
    assert all("\n" not in line for line in lines) and "'it\\naccepted\\nmodel'" in lines[-1]
    _, data = described(net())
    (tmp_path / "c.json").write_text(json.dumps({"plica certificate": "1\naccepted\n"}))
    (tmp_path / "c.safetensors").write_bytes(data)
    verdict = plica.verify(tmp_path / "c.json", tmp_path / "c.safetensors")
    assert not verdict and "\naccepted" not in verdict.summary()


@pytest.mark.parametrize("key", ["label", "claims"])
def test_a_name_twice_is_refused(key):
    graph, data = described(net())
    body = {"plica certificate": 1, "model": hashlib.sha256(data).hexdigest(), "graph": graph, "claims": [BOUND]}
    text = json.dumps(body)
    checker.verify(text.encode(), data)
    with pytest.raises(ValueError, match="twice"):
        checker.verify(text.replace(f'"{key}"', f'"{key}": 0, "{key}"').encode(), data)


def test_a_condition_names_a_value_once():
    """{0: 1, 0: -1} is 0 to one reader, -1 to another."""
    rows = [[[[0, "1/1"], [0, "-1/1"]], "5/1", None]]
    claim = {"claim": "union", "source": "input", "layer": net().output, "rows": rows, "pieces": []}
    claim |= {"lower": words([0, 0]), "upper": words([1, 1]), "tree": {"steps": [{}, {"rows": [-(1 << 60)]}]}}
    with pytest.raises(ValueError, match="twice"):
        said(claim)
    assert "there are no" in said({**claim, "rows": [[[[0, "1/1"]], "5/1", None]]})[-1]


# --- sizes, and what they are applied to ----------------------------------------------------------------------------


def made(op, x, *constants, **attributes):
    """What one step makes of a value, given as an array, and constants."""
    table = {f"c{k}": exact_model.exact(np.shape(c), np.ravel(c).tolist()) for k, c in enumerate(constants)}
    step = exact_model.Step(op, ("x", *table), "y", attributes)
    graph = exact_model.Graph([step], table, "x", np.shape(x), ["y"])
    return exact_model.run(graph, exact_model.point(graph, words(x)), {"y"})["y"]


SQUARE, IMAGE = np.arange(4.0).reshape(2, 2), np.arange(1.0, 10).reshape(1, 1, 3, 3)
ONES = np.ones((1, 1, 2, 2))
WRONG = {
    "a product with too short rows": ("Gemm", np.ones((1, 3)), [SQUARE], {}),
    "a product with too long rows": ("Gemm", np.ones((1, 1)), [SQUARE], {"transB": 1}),
    "a product with matrices": ("MatMul", np.ones((1, 2)), [SQUARE[:, :, None]], {}),
    "a product with a transposed input": ("Gemm", np.ones((2, 2)), [SQUARE], {"transA": 1}),
    "a product with twice the bias": ("Gemm", np.ones((2, 2)), [SQUARE, SQUARE], {"beta": 2.0}),
    "a kernel of another rank": ("Conv", IMAGE, [ONES[..., 0]], {}),
    "too few strides": ("Conv", IMAGE, [ONES], {"strides": [1]}),
    "too many strides": ("Conv", IMAGE, [ONES], {"strides": [1, 1, 1]}),
    "too few dilations": ("Conv", IMAGE, [ONES], {"dilations": [1]}),
    "too many dilations": ("Conv", IMAGE, [ONES], {"dilations": [1, 1, 1]}),
    "too many pads": ("Conv", IMAGE, [ONES], {"pads": [0, 0, 0, 0, 0, 0]}),
    "negative pads": ("Conv", IMAGE, [ONES], {"pads": [-1, 0, 0, 0]}),
    "negative pads of a pool": ("MaxPool", IMAGE, [], {"kernel_shape": [2, 2], "pads": [0, 0, 0, -1]}),
    "a kernel of size zero": ("MaxPool", IMAGE, [], {"kernel_shape": [2, 0]}),
    "a stride of zero": ("MaxPool", IMAGE, [], {"kernel_shape": [2, 2], "strides": [0, 1]}),
    "a negative stride": ("MaxPool", IMAGE, [], {"kernel_shape": [3, 3], "strides": [-1, 1]}),
    "a dilation of zero": ("MaxPool", IMAGE, [], {"kernel_shape": [2, 2], "dilations": [0, 1]}),
    "a kernel larger than the image": ("Conv", IMAGE, [np.ones((1, 1, 4, 4))], {}),
    "several images": ("Conv", np.ones((2, 1, 3, 3)), [ONES], {}),
    "other channels": ("Conv", np.ones((1, 2, 3, 3)), [ONES], {}),
    "channels in no group": ("Conv", np.ones((1, 2, 3, 3)), [ONES], {"group": 3}),
    "no groups": ("Conv", IMAGE, [ONES], {"group": 0}),
    "maps that groups do not share": ("Conv", np.ones((1, 2, 3, 3)), [np.ones((3, 1, 2, 2))], {"group": 2}),
    "a pool with nothing in a window": ("MaxPool", IMAGE, [], {"kernel_shape": [1, 1], "pads": [1, 0, 0, 0]}),
    "a sum of sizes that do not fit": ("Add", np.ones((1, 3)), [np.ones(2)], {}),
    "a shape of another size": ("Reshape", np.ones(4), [], {"shape": [3]}),
    "a negative shape": ("Reshape", np.ones(4), [], {"shape": [-2, -2]}),
    "a shape that is negative in part": ("Reshape", np.ones(4), [], {"shape": [-2, -2, 1]}),
    "a shape that is left open": ("Reshape", np.ones(4), [], {"shape": [-1, 3]}),
    "places outside": ("Pick", np.ones(2), [], {"index": [2], "shape": [1]}),
    "negative places": ("Pick", np.ones(2), [], {"index": [-2], "shape": [1]}),
    "more places than the shape has": ("Pick", np.ones(2), [], {"index": [0, 1], "shape": [1]}),
    "groups outside": ("MaxOver", np.ones(2), [], {"groups": [[0, 2]], "shape": [1]}),
    "a group of nothing": ("MaxOver", np.ones(2), [], {"groups": [[0], [-1]], "shape": [2]}),
    "more groups than the shape has": ("MaxOver", np.ones(2), [], {"groups": [[0], [1]], "shape": [1]}),
    "knots for more units": ("Piecewise", np.ones(2), [[0.0] * 3, [0.0] * 3, [1.0] * 3, [0.0] * 3, [0.0] * 3], {}),
    "knots that fall": ("Piecewise", np.ones(1), [[1.0], [0.0], [0.0], [0.0], [0.0], [0.0], [0.0], [0.0]], {}),
    "a jump": ("Piecewise", np.ones(1), [[0.0], [0.0], [1.0], [0.0], [1.0]], {}),
    "a piece too many": ("Piecewise", np.ones(1), [[0.0], [0.0], [1.0], [0.0], [0.0], [0.0]], {}),
    "a quotient by zero": ("Div", np.ones(1), [[0.0]], {}),
}


@pytest.mark.parametrize("name", WRONG)
def test_sizes_that_do_not_fit_are_refused(name):
    op, x, constants, attributes = WRONG[name]
    with pytest.raises((ValueError, IndexError, ZeroDivisionError)):
        made(op, x, *constants, **attributes)


def test_a_place_of_minus_one_is_zero():
    found = made("Pick", np.array([5.0, 7.0]), index=[-1, 1, 0], shape=[3])
    assert exact_model.fractions(found) == [0, 7, 5]


def test_more_or_fewer_numbers_than_a_shape_has_are_refused():
    for values_ in ([1.0], [1.0, 2.0, 3.0]):
        with pytest.raises(ValueError, match="numbers for shape"):
            exact_model.exact([2], values_)
    tensor = field(1, 1) + field(2, 11) + field(8, b"c") + field(9, struct.pack("<dd", 1.0, 2.0))
    with pytest.raises(ValueError, match="numbers for shape"):
        exact_model.read_onnx(VERSION + field(7, field(5, tensor)))


def test_shapes_that_no_file_backs_are_refused():
    """A few bytes of a certificate can ask for any size."""
    steps = [["Relu", ["x"], "y", {}]]
    empty = weights({}, b"")
    with pytest.raises(ValueError, match="too large"):
        exact_model.read_described({"input": "x", "shape": [1 << 40], "steps": steps}, empty)
    column, row = exact_model.exact((1 << 14, 1), [0.0] * (1 << 14)), exact_model.exact((1, 1 << 14), [0.0] * (1 << 14))
    with pytest.raises(ValueError, match="shape"):
        exact_model.add(column, row)
