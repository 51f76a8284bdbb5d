"""Smallest perturbations by rivals: a mixed-integer program in HiGHS, queries to Marabou in an environment of its own.

Marabou 2.0 answers whether a box holds a point with an output above the label's, and has no objective. It is asked what
a bracket claims: nothing just below the lower bound, a point just above the distance. That is the least that it could
be asked: bisection would take several such pairs.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

import highspy
import numpy as np
import scipy.sparse as sp


def layers_of(module):
    return [
        (m.weight.detach().double().numpy(), m.bias.detach().double().numpy()) for m in module if hasattr(m, "weight")
    ]


def milp(layers, x, label, norm, radius, seconds):
    """Smallest distance over all targets by one program per target; (lower bound, distance)."""
    best, lower = radius, np.inf
    for target in range(len(layers[-1][1])):
        if target != label:
            low, high = _one(layers, x, label, target, norm, best, seconds)
            best, lower = min(best, high), min(lower, low)
    return min(lower, best), best


def _one(layers, x, label, target, norm, radius, seconds):
    n = len(x)
    low, high = np.maximum(-x, -radius), np.minimum(1 - x, radius)
    columns, cost, kinds = [], [], []  # (lower, upper) per variable

    def variables(count, lower, upper, price=0.0, integer=False):
        start = len(columns)
        columns.extend(zip(np.broadcast_to(lower, count), np.broadcast_to(upper, count), strict=True))
        cost.extend([price] * count)
        kinds.extend([integer] * count)
        return np.arange(start, start + count)

    rows, least, most = [], [], []

    def row(entries, lower, upper):
        rows.append(entries)
        least.append(lower)
        most.append(upper)

    source = variables(n, low, high)
    if norm == "inf":
        t = variables(1, 0.0, radius, 1.0)[0]
        for i in range(n):
            row([(source[i], 1.0), (t, -1.0)], -np.inf, 0.0)
            row([(source[i], -1.0), (t, -1.0)], -np.inf, 0.0)
    else:
        size = variables(n, 0.0, np.maximum(-low, high), 1.0)
        for i in range(n):
            row([(source[i], 1.0), (size[i], -1.0)], -np.inf, 0.0)
            row([(source[i], -1.0), (size[i], -1.0)], -np.inf, 0.0)
    centre = x
    for W, b in layers[:-1]:
        q = W @ centre + b
        below = np.maximum(W, 0) @ low + np.minimum(W, 0) @ high + q
        above = np.maximum(W, 0) @ high + np.minimum(W, 0) @ low + q
        out = variables(len(b), np.maximum(below, 0), np.maximum(above, 0))
        for j in range(len(b)):
            z = [(source[i], -W[j, i]) for i in np.flatnonzero(W[j])]
            if below[j] >= 0:
                row([(out[j], 1.0), *z], q[j], q[j])
            elif above[j] > 0:
                s = variables(1, 0.0, 1.0, integer=True)[0]
                row([(out[j], 1.0), *z], q[j], np.inf)
                row([(out[j], 1.0), *z, (s, -below[j])], -np.inf, q[j] - below[j])
                row([(out[j], 1.0), (s, -above[j])], -np.inf, 0.0)
        low, high, source, centre = np.maximum(below, 0), np.maximum(above, 0), out, np.zeros(len(b))
    W, b = layers[-1]
    g = W[target] - W[label]
    row([(source[i], g[i]) for i in np.flatnonzero(g)], b[label] - b[target], np.inf)
    return _highs(columns, cost, kinds, rows, least, most, seconds)


def _highs(columns, cost, kinds, rows, least, most, seconds):
    place = [(r, c, v) for r, entries in enumerate(rows) for c, v in entries]
    r, c, v = zip(*place, strict=True)
    A = sp.csr_array(sp.coo_array((v, (r, c)), shape=(len(rows), len(columns))))
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = len(columns), len(rows)
    model.col_cost_ = np.array(cost)
    model.col_lower_, model.col_upper_ = (np.array(side) for side in zip(*columns, strict=True))
    model.row_lower_, model.row_upper_ = np.array(least), np.array(most)
    model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.a_matrix_.start_, model.a_matrix_.index_, model.a_matrix_.value_ = A.indptr, A.indices, A.data
    model.integrality_ = [highspy.HighsVarType.kInteger if k else highspy.HighsVarType.kContinuous for k in kinds]
    solver = highspy.Highs()
    for name, setting in {"output_flag": False, "threads": 1, "time_limit": seconds, "mip_rel_gap": 1e-7}.items():
        solver.setOptionValue(name, setting)
    solver.passModel(model)
    solver.run()
    status, info = solver.getModelStatus(), solver.getInfo()
    if status == highspy.HighsModelStatus.kInfeasible:
        return np.inf, np.inf
    done = status == highspy.HighsModelStatus.kOptimal
    return (info.objective_function_value if done else max(0.0, info.mip_dual_bound),
            info.objective_function_value if done else np.inf)  # fmt: skip


MARABOU = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
import numpy as np
from maraboupy import Marabou, MarabouCore, MarabouNetwork, MarabouUtils

job = json.load(open(sys.argv[1]))
layers = [(np.array(W), np.array(b)) for W, b in job["layers"]]
answers, start = [], time.process_time()
for query in job["queries"]:
    net = MarabouNetwork.MarabouNetwork()
    source = [net.getNewVariable() for _ in query["low"]]
    for v, low, high in zip(source, query["low"], query["high"]):
        net.setLowerBound(v, low)
        net.setUpperBound(v, high)
    inputs = source
    for k, (W, b) in enumerate(layers):
        out = [net.getNewVariable() for _ in b]
        for j, v in enumerate(out):
            net.addEquality([*source, v], [*W[j].tolist(), -1.0], -float(b[j]))
        if k + 1 < len(layers):
            after = [net.getNewVariable() for _ in b]
            for v, w in zip(out, after):
                net.addRelu(v, w)
            out = after
        source = out
    net.inputVars, net.outputVars = [np.array(inputs)], [np.array(source)]
    net.addInequality([source[query["label"]], source[query["target"]]], [1.0, -1.0], 0.0)
    options = Marabou.createOptions(verbosity=0, timeoutInSeconds=int(query["seconds"]))
    code, values, _ = net.solve(verbose=False, options=options)
    answers.append({"code": code, "x": [values[v] for v in inputs] if values else None})
print("ANSWERS" + json.dumps({"answers": answers, "cpu": time.process_time() - start}))
"""


def marabou(python: str, layers, queries: list[dict]) -> tuple[list[dict], float]:
    """Answers ("sat" with a point, "unsat", "TIMEOUT") to queries (low, high, label, target, seconds), and CPU s."""
    with tempfile.TemporaryDirectory() as folder:
        job = {"layers": [(W.tolist(), b.tolist()) for W, b in layers], "queries": queries}
        (Path(folder) / "job.json").write_text(json.dumps(job))
        (Path(folder) / "ask.py").write_text(MARABOU)
        told = subprocess.run([python, "ask.py", "job.json"], cwd=folder, capture_output=True, text=True, check=False)
    lines = [line for line in told.stdout.splitlines() if line.startswith("ANSWERS")]
    if not lines:
        raise RuntimeError(f"Marabou ended with {told.returncode}: {told.stderr[-500:]}")
    found = json.loads(lines[0][len("ANSWERS") :])
    return found["answers"], found["cpu"]
