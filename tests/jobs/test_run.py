"""Long work: chunks are written once, everything survives, and the answer is that of one uninterrupted run."""

from __future__ import annotations

import dataclasses
import errno
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import plica
from plica.core.progress import Progress
from plica.core.result import Completeness
from plica.errors import ArgumentError, BudgetReached, ShapeError
from plica.jobs import ANALYSES, ManyResult, chunked, run
from plica.jobs import folder as folder_of_jobs
from plica.store import load_result, save

INPUTS = 30


@pytest.fixture(scope="module")
def net():
    """A 6-8-8-3 network."""
    from plica.core.affine import Dense
    from plica.core.choice import relu
    from plica.core.network import INPUT, Graph

    rng = torch.Generator().manual_seed(1)
    graph, last, width = Graph((6,)), INPUT, 6
    for k, units in enumerate((8, 8, 3)):
        weight = torch.randn(units, width, generator=rng, dtype=torch.float64)
        bias = torch.randn(units, generator=rng, dtype=torch.float64)
        last, width = graph.add(f"z{k}", Dense(weight, bias, (width,)), last), units
        if k < 2:
            last = graph.add(f"relu{k}", relu((units,)), last)
    return graph.network()


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(2).normal(size=(INPUTS, 6))


def bytes_of(result, folder: Path) -> bytes:
    """The saved file without what depends on the clock."""
    return save(dataclasses.replace(result, header={}), folder / "compared.npz").read_bytes()


# --- the same answer --------------------------------------------------------------------------------------------

OPTIONS = {
    "preimage_kind": {"layer": "relu1"},
    "nearest_facet": {},
    "impostor": {"layer": "relu1"},
    "spectrum": {"vectors": 1},
    "moments": {"cov": 0.01, "method": "monte_carlo", "samples": 50, "seed": 3},
    "moment_bounds": {"cov": 0.01},
    "class_probabilities": {"cov": 0.01, "samples": 100},
    "noise": {"shift": 0.2},
    "fooling_rate": {"variance": 0.1},
    "fooling_map": {"variance": 0.1, "window": 2},
    "min_distortion": {"y": np.arange(INPUTS) % 3, "box": [-4.0, 4.0]},
    "certified_radius": {"norm": 2.0, "box": [-4.0, 4.0]},
}


def direct(name, net, X, options):
    """What the public function gives, in a plain loop where it takes one input."""
    function = ANALYSES[name].function
    if ANALYSES[name].rows:
        return function(net, X, **options)
    if name == "impostor":
        return [function(net, x, y, **options) for x, y in zip(X, np.roll(X, -1, 0), strict=True)]
    seeds = [{"seed": options.get("seed", 0) + i} if ANALYSES[name].seeded else {} for i in range(len(X))]
    return [function(net, x, **{**options, **seed}) for x, seed in zip(X, seeds, strict=True)]


@pytest.mark.big(sample=3)
@pytest.mark.parametrize("name", sorted(set(ANALYSES) - {"moment_bounds", "fooling_map", "noise", "min_distortion"}))
@pytest.mark.parametrize("chunk", [4])
def test_chunks_give_what_the_function_gives(name, chunk, net, X, tmp_path):
    few = X[:9]
    found = run(name, net, few, folder=tmp_path, chunk=chunk, **OPTIONS[name])
    expected = direct(name, net, few, OPTIONS[name])
    if isinstance(found, ManyResult):
        assert len(found) == len(few)
        pairs = list(zip(found.results, expected, strict=True))
    else:
        pairs = [(found, expected)]
    for ours, theirs in pairs:
        assert (ours.standing, ours.completeness) == (theirs.standing, theirs.completeness)
        for field in dataclasses.fields(ours):
            a, b = getattr(ours, field.name), getattr(theirs, field.name)
            if isinstance(a, np.ndarray) and a.dtype.kind == "f":
                np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)
            elif field.name != "header" and not isinstance(a, (tuple, float)):
                assert np.array_equal(a, b), field.name


def test_maps_of_images_and_bounds(tmp_path):
    rng = torch.Generator().manual_seed(4)
    module = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(9, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2)
    ).double()
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=rng, dtype=torch.float64)
    net, X = plica.load(module, (1, 3, 3)), np.random.default_rng(0).normal(size=(5, 1, 3, 3))
    found = run("fooling_map", net, X, folder=tmp_path, chunk=2, **OPTIONS["fooling_map"])
    assert np.array_equal(found.fooled, direct("fooling_map", net, X, OPTIONS["fooling_map"]).fooled)
    bounds = run("moment-bounds", net, X, folder=tmp_path, chunk=2, **OPTIONS["moment_bounds"])
    expected = direct("moment_bounds", net, X, OPTIONS["moment_bounds"])
    assert [r.mean_lower.tolist() for r in bounds.results] == [r.mean_lower.tolist() for r in expected]


