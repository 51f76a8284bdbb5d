"""The checker: right about real and degenerate networks, alone, and hard to deceive."""

import ast
import copy
import gzip
import hashlib
import json
import random
import re
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import plica
import zoo
from oracles import networks as oracle
from plica import checker, exact_model
from plica.certificates.describe import described

SOURCES = [Path(module.__file__) for module in (checker, exact_model)]
MODELS = ("mnist_fc/mnist-net_256x2.onnx", "acasxu/ACASXU_run2a_1_1_batch_2000.onnx", "oval21/cifar_base_kw.onnx",
          "verivital/Convnet_maxpool.onnx", "rl/cartpole.onnx", "test_small/test_nano.onnx")  # fmt: skip


def words(x):
    return [float(v).hex() for v in np.asarray(x, dtype=np.float64).ravel()]


# --- the graph, exactly -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", zoo.KINDS)
@pytest.mark.parametrize("degenerate", [False, True])
def test_described_networks_have_the_oracle_s_exact_values(kind, degenerate):
    for seed in range(3):
        data, _ = zoo.random_net(kind, seed, degenerate=degenerate, scales=bool(seed % 2))
        net = zoo.build(data)
        graph = exact_model.read_described(*described(net))
        x = [Fraction(random.Random(seed).randint(-64, 64), 16) for _ in range(int(np.prod(net.input_shape)))]
        exact = oracle.output(data, x)
        found = exact_model.run(graph, exact_model.point(graph, words([float(v) for v in x])), {net.output})[net.output]
        assert [v * found.unit for v in found.data] == list(exact)


@pytest.mark.parametrize("name", MODELS)
def test_onnx_files_are_read_as_their_evaluator_reads_them(name, shared_data):
    found = sorted(shared_data.glob(f"{name}*"))
    if not found:
        pytest.skip(f"no {name}")
    net = plica.load(found[0])
    graph = exact_model.read_onnx(found[0].read_bytes())
    x = np.random.default_rng(0).random(net.input_shape)
    output = dict(net.origin.tensors)[net.output]
    exact = exact_model.run(graph, exact_model.point(graph, words(x)), {output})[output]
    expected = net(x[None]).detach().numpy().ravel()
    got = np.array([float(v * exact.unit) for v in exact.data])
    assert np.abs(got - expected).max() <= 1e-9 * max(1.0, np.abs(expected).max())


def count(*shape):
    return np.arange(1.0, 1 + np.prod(shape)).reshape(shape)


