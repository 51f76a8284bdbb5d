"""Certificates of whole preimages: accepted, refused when changed, and never accepted of what an oracle denies."""

import copy
import hashlib
import itertools
import json
import random
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

import plica
import zoo
from oracles import networks as oracle
from plica import checker
from plica.certificates.describe import described
from plica.errors import ArgumentError


def module(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).double()


X = np.array([[0.3, -0.2]])
BOX = plica.Box(-2.0, 2.0)


def box(n=2):
    return plica.Box(np.full(n, -2.0), np.full(n, 2.0))


def read(path):
    return json.loads(path.read_bytes()), path.with_suffix(".safetensors").read_bytes()


def said(body, weights):
    try:
        return checker.verify(json.dumps(body).encode(), weights)
    except Exception:
        return None


@pytest.fixture(scope="module")
def unions(tmp_path_factory):
    """By name: a certificate, its weights and its path. Of several pieces, and of none behind branches."""
    folder, made = tmp_path_factory.mktemp("unions"), {}
    for seed in range(40):
        net = plica.load(module(seed), (2,))
        pieces = plica.preimage(net, X[0], layer=net.layers[-2], domain=box())
        if "pieces" not in made and 1 < len(list(pieces.pieces())) < 9:
            made["pieces"] = plica.certify(pieces, net, path=folder / "pieces.json")
        top = net(np.random.default_rng(0).uniform(-2, 2, (4000, 2))).max(0).values.numpy()
        none = plica.preimage_of(net, (1.02 * top + 0.02, 0.0), layer=net.layers[-1], domain=box())
        if "empty" not in made and not list(none.pieces()):
            path = plica.certify(none, net, path=folder / "empty.json")
            if "split" in json.loads(path.read_bytes())["claims"][0]["tree"]:
                made["empty"] = path
        if len(made) == 2:
            return {name: (*read(path), path) for name, path in made.items()}
    raise AssertionError(made)


@pytest.mark.parametrize("name", ["pieces", "empty"])
def test_unions_are_accepted(unions, name):
    verdict = plica.verify(unions[name][2], unions[name][2].with_suffix(".safetensors"))
    assert verdict and ("there are no" in verdict.lines[-1]) == (name == "empty")


# --- all kinds of nodes -------------------------------------------------------------------------------------------


