"""Certificates of bounds: accepted, alone too; refused when changed; never accepted beyond the exact distance."""

import copy
import json
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import plica
import zoo
from plica import checker
from plica.core.affine import Concat, Gather, Sum
from plica.core.choice import MaxOver, absolute, relu
from plica.core.network import INPUT, Graph

RADIUS = 1.05


def module(seed=0, classes=3):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 5), nn.LeakyReLU(0.25), nn.Linear(5, classes)
    ).double()


def made(folder, seed, norm, box=None):
    net = plica.load(module(seed), (3,))
    net = net if box is None else net.within(box)
    X = np.random.default_rng(seed).uniform(0.2, 0.8, size=(1, 3))
    result = plica.min_distortion(net, X, norm=norm, method="fast", exact=True)
    return result, plica.certify(result, net, X, path=folder / f"{seed}-{norm}.json")


@pytest.fixture(scope="module")
def bound(tmp_path_factory):
    """The certificate whose proof has branches, its weights' bytes, and a point's distance."""
    folder = tmp_path_factory.mktemp("bounds")
    for seed in range(20):
        result, path = made(folder, seed, 2.0, plica.Box(-3, 3))
        body = json.loads(path.read_bytes())
        if np.isfinite(result.distance[0]) and any("split" in tree for tree in body["claims"][0]["trees"]):
            return body, path.with_suffix(".safetensors").read_bytes(), float(result.distance[0]), path
    raise AssertionError


def said(body, weights):
    try:
        return checker.verify(json.dumps(body).encode(), weights)
    except Exception:
        return None


@pytest.mark.parametrize("norm", [2.0, float("inf"), 1.0])
def test_bounds_are_accepted(norm, tmp_path):
    result, path = made(tmp_path, 1, norm)
    verdict = plica.verify(path, path.with_suffix(".safetensors"))
    claim = json.loads(path.read_bytes())["claims"][0]
    assert verdict and float.fromhex(claim["radius"]) >= 0.98 * result.lower_bound[0]