IMAGE, DEEP = count(1, 3, 4, 4), count(1, 6, 4, 3)
RIGHT = {
    "a difference": ("Sub", count(2, 3), [count(3)], {}, lambda x, c: x - c),
    "a quotient": ("Div", count(2, 3), [np.array([2.0, 4.0, -1.0])], {}, lambda x, c: x / c),
    "a product of a stack": ("MatMul", count(1, 2, 3), [count(3, 4)], {}, lambda x, c: x @ c),
    "a turned product and a bias": (
        "Gemm", count(2, 3), [count(4, 3), count(4)], {"transB": 1}, lambda x, c, d: x @ c.T + d,
    ),
    "a convolution of three channels": (
        "Conv", IMAGE, [count(2, 3, 2, 2), count(2)], {"strides": [2, 1], "pads": [1, 0, 0, 2], "dilations": [1, 2]},
        lambda x, w, b: nn.functional.conv2d(nn.functional.pad(x, (0, 2, 1, 0)), w, b, (2, 1), dilation=(1, 2)),
    ),
    "groups of three channels": (
        "Conv", DEEP, [count(4, 3, 2, 2)], {"group": 2}, lambda x, w: nn.functional.conv2d(x, w, groups=2),
    ),
    "the rest of a shape, in front": ("Reshape", count(1, 2, 6), [], {"shape": [-1, 4]}, lambda x: x.reshape(-1, 4)),
    "the rest of a shape": ("Reshape", count(2, 2, 3), [], {"shape": [0, 2, -1]}, lambda x: x.reshape(2, 2, 3)),
    "flat from the third axis on": ("Flatten", count(1, 2, 3, 2), [], {"axis": 2}, lambda x: x.reshape(2, 6)),
    "flat": ("Flatten", count(1, 2, 3), [], {}, lambda x: x.reshape(1, 6)),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_operations_are_those_of_torch(name):
    op, x, constants, attributes, expected = RIGHT[name]
    table = {f"c{k}": exact_model.exact(c.shape, c.ravel().tolist()) for k, c in enumerate(constants)}
    graph = exact_model.Graph([exact_model.Step(op, ("x", *table), "y", attributes)], table, "x", x.shape, ["y"])
    found = exact_model.run(graph, exact_model.point(graph, words(x)), {"y"})["y"]
    wanted = expected(*map(torch.from_numpy, (x, *constants)))
    assert tuple(found.shape) == wanted.shape
    assert [float(v) for v in exact_model.fractions(found)] == wanted.flatten().tolist()


def test_it_needs_the_standard_library_only_and_is_short(certified):
    certificate, weights = certified
    command = [sys.executable, "-I", "-S", str(SOURCES[0]), str(certificate), str(weights)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("accepted\n")
    for source in SOURCES:
        lines = source.read_text(encoding="utf-8").splitlines()
        assert len(lines) < 400
        assert not any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse("\n".join(lines))))  # python -O
        imported = {line.split()[1].split(".")[0] for line in lines if line.startswith(("import ", "from "))}
        assert imported <= sys.stdlib_module_names


# --- tampering --------------------------------------------------------------------------------------------------


def layer(seed=0):
    """A layer of 24 units on 5 inputs, with a duplicated and a dead unit."""
    torch.manual_seed(seed)
    first = nn.Linear(5, 24)
    with torch.no_grad():
        first.weight[3], first.bias[3] = first.weight[2], first.bias[2]
        first.weight[4] = 0
        first.bias -= 0.5
    return nn.Sequential(first, nn.ReLU(), nn.Linear(24, 3))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """One certificate of each kind: compact, unbounded, singleton, features."""
    folder, made = tmp_path_factory.mktemp("certificates"), {}
    net = plica.load(layer(), (5,))
    X = np.random.default_rng(1).normal(size=(40, 5)) * np.linspace(0.05, 2, 40)[:, None]
    for name in net.layers:
        result = plica.preimage_kind(net, X, layer=name)
        for i, kind in enumerate(result.kinds):
            wanted = kind == "singleton" or (kind == "compact" and result.positive[i] > 1)
            if wanted and str(kind) not in made:
                made[str(kind)] = plica.certify(result, net, X, path=folder / f"{kind}.json", index=i)
    wide = plica.load(nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2)), (5,))
    result = plica.preimage_kind(wide, X, layer=wide.choices[0])
    some = int(np.argmax(result.positive == 2))  # units that are held, and units that are not
    made["unbounded"] = plica.certify(result, wide, X, path=folder / "unbounded.json", index=some)
    pair = plica.impostor(wide, X[1], X[2], layer=wide.choices[0])
    made["features"] = plica.certify(pair, wide, path=folder / "features.json")
    assert {"compact", "unbounded", "singleton", "features"} <= made.keys()
    return made


@pytest.fixture
def full(request):
    return request.config.getoption("--full")


@pytest.fixture
def certified(certificates):
    return certificates["compact"], certificates["compact"].with_suffix(".safetensors")


@pytest.mark.parametrize("kind", ["compact", "unbounded", "singleton", "features"])
def test_certificates_are_accepted(kind, certificates):
    verdict = plica.verify(certificates[kind], certificates[kind].with_suffix(".safetensors"))
    assert verdict, verdict
    assert verdict.standing == "certified"