@pytest.mark.big(sample=10)
@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("seed", range(70))
def test_preimages_of_the_zoo_have_certificates(seed, free, tmp_path):
    data, draw = zoo.random_net(zoo.KINDS[seed % 7], seed, degenerate=seed // 7 % 2 == 1)
    net = zoo.build(data)
    n = int(np.prod(net.input_shape))
    x = np.asarray(draw.point(n), dtype=np.float64)
    layer = net.layers[seed % len(net.layers)]
    found = plica.preimage(
        net, x.reshape(net.input_shape), layer=layer, domain=None if free else plica.Box(x - 1, x + 1)
    )
    path = plica.certify(found, net, path=tmp_path / "c.json")
    verdict = plica.verify(path, path.with_suffix(".safetensors"))
    assert verdict and f"{len(list(found.pieces()))} closed pieces" in verdict.lines[-1]


def test_a_layer_s_own_space_and_a_saved_result(tmp_path):
    net = plica.load(module(3), (2,))
    for start in (None, net.layers[0]):
        found = plica.preimage(net, X[0], layer=net.layers[-2], from_layer=start, domain=box(4 if start else 2))
        path = plica.certify(found.result(), net, X, path=tmp_path / "c.json")
        assert plica.verify(path, path.with_suffix(".safetensors"))
    wins = plica.preimage_of(net, 1, layer=net.layers[-1], domain=box())
    with pytest.raises(ArgumentError, match="target"):
        plica.certify(wins.result(), net, path=tmp_path / "w.json")
    path = plica.certify(wins.result(), net, path=tmp_path / "w.json", target=1)
    assert plica.verify(path, path.with_suffix(".safetensors"))


def test_what_may_be_missing_is_refused(tmp_path):
    net = plica.load(module(3), (2,))
    short = plica.preimage(net, X[0], layer=net.layers[-2], domain=box(), progress=plica.Progress(max_seconds=0.0))
    with pytest.raises(ArgumentError, match="missing"):
        plica.certify(short, net, path=tmp_path / "c.json")
    with pytest.raises(ArgumentError, match="takes no box"):
        plica.certify(short, net, path=tmp_path / "c.json", box=BOX)


# --- tampering ----------------------------------------------------------------------------------------------------


def nodes(body):
    todo = [body["claims"][0]["tree"]]
    while todo:
        node = todo.pop()
        yield node
        todo += node.get("children", [])


def put(key, value):
    def apply(body):
        claim = body["claims"][0]
        claim[key] = value(claim[key]) if callable(value) else value

    return apply


def piece(key, value):
    def apply(body):
        own = body["claims"][0]["pieces"][0]
        own[key] = value(own[key])

    return apply


def flipped(branches):
    branches[0][0] = 1 - branches[0][0]
    return branches


def steps(change):
    def apply(body):
        for node in nodes(body):
            for step in node["steps"]:
                if "rows" in step:
                    change(step)

    return apply


def leaves(body):
    """Every leaf says nothing."""
    for node in nodes(body):
        if "children" not in node:
            node.clear()
            node["steps"] = []


def child(change):
    def apply(body):
        change(next(n for n in nodes(body) if "children" in n))

    return apply


def steal(body):
    """The split is about a unit that is decided above."""
    node = next(n for n in nodes(body) if "children" in n)
    for below in node["children"]:
        below["split"], below["children"], below["steps"] = node["split"], [{"steps": []}, {"steps": []}], []
        below.pop("piece", None)


def point_at(value):
    return lambda words: [value, *words[1:]]


def exchanged(body):
    """Two pieces have each other's point."""
    first, second = body["claims"][0]["pieces"][:2]
    first["point"], second["point"] = second["point"], first["point"]


def shrunk(body):
    """Pieces left out."""
    body["claims"][0]["pieces"].pop()


TAMPERING = {
    "a piece left out": ("pieces", shrunk),
    "a piece twice": ("pieces", put("pieces", lambda p: [*p, p[0]])),
    "a piece that is none": ("empty", put("pieces", [{"branches": [[0] * 4, [0] * 3], "point": ["0/1", "0/1"]}])),
    "no pieces": ("pieces", put("pieces", [])),
    "another branch of a piece": ("pieces", piece("branches", flipped)),
    "a branch that does not exist": ("pieces", piece("branches", lambda b: [[7, *b[0][1:]], *b[1:]])),
    "fewer branches": ("pieces", piece("branches", lambda b: b[:-1])),
    "a point elsewhere": ("pieces", piece("point", point_at("7/4"))),
    "points exchanged": ("pieces", exchanged),
    "a point moved a little": ("pieces", piece("point", lambda p: [w.replace("/", "0/") + "1" for w in p])),
    "a point outside of the box": ("pieces", piece("point", point_at("64/1"))),
    "a point without an end": ("pieces", piece("point", point_at("1/0"))),
    "a point in decimals": ("pieces", piece("point", point_at("1e9"))),
    "a point too short": ("pieces", piece("point", lambda p: p[:-1])),
    "a larger box, empty": ("empty", put("upper", lambda w: [(1e3).hex()] * len(w))),
    "the whole space": ("empty", put("upper", lambda w: ["inf"] * len(w))),
    "a box too short": ("pieces", put("lower", lambda w: w[:-1])),
    "a box without points": ("empty", put("lower", lambda w: [(3.0).hex()] * len(w))),
    "a box that is no number": ("empty", put("lower", lambda w: ["nan"] * len(w))),
    "another input": ("pieces", put("x", [(-1.9).hex(), (1.9).hex()])),
    "conditions for an activity": ("pieces", lambda body: body["claims"][0].update(x=None)),
    "another layer": ("pieces", put("layer", "input")),
    "an unknown layer": ("empty", put("layer", "nowhere")),
    "another source": ("pieces", put("source", "nowhere")),
    "conditions dropped": ("empty", put("rows", [])),
    "conditions relaxed": ("empty", put("rows", lambda r: [[row, "-64/1", "64/1"] for row, *_ in r])),
    "a condition on another unit": ("empty", put("rows", lambda r: [[[[9, "1/1"]], *ends] for _, *ends in r])),
    "a child dropped": ("empty", child(lambda n: n["children"].pop())),
    "children exchanged": ("empty", child(lambda n: n["children"].reverse())),
    "a child too many": ("empty", child(lambda n: n["children"].append(n["children"][0]))),
    "a unit that is decided": ("empty", steal),
    "a unit that is not there": ("empty", child(lambda n: n.update(split=[0, 99]))),
    "leaves unproven": ("empty", leaves),
    "leaves unproven, pieces": ("pieces", leaves),
    "another piece at the leaves": (
        "pieces", lambda b: [n.update(piece=n["piece"] + 1) for n in nodes(b) if "piece" in n]),
    "weights negated": ("empty", steps(lambda s: s.update(rows=[-k for k in s["rows"]]))),
    "weights all zero": ("empty", steps(lambda s: s.update(rows=[0 for _ in s["rows"]], edges=[], slopes=[]))),
    "fewer weights": ("empty", steps(lambda s: s.update(rows=s["rows"][:-1]))),
    "a weight that is not whole": ("empty", steps(lambda s: s.update(rows=[0.5 for _ in s["rows"]]))),
    "a weight that is infinite": ("empty", steps(lambda s: s.update(rows=[float("inf") for _ in s["rows"]]))),
    "lines of other units": ("empty", steps(lambda s: s.update(slopes=[[0, [[u, [[u + 1, 1 << 60]], [[u + 1, 1 << 60]]]
                                                                           for u in range(3)]]]))),
    "another operation": ("empty", lambda body: body["graph"]["steps"][-2].__setitem__(0, "Softmax")),
    "another model's hash": ("pieces", lambda body: body.update(model="0" * 64)),
    "an unknown claim": ("pieces", put("claim", "claims")),
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERING)
def test_tampering_is_refused(name, unions):
    kind, tamper = TAMPERING[name]
    body, weights, _ = unions[kind]
    changed = copy.deepcopy(body)
    assert said(body, weights)
    tamper(changed)
    assert changed != body and not said(changed, weights)


def test_a_swapped_model_is_refused_even_with_its_own_hash(unions):
    other = described(plica.load(module(77), (2,)))[1]
    for body, _, _ in unions.values():
        assert not said(body, other)
        assert not said({**body, "model": hashlib.sha256(other).hexdigest()}, other)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"point": ["1/4", "1/1"]}, "misses"), ({"point": ["3/2", "1/1"]}, "misses"), ({"lower": 0.8}, "outside"),
     ({"upper": 0.6}, "outside"), ({"point": ["3/4", "1/1"]}, None)],
)  # fmt: skip
def test_the_point_of_a_piece_lies_where_it_is_said_to(changes, words, tmp_path):
    """The preimage of [1/2, 1] under a ReLU of the first of two inputs; its point is moved, or one side of the box."""
    first = nn.Linear(2, 1).double()
    with torch.no_grad():
        first.weight[:], first.bias[:] = torch.tensor([1.0, 0.0]), 0.0
    net = plica.load(nn.Sequential(first, nn.ReLU()), (2,))
    ends = plica.Box(np.array([0.1, 0.1]), np.array([2.0, 2.0]))
    found = plica.preimage_of(net, (np.array([0.75]), 0.25), layer=net.layers[0], domain=ends)
    body, weights = read(plica.certify(found, net, path=tmp_path / "c.json"))
    claim = body["claims"][0]
    claim["pieces"][0]["point"] = ["3/4", "1/1"]
    for key, value in changes.items():
        of = claim["pieces"][0] if key == "point" else claim
        of[key] = value if key == "point" else [value.hex(), claim[key][1]]
    if words is None:
        assert said(body, weights)
        return
    with pytest.raises(ValueError, match=words):
        checker.verify(json.dumps(body).encode(), weights)