def test_the_checker_alone_accepts_it(bound):
    path = bound[3]
    command = [sys.executable, "-I", "-S", checker.__file__, str(path), str(path.with_suffix(".safetensors"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.endswith("accepted\n"), done.stdout


def nodes(body):
    todo = list(body["claims"][0]["trees"])
    while todo:
        node = todo.pop()
        yield node
        todo += node.get("children", [])


def cut(body):
    next(n for n in nodes(body) if "split" in n)["children"].pop()


def unproven(body):
    for node in nodes(body):
        for child in node.get("children", []):
            child.clear()
            child["steps"] = []


def steps(body):
    return [step for node in nodes(body) for step in node["steps"] if "rows" in step]


def negated(body):
    for step in steps(body):
        step["rows"] = [-k for k in step["rows"]]


def of_nobody(body):
    """Weights of bounds below 0 for the half-space, and lines of other units."""
    for node in nodes(body):
        for step in node["steps"]:
            if "rows" not in step:
                step["bounds"] = [[j, [[i, -1 - a, -1 - b] for i, a, b in own]] for j, own in step["bounds"]]
            step["slopes"] = [[j, [[u, [[99, 1]], [[99, 1]]] for u, *_ in own]] for j, own in step["slopes"]]


def stripped(body):
    for step in steps(body):
        step["slopes"] = step["edges"] = []


def weightless(body):
    for step in steps(body):
        step["rows"] = [0 for _ in step["rows"]]


def put(key, value):
    def apply(body):
        claim = body["claims"][0]
        claim[key] = value(claim[key]) if callable(value) else value

    return apply


TAMPERING = {
    "radius raised": put("radius", lambda r: (float.fromhex(r) * RADIUS).hex()),
    "radius not finite": put("radius", "inf"),
    "radius negative": put("radius", lambda r: "-" + r),
    "label changed": put("label", lambda v: (v + 1) % 3),
    "x moved": put("x", lambda x: [(float.fromhex(v) + 0.3).hex() for v in x]),
    "x too short": put("x", lambda x: x[:-1]),
    "x outside of the box": put("lower", lambda x: [(2.0).hex()] * len(x)),
    "box too short": put("upper", lambda x: x[:-1]),
    "norm changed": put("norm", "inf"),
    "norm unknown": put("norm", "3"),
    "a class left out": put("trees", lambda t: t[:-1]),
    "classes swapped": put("trees", lambda t: t[::-1]),
    "another output": put("output", "nowhere"),
    "child dropped": cut,
    "children unproven": unproven,
    "margins negated": negated,
    "lines of other units": of_nobody,
    "weights all zero": weightless,
    "lines and edges left out": stripped,
    "a number that is not whole": lambda body: steps(body)[0].update(rows=[float("inf")]),
    "a weight in decimals": lambda body: steps(body)[0].update(rows=[-1.5]),
    "too many weights": lambda body: steps(body)[0].update(rows=[-1, -1]),
    "no steps": lambda body: [node.update(steps=[]) for node in nodes(body)],
    "a split of another unit": lambda body: [n.update(split=[n["split"][0], 99]) for n in nodes(body) if "split" in n],
    "another operation": lambda body: body["graph"]["steps"][-2].__setitem__(0, "Softmax"),
    "another model": lambda body: body.update(model="0" * 64),
}


@pytest.mark.parametrize("name", TAMPERING)
def test_tampering_is_refused(name, bound):
    body = copy.deepcopy(bound[0])
    assert said(body, bound[1])
    TAMPERING[name](body)
    assert body != bound[0] and not said(body, bound[1])


def test_changed_weights_and_cut_files_are_refused(bound):
    body, weights, _, path = bound
    assert not said(body, weights[:-8] + bytes(8))
    with pytest.raises(ValueError):
        checker.verify(path.read_bytes()[:-20], weights)


def test_random_changes_never_prove_more_than_is_true(bound):
    """With a radius beyond a known misclassified point, whatever is changed in the proof is refused."""
    rng = random.Random(0)
    for _ in range(70):
        body = copy.deepcopy(bound[0])
        body["claims"][0]["radius"] = (bound[2] * 1.001).hex()
        for _ in range(rng.randint(1, 4)):
            mutate(body["claims"][0]["trees"], rng)
        assert not said(body, bound[1])


def mutate(data, rng):
    """Change one number somewhere."""
    while True:
        keys = list(data) if isinstance(data, dict) else list(range(len(data)))
        if not keys:
            return
        key = rng.choice(keys)
        if isinstance(data[key], int):
            data[key] = rng.choice([-data[key], 0, data[key] + 1, data[key] * 1000, -1 - data[key] * 2, 1 << 80])
            return
        if data[key] is None:
            return
        data = data[key]


# --- ties and maxima ----------------------------------------------------------------------------------------------


def claimed(net, X, folder, norm=2.0):
    """The radius that a certificate proves, and the bound of the search."""
    found = plica.min_distortion(net, X, norm=norm, method="fast", exact=True)
    path = plica.certify(found, net, X, path=folder / "c.json")
    assert plica.verify(path, path.with_suffix(".safetensors"))
    return float.fromhex(json.loads(path.read_bytes())["claims"][0]["radius"]), float(found.lower_bound[0])


def test_an_output_that_is_equal_on_a_piece_but_never_above(tmp_path):
    """Relu(x) and x are equal where x > 0: the proof needs weights that cancel to the last digit."""
    graph = Graph((1,))
    name = graph.add("act", relu((1,)), INPUT)
    graph.add("out", Concat(0, ((1,), (1,))), name, INPUT)
    net = graph.network().within(plica.Box([-2.0], [3.0]))
    radius, bound = claimed(net, np.array([[1.0]]), tmp_path)
    assert bound == np.inf
    assert radius == pytest.approx(3, rel=1e-6)


def test_an_output_that_touches_the_label_s(tmp_path):
    """Relu(z) + |w| is max(z, w) where w = 0 < z, and never below: beyond the tie the proof may end, not before it."""
    graph = Graph((2,))
    z, w = (graph.add(f"x{k}", Gather(torch.tensor([k]), (2,), (1,)), INPUT) for k in (0, 1))
    up, size = graph.add("up", relu((1,)), z), graph.add("size", absolute((1,)), w)
    both = graph.add("both", Sum((1.0, 1.0), (1,)), up, size)
    largest = graph.add("largest", MaxOver(torch.tensor([[0, 1]]), (2,), (1,)), INPUT)
    graph.add("out", Concat(0, ((1,), (1,))), both, largest)
    radius, _ = claimed(graph.network().within(plica.Box([0.0, -1.0], [3.0, 2.0])), np.array([[2.0, 1.0]]), tmp_path)
    assert radius >= 1 - 1e-6


def of_the_zoo(seed, folder, norm, half):
    data, draw = zoo.random_net(zoo.KINDS[seed % len(zoo.KINDS)], seed, degenerate=False)
    net = zoo.build(data)
    x = np.asarray(draw.point(int(np.prod(net.input_shape))), dtype=np.float64)
    net = net.within(plica.Box(x - half, x + half))
    radius, bound = claimed(net, x.reshape(1, *net.input_shape), folder, norm)
    assert radius >= 0.98 * min(bound, np.linalg.norm(half * np.ones(len(x)), norm))


@pytest.mark.parametrize(("seed", "norm", "half"), [(5, float("inf"), 5), (5, 1.0, 5), (25, 2.0, 1)])
def test_winners_and_units_that_are_one_line(seed, norm, half, tmp_path):
    """Weights of a winner that is taken pass through it; intervals bound more than the lines of units that are one."""
    of_the_zoo(seed, tmp_path, norm, half)


@pytest.mark.big(sample=6)
@pytest.mark.parametrize("seed", range(6 * len(zoo.KINDS)))
def test_bounds_of_the_zoo_have_certificates(seed, tmp_path):
    """All kinds of nodes, all norms."""
    of_the_zoo(seed, tmp_path, (2.0, float("inf"), 1.0)[seed // len(zoo.KINDS) % 3], 1)