def proof(body):
    return body["claims"][0]["proof"]


def change(path, value):
    """A change of one entry of the first claim; `value` is the new one, or makes it from the old one."""

    def apply(body):
        target = body["claims"][0]
        for key in path[:-1]:
            target = target[key]
        old = target[path[-1]]
        target[path[-1]] = value(old) if callable(value) else value

    return apply


def plus_one(word):
    return f"{int(word, 16) + 1:x}"


TAMPERING = {
    "another kind": ("compact", change(["kind"], "unbounded")),
    "singleton for compact": ("compact", change(["kind"], "singleton")),
    "compact for unbounded": ("unbounded", change(["kind"], "compact")),
    "another dimension": ("compact", change(["dimension"], lambda d: d - 1)),
    "dimension of a point": ("singleton", change(["dimension"], 1)),
    "another input": ("compact", change(["x"], lambda x: [(float.fromhex(v) * 1e3).hex() for v in x])),
    "input too short": ("compact", change(["x"], lambda x: x[:-1])),
    "input not finite": ("compact", change(["x", 0], "nan")),
    "a multiplier": ("compact", change(["proof", "recession", "multipliers", 0], plus_one)),
    "a negative multiplier": ("compact", change(["proof", "recession", "multipliers", 0], lambda w: f"-{w}")),
    "multipliers of equalities": ("compact", change(["proof", "recession", "equal"], lambda w: [*map(plus_one, w)])),
    "multipliers all zero": ("compact", change(["proof", "recession", "multipliers"], lambda m: ["0"] * len(m))),
    "fewer multipliers": ("compact", change(["proof", "recession", "multipliers"], lambda m: m[:-1])),
    "a row implied twice": ("compact", change(["proof", "recession", "implied", 0], lambda i: i + 1)),
    "an independent row twice": ("compact", change(["proof", "recession", "independent"], lambda r: [*r[:-1], r[0]])),
    "fewer independent rows": ("compact", change(["proof", "recession", "independent"], lambda r: r[:-1])),
    "a direction": ("unbounded", change(["proof", "recession", "direction", 0], plus_one)),
    "the direction turned": (
        "unbounded", change(["proof", "recession", "direction"], lambda d: [f"{-int(w, 16):x}" for w in d])),
    "no direction": ("unbounded", change(["proof", "recession", "direction"], lambda d: ["0"] * len(d))),
    "a direction too short": ("unbounded", change(["proof", "recession", "direction"], lambda d: d[:-1])),
    "another layer": ("compact", change(["layer"], "nowhere")),
    "another source": ("compact", change(["sources"], ["nowhere"])),
    "a source twice": ("compact", change(["sources"], lambda s: [*s, *s])),
    "a constant as source": ("unbounded", change(["sources"], lambda s: [*s, "linear.weight"])),
    "an unknown claim": ("compact", change(["claim"], "theorem")),
    "a tighter tolerance": ("features", change(["tolerance"], lambda t: (-float.fromhex(t) - 1e-300).hex())),
    "another answer": ("features", change(["classes"], lambda c: [1 - c[0], c[1]])),
    "another impostor": ("features", change(["other", 0], lambda w: (float.fromhex(w) + 1).hex())),
    "no claims": ("compact", lambda body: body.update(claims=[])),
    "another format": ("compact", lambda body: body.update({"plica certificate": 2})),
    "another model's hash": ("compact", lambda body: body.update(model="0" * 64)),
    "a step left out": ("compact", lambda body: body["graph"]["steps"].pop(0)),
    "another operation": ("compact", lambda body: body["graph"]["steps"][0].__setitem__(0, "Softmax")),
    "no choice at the layer": ("compact", lambda body: body["graph"]["steps"][4].__setitem__(0, "Identity")),
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERING)
def test_tampering_is_refused(name, certificates, tmp_path):
    kind, tamper = TAMPERING[name]
    body = json.loads(certificates[kind].read_bytes())
    before = copy.deepcopy(body)
    tamper(body)
    assert body != before
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(body))
    verdict = plica.verify(changed, certificates[kind].with_suffix(".safetensors"))
    assert not verdict, verdict
    assert "refused" in verdict.lines[0]