# --- soundness, against exact enumeration -------------------------------------------------------------------------


def one_layer(rng, scale):
    """A random net of one or two inputs and plain data: integers, half of them degenerate, times a power of ten."""
    n, degenerate = rng.randint(1, 2), rng.random() < 0.5
    draw = (lambda: rng.randint(-1, 1)) if degenerate else (lambda: rng.randint(-9, 9))
    make = rng.choice(["relu", "leaky", "abs", "clip", "maxout"])
    options = {"leaky": {"slope": 0.25}, "clip": {"lower": -scale, "upper": scale}, "maxout": {"size": 2}}.get(make, {})
    first = {"W": [[scale * draw() for _ in range(n)] for _ in range(4)], "b": [scale * draw() for _ in range(4)]}
    width = 2 if make == "maxout" else 4
    last = {"W": [[float(draw()) for _ in range(width)] for _ in range(2)], "b": [scale * draw() for _ in range(2)]}
    return zoo.chain(
        (n,), ("dense", first), (make, options), ("dense", last), ("relu", {}), ("dense", {"W": [[1, -1]]})
    )


def grid(n):
    """Rational points of the box, corners and middle included."""
    return [tuple(Fraction(k, 4) for k in p) for p in itertools.product(range(-8, 9), repeat=n)]