def test_labels_go_with_their_images(net, X, tmp_path):
    options = {**OPTIONS["min_distortion"], "seed": 1}
    found = run("min_distortion", net, X, folder=tmp_path, chunk=10, **options)
    assert found.label.tolist() == options["y"].tolist()
    wrong = net(X).argmax(1).numpy() != options["y"]
    assert [s == "misclassified already" for s in found.status] == wrong.tolist()
    assert (net(found.x_adv[found.found]).argmax(1).numpy() != options["y"][found.found]).all()
    with pytest.raises(ShapeError, match="3 entries for 30"):
        run("min_distortion", net, X, folder=tmp_path, y=[0, 1, 2])


def test_second_run_computes_nothing(net, X, tmp_path, monkeypatch):
    first = run("preimage_kind", net, X, folder=tmp_path, chunk=7, layer="relu1")
    monkeypatch.setattr("plica.jobs.chunked.work", lambda *task: pytest.fail("computed again"))
    again = run("preimage_kind", net, X, folder=tmp_path, chunk=7, layer="relu1")
    assert bytes_of(first, tmp_path) == bytes_of(again, tmp_path)
    assert len(list((tmp_path / "chunks").iterdir())) == 5


def test_more_inputs_keep_what_is_done(net, X, tmp_path, monkeypatch):
    run("preimage_kind", net, X[:14], folder=tmp_path, chunk=7, layer="relu1")
    computed = []
    monkeypatch.setattr("plica.jobs.chunked.work", recorded := _recorder(computed))
    run("preimage_kind", net, X, folder=tmp_path, chunk=7, layer="relu1")
    assert recorded
    assert computed == [14, 21, 28]


def _recorder(starts):
    from plica.jobs.chunked import work

    def recorded(*task):
        starts.append(task[3])
        return work(*task)

    return recorded


@pytest.mark.parametrize("change", ["layer", "data", "network", "option", "seed", "start"])
def test_whatever_changes_the_answer_changes_the_name(change, net, X, tmp_path):
    from plica.jobs.chunked import _job

    def name(net=net, X=X, analysis="preimage_kind", start=0, **options):
        job = _job(analysis, net, X, folder_of_jobs.JobFolder(tmp_path), options, Progress())
        return job.chunk(start, start + 5)

    base = {"layer": "relu1", "prior": np.eye(8)}
    noise = {"analysis": "moments", "cov": 0.1}
    other = X.copy()
    other[0, 0] = np.nextafter(other[0, 0], 9)
    pairs = {
        "layer": (name(**base), name(**{**base, "layer": "relu0"})),
        "data": (name(**base), name(X=other, **base)),
        "network": (name(**base), name(net=net.upto("relu1"), **base)),
        "option": (name(**base), name(**{**base, "prior": 2 * np.eye(8)})),
        "seed": (name(**noise, seed=0), name(**noise, seed=1)),
        "start": (name(**noise, X=np.ones((10, 6))), name(**noise, X=np.ones((10, 6)), start=5)),
    }
    assert pairs[change][0] != pairs[change][1]
    assert name(**base) == name(**base)


def test_a_result_that_draws_does_not_depend_on_the_division(net, X, tmp_path):
    options = OPTIONS["moments"]
    whole = run("moments", net, X[:6], folder=tmp_path / "a", chunk=6, **options)
    split = run("moments", net, X[:6], folder=tmp_path / "b", chunk=1, **options)
    assert bytes_of(whole, tmp_path) == bytes_of(split, tmp_path)


@pytest.mark.parametrize("rows", [0, 1])
def test_few_inputs(rows, net, X, tmp_path):
    found = run("preimage_kind", net, X[:rows], folder=tmp_path, layer="relu1")
    assert (len(found.kinds), found.completeness) == (rows, "complete")
    assert len(run("moments", net, X[:rows], folder=tmp_path, cov=0.1)) == rows