def test_a_swapped_model_is_refused_even_with_its_own_hash(certificates, tmp_path):
    from hashlib import sha256

    body = json.loads(certificates["compact"].read_bytes())
    weights = described(plica.load(layer(5), (5,)))[1]
    (tmp_path / "other.safetensors").write_bytes(weights)
    assert not plica.verify(certificates["compact"], tmp_path / "other.safetensors")
    body["model"] = sha256(weights).hexdigest()
    (tmp_path / "c.json").write_text(json.dumps(body))
    assert not plica.verify(tmp_path / "c.json", tmp_path / "other.safetensors")


# --- damage -----------------------------------------------------------------------------------------------------


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Bytes flipped, cut out, doubled."""
    body = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(body))
        match rng.randrange(4):
            case 0:
                body[at] ^= 1 << rng.randrange(8)
            case 1:
                body[at] = rng.randrange(256)
            case 2:
                del body[at : at + rng.randint(1, 9)]
            case _:
                body[at:at] = body[at : at + rng.randint(1, 9)]
    return bytes(body)


def outcome(certificate, model):
    try:
        return checker.verify(certificate, model)
    except Exception as refusal:
        return type(refusal)


def claims(lines):
    """What a verdict claims, without the tolerances; and these."""
    text = "\n".join(line for line in lines[1:] if not line.startswith("graph"))
    tolerance = r"(?<=at most )\S+"
    return re.sub(tolerance, "", text), [float(number) for number in re.findall(tolerance, text)]


def test_damaged_certificates_are_refused_or_say_the_same(certificates, full):
    """A change that is accepted leaves every claim as it was (a space, a leading zero, a multiple of the proof).

    A tolerance may have grown.
    """
    rng = random.Random(0)
    for kind, path in certificates.items():
        text, weights = path.read_bytes(), path.with_suffix(".safetensors").read_bytes()
        truth, limits = claims(checker.verify(text, weights))
        for _ in range(2500 if full else 120):
            said = outcome(mutated(text, rng), weights)
            if isinstance(said, list):
                accepted, own = claims(said)
                assert accepted == truth and all(a <= b for a, b in zip(limits, own, strict=True)), kind


def test_damaged_models_are_refused(certificates, shared_data, full):
    rng = random.Random(1)
    path = certificates["compact"]
    text, weights = path.read_bytes(), path.with_suffix(".safetensors").read_bytes()
    for _ in range(2000 if full else 100):
        damaged = mutated(weights, rng)
        assert damaged == weights or not isinstance(outcome(text, damaged), list)
    raw = min(shared_data.glob("test_small/*.onnx*"), key=lambda p: p.stat().st_size).read_bytes()
    raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    for _ in range(5000 if full else 300):
        try:
            exact_model.read_onnx(mutated(raw, rng))
        except (
            ValueError,
            KeyError,
            IndexError,
            TypeError,
            AttributeError,
            ArithmeticError,
            MemoryError,
            struct.error,
        ):
            continue


# --- old files, and past mistakes -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((Path(__file__).parent / "data" / "certificates").glob("*/*.json")), ids=str)
def test_certificates_of_earlier_versions_are_accepted(path):
    assert plica.verify(path, path.with_suffix(".safetensors"))


HIDDEN = {  # row 1 of the limits has no multiplier
    "a row held twice": {"implied": [0, 0, 1], "equal": ["2"], "multipliers": ["1", "1"], "independent": [0, 3]},
    "a weight for another row": {"implied": [0, 1], "equal": [], "multipliers": ["1", "1"], "independent": [0, 2]},
    "a weight of zero": {"implied": [0, 1], "equal": ["1"], "multipliers": ["1", "0"], "independent": [0, 2]},
}


@pytest.mark.parametrize("held", HIDDEN.values(), ids=HIDDEN)
def test_rows_without_a_multiplier_are_not_hidden(held):
    """The preimage is unbounded: (0, -1) leads to infinity."""
    first = nn.Linear(2, 4).double()
    with torch.no_grad():
        first.weight[:] = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [1, 1]])
        first.bias[:] = torch.tensor([1.0, 0, -1, -9])
    net = plica.load(nn.Sequential(first, nn.ReLU()), (2,))
    graph, weights = described(net)
    plain = {
        "implied": [],
        "equal": ["0"],
        "multipliers": [],
        "direction": ["0", "0"],
        "independent": [0],
        "kernel": [],
    }
    claim = {"claim": "kind", "x": words([0.5, -1.0]), "layer": net.choices[0], "sources": ["input"], "dimension": 1}
    claim |= {"kind": "compact", "proof": {"directions": plain, "recession": plain | held}}
    body = {"plica certificate": 1, "model": hashlib.sha256(weights).hexdigest(), "graph": graph, "claims": [claim]}
    with pytest.raises(ValueError, match="wrong multipliers"):
        checker.verify(json.dumps(body).encode(), weights)


def claimed(module, shape, **words_of_claim):
    """What the checker says of a claim about the first choice of a module."""
    net = plica.load(module, shape)
    graph, weights = described(net)
    claim = {"claim": "kind", "layer": net.layers[0], "sources": ["input"], **words_of_claim}
    body = {"plica certificate": 1, "model": hashlib.sha256(weights).hexdigest(), "graph": graph, "claims": [claim]}
    return checker.verify(json.dumps(body).encode(), weights)


def linear(*rows):
    """A layer of these weights without bias."""
    layer = nn.Linear(len(rows[0]), len(rows), bias=False).double()
    with torch.no_grad():
        layer.weight[:] = torch.tensor(rows, dtype=torch.float64)
    return nn.Sequential(layer, nn.ReLU())


def cone_of(n, equal, **changed):
    """A proof about a cone without implied rows, in n dimensions with some equations, the first of them independent."""
    plain = {"implied": [], "equal": ["0"] * equal, "multipliers": [], "direction": ["0"] * n, "kernel": []}
    return {**plain, "independent": list(range(equal)), **changed}


def test_more_rows_than_equal_ones_have_to_decrease():
    """{v1 <= 0, -v1 <= 0} is a line, not the plane; {v1 = 0, -v1 - v2 <= 0, -v1 + v2 <= 0} is a point, not a line."""
    with pytest.raises(ValueError, match="decrease"):
        checker.cone([], [[1, 0], [-1, 0]], cone_of(2, 0, direction=["-1", "0"]), 2)
    with pytest.raises(ValueError, match="decrease"):
        checker.cone([], [[1, 0], [-1, 0]], cone_of(2, 0), 2)  # 0 decreases nothing
    with pytest.raises(ValueError, match="leaves"):
        checker.cone([[1, 0]], [[-1, -1], [-1, 1]], cone_of(2, 1, direction=["1", "0"]), 2)
    with pytest.raises(ValueError, match="leaves"):
        held, below = [[1, 0, 0], [0, 1, 0]], [[-1, 0, -1], [-1, 0, 1]]
        checker.cone(held, below, cone_of(3, 2, direction=["1", "0", "0"]), 3)
    assert checker.cone([[1, 0]], [[-1, -1]], cone_of(2, 1, direction=["0", "1"]), 2) == 1


def test_more_than_one_entry_of_the_rows_has_to_cancel():
    """{v1 = 0, v2 <= v1} is a half-line, not a point."""
    held = cone_of(2, 1) | {"implied": [0], "equal": ["1"], "multipliers": ["1"], "independent": [0, 1]}
    with pytest.raises(ValueError, match="cancel"):
        checker.cone([[1, 0]], [[-1, 1]], held, 2)


def test_more_is_not_said_of_a_kernel_than_is_proven():
    """{v1 = 0, v2 = 0} is a point: no vector is left, though one row alone has a kernel."""
    for kernel, words_ in (([["0", "1"]], "not in the kernel"), ([], "not proven"), ([["0", "0"]], "not proven")):
        with pytest.raises(ValueError, match=words_):
            checker.cone([[1, 0], [0, 1]], [], cone_of(2, 2, independent=[0], kernel=kernel), 2)
    assert checker.cone([[1, 0], [2, 0]], [], cone_of(2, 2, independent=[0], kernel=[["0", "1"]]), 2) == 1


def test_more_false_kinds_are_refused():
    """A line is not compact though its cone is what the proof says; a branch is not the set; a source counts once."""
    line = {"directions": cone_of(2, 1), "recession": cone_of(2, 1)}
    with pytest.raises(ValueError, match="it is not compact"):
        claimed(linear([1.0, 0.0]), (2,), x=words([1, 1]), kind="compact", dimension=1, proof=line)
    away = {"directions": cone_of(2, 1), "recession": {"direction": ["0", "1"]}}
    assert (
        "unbounded" in claimed(linear([1.0, 0.0]), (2,), x=words([1, 1]), kind="unbounded", dimension=1, proof=away)[-1]
    )
    rising = {"directions": cone_of(2, 0), "recession": {"direction": ["-1", "1"]}}
    about = {"x": words([-1, -1]), "kind": "unbounded", "dimension": 2, "proof": rising}
    with pytest.raises(ValueError, match="infinity"):
        claimed(linear([1.0, 0.0], [0.0, 1.0]), (2,), **about)
    point = {"directions": cone_of(2, 2), "recession": {"direction": ["1", "0"]}}
    with pytest.raises(ValueError, match="layer holds"):
        about = {"x": words([1, 1]), "kind": "unbounded", "dimension": 0, "proof": point}
        claimed(linear([1.0, 0.0], [0.0, 1.0]), (2,), **about)
    twice = {"directions": cone_of(4, 2), "recession": {"direction": ["1", "0", "0", "0"]}}
    about = {"x": words([1, 1]), "kind": "unbounded", "dimension": 2, "proof": twice, "sources": ["input", "input"]}
    with pytest.raises(ValueError, match="a source twice"):
        claimed(linear([1.0, 0.0], [0.0, 1.0]), (2,), **about)

    class Absolute(nn.Module):
        def forward(self, x):
            return x.abs()

    one = {"directions": cone_of(1, 1)}
    with pytest.raises(ValueError, match="one branch"):
        claimed(Absolute(), (1,), x=words([1]), kind="singleton", dimension=0, proof=one)


def test_more_than_the_least_difference_of_features_counts():
    """(1, 1) and (1, 2) differ by 0 and by 1."""
    about = {"claim": "features", "x": words([1, 1]), "other": words([1, 2]), "classes": [0, 1]}
    about |= {"output": plica.load(linear([1.0, 0.0], [0.0, 1.0]), (2,)).layers[0]}
    with pytest.raises(ValueError, match="differ by more"):
        claimed(linear([1.0, 0.0], [0.0, 1.0]), (2,), **about, tolerance=(0.5).hex())
    assert claimed(linear([1.0, 0.0], [0.0, 1.0]), (2,), **about, tolerance=(1.0).hex())


@pytest.mark.parametrize("closed", [False, True])
def test_more_than_a_limit_is_needed_for_a_tie(closed):
    """On [0, 2] a ReLU is 0 at 0, which the branch z <= 0 has; on [1, 2] it is not. The other branch is a tie."""
    below = {"steps": [{}, {"rows": [0], "edges": [[0, [[0, -1]]]]}]}
    above = {"steps": [{}, {"rows": [1], "edges": [[0, [[0, 1]]]]}]}
    tree = {"steps": [{}], "split": [0, 0], "children": [below, above]}
    about = {"claim": "union", "source": "input", "rows": [[[[0, "1/1"]], "0/1", "0/1"]], "pieces": [], "tree": tree}
    about |= {"lower": [float(closed).hex()], "upper": [(2.0).hex()]}
    if closed:
        assert "there are no" in claimed(linear([1.0]), (1,), **about)[-1]
        return
    with pytest.raises(ValueError, match="not all other branches"):
        claimed(linear([1.0]), (1,), **about)


def test_more_than_the_ball_limits_a_bound():
    """The box is around the centre; the smaller one counts on every side."""
    ends = {"norm": "2", "radius": (0.5).hex(), "lower": words([0.0]), "upper": words([1.0])}
    found = checker.region(ends, 1, [Fraction(3, 4)])
    assert (found.low, found.high) == ([Fraction(-1, 2)], [Fraction(1, 4)])


@pytest.mark.parametrize(
    ("lower", "upper"),
    [([0.0], [1.0]), ([0.8, 0.0], [1.0, 1.0]), ([0.0, 0.0], [0.7, 1.0]), ([0.0, 0.8], [1.0, 1.0])],
)
def test_more_entries_of_a_box_than_one_count(lower, upper):
    """Too few of both ends; the centre outside on one side."""
    ends = {"norm": "1", "radius": (0.5).hex(), "lower": words(lower), "upper": words(upper)}
    with pytest.raises(ValueError):
        checker.region(ends, 2, [Fraction(3, 4)] * 2)
    assert checker.region({**ends, "lower": words([0, 0]), "upper": words([1, 1])}, 2, [Fraction(3, 4)] * 2)


def test_more_knots_than_0_are_met_exactly():
    """clip(u) and clip(-u - 2) are both -1 on {-1} only, where both inputs lie on the knot."""
    layer = nn.Linear(1, 2).double()
    with torch.no_grad():
        layer.weight[:], layer.bias[:] = torch.tensor([[1.0], [-1.0]]), torch.tensor([0.0, -2.0])
    tight = {
        "implied": [0, 1],
        "equal": [],
        "multipliers": ["1", "1"],
        "direction": ["0"],
        "independent": [0],
        "kernel": [],
    }
    about = {"x": words([-1]), "kind": "singleton", "dimension": 0, "proof": {"directions": tight}}
    assert "singleton" in claimed(nn.Sequential(layer, nn.Hardtanh()), (1,), **about)[-1]


def test_more_than_the_upper_ends_of_conditions_count():
    """A point is to give 3/4, neither less nor more."""
    for point in ("1/4", "5/4"):
        pieces = [{"branches": [[1]], "point": [point]}]
        about = {"claim": "union", "source": "input", "rows": [[[[0, "1/1"]], "3/4", "3/4"]], "tree": {"steps": []}}
        with pytest.raises(ValueError, match="misses"):
            claimed(linear([1.0]), (1,), **about, pieces=pieces, lower=words([0]), upper=words([2]))


def test_more_knots_than_0_end_an_activity():
    """clip(u) is -1 for u up to -1."""
    layer = nn.Linear(1, 1, bias=False).double()
    with torch.no_grad():
        layer.weight[:] = 1.0
    about = {"claim": "union", "source": "input", "x": words([-2]), "lower": words([-3]), "upper": words([3])}
    about |= {"tree": {"steps": [{}], "piece": 0}}
    net = nn.Sequential(layer, nn.Hardtanh())
    assert "1 closed pieces" in claimed(net, (1,), **about, pieces=[{"branches": [], "point": ["-5/2"]}])[-1]
    with pytest.raises(ValueError, match="misses"):
        claimed(net, (1,), **about, pieces=[{"branches": [], "point": ["-1/2"]}])
