"""Tasks in other processes: joblib with loky here, with dask.distributed on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from plica.errors import ArgumentError

IN_FLIGHT = 2  # tasks handed out per worker: one that runs, one that waits


@contextmanager
def pool(workers: int = 1, cluster: str | None = None) -> Iterator[Callable[[Callable, Iterable], Iterator[Any]]]:
    """Give a function ``each(function, tasks)`` that yields the outputs as they are ready, in any order.

    Parameters
    ----------
    workers : int
        Processes; 1 works in this process. -1 is one per core.
    cluster : str, optional
        Address of a dask scheduler, such as ``tcp://10.0.0.1:8786``; its workers are used.

    Raises
    ------
    ArgumentError
        `workers` is 0, dask is not installed, or the cluster does not answer.
    """
    if workers == 0 or workers < -1:
        raise ArgumentError(f"workers = {workers}: give 1 or more, or -1 for one per core.")
    if cluster is None and workers == 1:
        yield lambda function, tasks: (function(*task) for task in tasks)
        return
    import joblib

    with ExitStack() as stack:
        if cluster is None:
            stack.enter_context(joblib.parallel_config(backend="loky", n_jobs=workers))
        else:
            client = stack.enter_context(_client(cluster))
            count = sum(client.nthreads().values()) if workers == 1 else workers
            stack.enter_context(joblib.parallel_config(backend="dask", n_jobs=max(1, count)))
        yield _each


def _each(function: Callable, tasks: Iterable[tuple]) -> Iterator[Any]:
    """Run tasks in the pool that is configured; leaving early stops those that have not begun."""
    from joblib import Parallel, delayed

    work = Parallel(return_as="generator_unordered", pre_dispatch=f"{IN_FLIGHT}*n_jobs", batch_size=1)
    outputs = work(delayed(function)(*task) for task in tasks)
    try:
        yield from outputs
    finally:
        outputs.close()


def _client(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError:
        raise ArgumentError("cluster: dask is not installed. Install it with: pip install 'plica[cluster]'.") from None
    try:
        client = Client(address, timeout=5)
    except (OSError, ValueError, TypeError) as error:
        raise ArgumentError(f"cluster = {address!r}: no scheduler answers ({error}). Give its address.") from None
    if not client.nthreads():
        client.close()
        raise ArgumentError(f"cluster = {address!r}: the scheduler has no workers. Start some: dask worker {address}.")
    return client