def refuted(data, net, claim):
    """Whether an exact point of the box shows that a claim about it is false."""
    wanted = {net.input_shape[0]: grid(net.input_shape[0])}[net.input_shape[0]]
    x = [Fraction(float.fromhex(w)) for w in claim["x"]] if "x" in claim else None
    part = {**data, "nodes": data["nodes"][:4]}
    own = oracle.output(part, x) if x else None
    low, high = ([Fraction(float.fromhex(w)) for w in claim[k]] for k in ("lower", "upper"))
    for p in wanted:
        if not all(a <= v <= b for a, v, b in zip(low, p, high, strict=True)):
            continue
        if x:
            meets = oracle.output(part, list(p)) == own
        else:
            v = oracle.output(data, list(p))
            meets = all(row_holds(row, v) for row in claim["rows"])
        if meets and not any(lies(data, p, piece["branches"]) for piece in claim["pieces"]):
            return p
    return None


def row_holds(row, v):
    """Whether values keep the limits of a claim's row."""

    def number(word):
        return Fraction(*(int(part, 16) for part in word.split("/")))

    terms, low, high = row
    total = sum(number(c) * v[i] for i, c in terms)
    return (low is None or number(low) <= total) and (high is None or total <= number(high))


def lies(data, p, branches):
    """Whether a point lies in a closed piece, by the plain data's own arithmetic."""
    for (name, kind, _, options), own in zip(
        [node for node in data["nodes"] if node[1] != "dense"], branches, strict=False
    ):
        at = [node[0] for node in data["nodes"]].index(name)
        z = oracle.output({**data, "nodes": data["nodes"][:at]}, list(p))
        for u, b in enumerate(own):
            if kind == "maxout":
                group = z[2 * u : 2 * u + 2]
                if group[b] < max(group):
                    return False
                continue
            knots = {"clip": [Fraction(options.get("lower", 0)), Fraction(options.get("upper", 0))]}.get(kind, [0])
            if (b > 0 and z[u] < knots[b - 1]) or (b < len(knots) and z[u] > knots[b]):
                return False
    return True


def mutate(data, rng):
    """Change one whole number or drop one entry somewhere."""
    while isinstance(data, (list, dict)) and data:
        key = rng.choice(list(data) if isinstance(data, dict) else range(len(data)))
        if type(data[key]) is int:
            data[key] = rng.choice([-data[key], 0, data[key] + 1, data[key] * 1000, -1 - 2 * data[key], 1 << 60])
            return
        if isinstance(data, list) and rng.random() < 0.1:
            del data[key]
            return
        data = data[key]


@pytest.mark.big(sample=12)
@pytest.mark.parametrize("seed", range(400))
def test_what_is_accepted_is_true(seed, tmp_path):
    """With pieces taken away, boxes moved or trees mutated, no claim that is false is accepted."""
    rng = random.Random(seed)
    scale = 10.0 ** rng.choice([-6, -3, 0, 3, 6])
    data = one_layer(rng, scale)
    net = zoo.build(data)
    n = net.input_shape[0]
    x = np.array([rng.randint(-8, 8) / 4 for _ in range(n)])
    if seed % 2:
        found = plica.preimage(net, x, layer=net.layers[-2], domain=box(n))
    else:
        level = float(net(x[None])[0, 0]) + scale * rng.choice([0, 1, 30])
        found = plica.preimage_of(
            net, (np.array([level]), rng.choice([0.0, scale])), layer=net.layers[-1], domain=box(n)
        )
    path = plica.certify(found, net, path=tmp_path / "c.json")
    body, weights = read(path)
    assert said(body, weights) and refuted(data, net, body["claims"][0]) is None
    for _ in range(12):
        changed = copy.deepcopy(body)
        claim = changed["claims"][0]
        for _ in range(rng.randint(1, 3)):
            how = rng.randrange(4)
            if how == 0 and claim["pieces"]:
                claim["pieces"].pop(rng.randrange(len(claim["pieces"])))
            elif how == 1:
                claim[rng.choice(["lower", "upper"])] = [rng.randint(-8, 8) / 4 for _ in range(n)]
                for key in ("lower", "upper"):
                    claim[key] = [float(v).hex() if not isinstance(v, str) else v for v in claim[key]]
            else:
                mutate(claim["tree"], rng)
        if said(changed, weights):
            assert refuted(data, net, claim) is None
