"""Long work: throughput of one and two processes, overhead per chunk, and memory per worker.

``python benchmarks/long_work.py [MODEL DATA]``; by default a 784-512-512-10 network of random weights and images.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import plica
from plica.jobs import run
from plica.jobs.pool import pool


def memory(task: int) -> float:
    """Peak memory of a worker in MiB, after it has worked."""
    time.sleep(0.2)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def cpu() -> float:
    """Seconds of processor of this process and its children: does not change when others share the machine."""
    total, me = 0.0, str(os.getpid())
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rsplit(")", 1)[1].split()
        except OSError:  # ended meanwhile
            continue
        if path.parent.name == me or words[1] == me:
            total += (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    return total


def network(path: str | None):
    if path:
        return plica.load(path)
    torch.manual_seed(0)
    layers = [torch.nn.Linear(784, 512), torch.nn.ReLU(), torch.nn.Linear(512, 512), torch.nn.ReLU()]
    return plica.load(torch.nn.Sequential(*layers, torch.nn.Linear(512, 10)), (784,))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--inputs", type=int, default=96)
    parser.add_argument("--chunk", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    net = network(options.model)
    X = np.random.default_rng(0).random((options.inputs, *net.input_shape))
    chunks = -(-len(X) // options.chunk)
    plica.spectrum(net, X[:1])
    start, used = time.perf_counter(), cpu()
    plica.spectrum(net, X)
    direct, spent = time.perf_counter() - start, cpu() - used
    print(f"plica.spectrum alone: {len(X) / direct:.2f} inputs/s, {spent / len(X):.3f} s of processor each")
    for workers in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            if workers > 1:  # the processes start once, and import plica once
                run("spectrum", net, X[:4], folder=f"{folder}/warm", workers=workers, chunk=1)
            start, used = time.perf_counter(), cpu()
            run("spectrum", net, X, folder=folder, workers=workers, chunk=options.chunk)
            seconds, needed = time.perf_counter() - start, cpu() - used
            start = time.perf_counter()
            run("spectrum", net, X, folder=folder, workers=1, chunk=options.chunk)
            again = time.perf_counter() - start
        print(f"{workers} worker: {len(X) / seconds:.2f} inputs/s, {direct / seconds:.2f} times plica.spectrum alone")
        print(f"  {needed / len(X):.3f} s of processor each, {needed / spent:.3f} times plica.spectrum alone")
        print(f"  {chunks} chunks of {needed / chunks:.2f} s; read again in {again / chunks * 1000:.0f} ms a chunk")
    with pool(2) as each:
        print("peak memory of the workers, MiB:", sorted(round(m) for m in each(memory, ((i,) for i in range(4)))))
    print("peak memory of this process, MiB:", round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
    with tempfile.TemporaryDirectory() as folder:
        tiny = plica.load(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU()), (2,))
        few = np.random.default_rng(0).random((200, 2))
        used = cpu()
        plica.preimage_kind(tiny, few, layer=0)
        direct = cpu() - used
        for workers in (1, 2):
            used = cpu()
            run("preimage_kind", tiny, few, folder=f"{folder}/{workers}", workers=workers, chunk=1, layer=0)
            each_chunk = (cpu() - used - direct) / len(few) * 1000
            print(f"overhead per chunk, {workers} worker: {each_chunk:.1f} ms of processor (200 chunks of one input)")


if __name__ == "__main__":
    main()