# --- bad input --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("preimages", {}, "choose one of preimage_kind"),
        ("preimage_kind", {}, "needs layer"),
        ("preimage_kind", {"layer": "relu1", "laier": 1}, "no option laier"),
        ("preimage_kind", {"layer": "nothing"}, "relu1"),
        ("preimage_kind", {"layer": "relu1", "chunk": 0}, "chunk = 0"),
        ("preimage_kind", {"layer": "relu1", "workers": 0}, "workers = 0"),
        ("preimage_kind", {"layer": "relu1", "prior": object()}, "object"),
        ("preimage_kind", {"layer": "relu1", "cluster": "tcp://127.0.0.1:9"}, "no scheduler answers"),
    ],
)
def test_bad_input(name, options, words, net, X, tmp_path):
    if "cluster" in options:
        pytest.importorskip("distributed")
    with pytest.raises(ArgumentError, match=words):
        run(name, net, X, folder=tmp_path, **options)


# --- kill -9 ----------------------------------------------------------------------------------------------------


def in_child(function) -> int:
    """Run a function in a forked process and return its process id."""
    child = os.fork()
    if child:
        return child
    try:
        torch.set_num_threads(1)
        function()
    finally:
        os._exit(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.big(sample=2)
@pytest.mark.parametrize("case", range(50))
def test_kill_at_random_moments(case, net, X, tmp_path, seed):
    """Killed again and again at random moments, in one folder; the end is the same byte for byte."""
    options = {"layer": "relu1", "chunk": 2}
    began = time.monotonic()
    expected = bytes_of(run("preimage_kind", net, X, folder=tmp_path / "whole", **options), tmp_path)
    length = time.monotonic() - began
    draw = random.Random(seed * 1000 + case)
    for _ in range(3):
        child = in_child(lambda: run("preimage_kind", net, X, folder=tmp_path / "killed", **options))
        time.sleep(draw.random() * length)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    found = run("preimage_kind", net, X, folder=tmp_path / "killed", **options)
    assert bytes_of(found, tmp_path) == expected
    assert not list((tmp_path / "killed").rglob("*.part"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("where", ["before", "half", "after"])
def test_kill_during_a_write(where, net, X, tmp_path):
    """The process ends itself while the third chunk is written: before, in the middle of, and after its bytes."""

    def killed():
        calls = []
        fsync, replace, place = os.fsync, Path.replace, "chunks"

        def end(self_or_file, *more):
            calls.append(0)
            if len(calls) == 4:
                if where == "half":
                    size = os.fstat(self_or_file).st_size
                    os.ftruncate(self_or_file, size // 2)
                os.kill(os.getpid(), signal.SIGKILL)
            return fsync(self_or_file)

        def moved(self, target):
            replace(self, target)
            calls.append(0)
            if len(calls) == 4 and place in str(target):
                os.kill(os.getpid(), signal.SIGKILL)

        if where == "after":
            Path.replace = moved
        else:
            os.fsync = end
        run("preimage_kind", net, X, folder=tmp_path / "killed", layer="relu1", chunk=2)

    child = in_child(killed)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    left = [p.name for p in (tmp_path / "killed" / "chunks").iterdir()]
    assert len([name for name in left if name.endswith(".npz")]) == (3 if where == "after" else 2)
    whole = run("preimage_kind", net, X, folder=tmp_path / "whole", layer="relu1", chunk=2)
    found = run("preimage_kind", net, X, folder=tmp_path / "killed", layer="relu1", chunk=2)
    assert bytes_of(found, tmp_path) == bytes_of(whole, tmp_path)
    assert not list((tmp_path / "killed").rglob("*.part"))


@pytest.mark.parametrize("damage", ["empty", "half", "flipped"])
def test_a_damaged_chunk_is_made_again(damage, net, X, tmp_path):
    first = run("preimage_kind", net, X, folder=tmp_path, chunk=7, layer="relu1")
    chunk = sorted((tmp_path / "chunks").iterdir())[2]
    data = bytearray(chunk.read_bytes())
    if damage == "flipped":
        data[len(data) // 3] ^= 0xFF
    chunk.write_bytes({"empty": b"", "half": data[: len(data) // 2], "flipped": data}[damage])
    again = run("preimage_kind", net, X, folder=tmp_path, chunk=7, layer="relu1")
    assert bytes_of(first, tmp_path) == bytes_of(again, tmp_path)
    assert load_result(chunk)


# --- disks and folders ------------------------------------------------------------------------------------------


def test_full_disk(net, X, tmp_path, monkeypatch):
    """The third write fails: a clear error, nothing half written, and the next run goes on."""
    fsync, calls = os.fsync, []

    def full(file):
        calls.append(0)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return fsync(file)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(ArgumentError, match="No space left"):
            run("preimage_kind", net, X, folder=tmp_path, chunk=7, layer="relu1")
    assert len(list((tmp_path / "chunks").iterdir())) == 1
    assert len(run("preimage_kind", net, X, folder=tmp_path, chunk=7, layer="relu1").kinds) == INPUTS


def test_a_disk_that_is_really_full(tmp_path):
    """On a small file system of its own, where the system lets one be mounted."""
    (tmp_path / "disk").mkdir()
    script = tmp_path / "full.py"
    script.write_text(
        textwrap.dedent("""
        import subprocess, sys
        import torch
        torch.set_num_threads(1)
        from plica.errors import ArgumentError
        from plica.experiments.digits import digits_mlp
        import plica
        module, images = digits_mlp(0)
        kinds = lambda: plica.run("preimage_kind", plica.load(module, (64,)), images.images[:300], folder=sys.argv[1],
                                  chunk=10, layer="relu1")
        try:
            kinds()
        except ArgumentError as error:
            print(error)
        subprocess.run(["mount", "-o", "remount,size=10m", sys.argv[1]], check=True)
        print(kinds().completeness)
    """)
    )
    shell = f"mount -t tmpfs -o size=60k tmpfs {tmp_path}/disk && exec {sys.executable} {script} {tmp_path}/disk"
    done = subprocess.run(["unshare", "-m", "sh", "-c", shell], capture_output=True, text=True, check=False)
    if "mount:" in done.stderr or "unshare" in done.stderr:
        pytest.skip("no right to mount a file system here")
    first, second = done.stdout.splitlines()
    assert "(No space left on device). Make room" in first and second == "complete", done.stderr


def test_file_size_limit(tmp_path):
    """A write that really fails: the system refuses files above some bytes."""
    pytest.importorskip("resource")
    script = tmp_path / "limited.py"
    script.write_text(
        textwrap.dedent("""
        import resource, signal, sys
        import numpy as np, torch
        torch.set_num_threads(1)
        from plica.jobs import run
        from plica.core.affine import Dense
        from plica.core.choice import relu
        from plica.core.network import INPUT, Graph
        graph = Graph((4,))
        graph.add("relu", relu((4,)), graph.add("a", Dense(torch.eye(4, dtype=torch.float64), None, (4,)), INPUT))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, resource.RLIM_INFINITY))
        try:
            run("preimage_kind", graph.network(), np.ones((4, 4)), folder=sys.argv[1], chunk=2, layer="relu")
        except Exception as error:
            print(type(error).__name__, error)
    """)
    )
    done = subprocess.run([sys.executable, script, tmp_path / "job"], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("ArgumentError save: "), done.stdout + done.stderr
    assert "cannot be written (File too large)" in done.stdout
    assert not list((tmp_path / "job" / "chunks").iterdir())


@pytest.mark.parametrize("where", ["is a file", "below a file", "read-only"])
def test_folders_that_cannot_be_written(where, net, X, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    folder = {"is a file": tmp_path / "file", "below a file": tmp_path / "file" / "x", "read-only": tmp_path / "r"}
    if where == "read-only":
        folder[where].mkdir(mode=0o500)
        if os.access(folder[where], os.W_OK):  # the administrator may write everywhere

            def refused(*arguments, **options):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))

            monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(ArgumentError, match="cannot be written"):
        run("preimage_kind", net, X, folder=folder[where], layer="relu1")


def test_two_runs_in_one_folder(net, X, tmp_path):
    place = folder_of_jobs.JobFolder(tmp_path)
    options = {"folder": tmp_path, "chunk": 10, "layer": "relu1"}
    with place.locked(wait=False, progress=Progress()):
        with pytest.raises(ArgumentError, match=f"in use by another run .process {os.getpid()}"):
            run("preimage_kind", net, X, **options)
        with pytest.raises(BudgetReached):
            run("preimage_kind", net, X, wait=True, progress=Progress(max_seconds=0.3), **options)
    assert len(run("preimage_kind", net, X, **options).kinds) == INPUTS


def test_waiting_for_the_other_run(net, X, tmp_path):
    place, found = folder_of_jobs.JobFolder(tmp_path), []
    options = {"folder": tmp_path, "chunk": 10, "layer": "relu1", "wait": True}
    with place.locked(wait=False, progress=Progress()):
        thread = threading.Thread(target=lambda: found.append(run("preimage_kind", net, X, **options)))
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
    thread.join(20)
    assert len(found[0].kinds) == INPUTS


# --- interrupts and budgets -------------------------------------------------------------------------------------


def test_interrupt_returns_what_is_done(net, X, tmp_path, monkeypatch):
    work, calls = chunked.work, []

    def interrupted(*task):
        calls.append(task)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return work(*task)

    with monkeypatch.context() as patch:
        patch.setattr("plica.jobs.chunked.work", interrupted)
        found = run("preimage_kind", net, X, folder=tmp_path, chunk=5, layer="relu1")
    assert (len(found.kinds), found.completeness) == (10, "interrupted")
    whole = run("preimage_kind", net, X, folder=tmp_path, chunk=5, layer="relu1")
    assert (len(whole.kinds), whole.completeness) == (INPUTS, "complete")
    assert whole.kinds[:10].tolist() == found.kinds.tolist()


def test_a_chunk_cut_short_is_not_kept(net, X, tmp_path, monkeypatch):
    """An analysis that an interrupt ends early returns a part: it must never be taken for the whole chunk."""
    work = chunked.work

    def cut(*task):
        start, stop, result = work(*task)
        if start == 10:
            result = dataclasses.replace(result, completeness=Completeness.INTERRUPTED, kinds=result.kinds[:1])
        return start, stop, result

    with monkeypatch.context() as patch:
        patch.setattr("plica.jobs.chunked.work", cut)
        found = run("preimage_kind", net, X, folder=tmp_path, chunk=5, layer="relu1")
    assert (len(found.kinds), found.completeness) == (10, "interrupted")
    assert len(list((tmp_path / "chunks").iterdir())) == 2


def test_time_ends_a_run_between_chunks(net, X, tmp_path):
    with pytest.raises(BudgetReached):
        run("preimage_kind", net, X, folder=tmp_path, chunk=5, layer="relu1", progress=Progress(max_seconds=0.0))

    progress = Progress(max_seconds=1000.0)

    def listener(label, done, total):
        if done == 2:
            progress.max_seconds = 0.0

    progress.listener = listener
    found = run("preimage_kind", net, X, folder=tmp_path, chunk=5, layer="relu1", progress=progress)
    assert (len(found.kinds), found.completeness) == (10, "budget reached")


def test_only_inputs_before_the_first_missing_chunk_are_returned(net, X, tmp_path, monkeypatch):
    """Results are those of the first inputs: a chunk that is there behind a hole is kept for the next run."""
    from plica.jobs.chunked import _job

    run("preimage_kind", net, X, folder=tmp_path, chunk=5, layer="relu1")
    folder = folder_of_jobs.JobFolder(tmp_path)
    job = _job("preimage_kind", net, X, folder, {"layer": "relu1"}, Progress())
    folder.place(job.chunk(10, 15)).unlink()
    found = run("preimage_kind", net, X, folder=tmp_path, chunk=5, layer="relu1", progress=Progress(max_seconds=1e-9))
    assert (len(found.kinds), found.completeness) == (10, "budget reached")


# --- other processes --------------------------------------------------------------------------------------------


def test_two_workers(net, X, tmp_path):
    """Loky's processes, one of them with an error, and one killed."""
    one = run("preimage_kind", net, X, folder=tmp_path / "one", chunk=7, layer="relu1")
    two = run("preimage_kind", net, X, folder=tmp_path / "two", chunk=7, layer="relu1", workers=2)
    assert bytes_of(one, tmp_path) == bytes_of(two, tmp_path)
    with pytest.raises(ArgumentError, match="no layer"):
        run("preimage_kind", net, X, folder=tmp_path / "two", chunk=7, layer="no layer", workers=2)


def test_a_cluster(net, X, tmp_path):
    distributed = pytest.importorskip("distributed", reason="dask is an extra: pip install 'plica[cluster]'")
    one = run("preimage_kind", net, X, folder=tmp_path / "one", chunk=7, layer="relu1")
    quiet = {"dashboard_address": None, "silence_logs": 50}
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, **quiet) as cluster:
        address = cluster.scheduler_address
        found = run("preimage_kind", net, X, folder=tmp_path / "c", chunk=7, layer="relu1", cluster=address)
    assert bytes_of(one, tmp_path) == bytes_of(found, tmp_path)
