"""Several threads: one cuts the first layers, the others take the cells on; compiled kernels run beside each other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from threading import Semaphore

import numpy as np

from plica.analyses.regions import solid_pieces as pieces
from plica.analyses.regions.solid_domain import Domain
from plica.analyses.regions.solid_engine import Batch, Engine
from plica.core.network import Network
from plica.core.progress import Progress

PIECE = 64  # cells of a batch that is handed over
WAITING = 8  # batches a worker may have waiting


def run_in_threads(
    net: Network, domain: Domain, progress: Progress, workers: int, batches: list[Batch] | None
) -> list[Engine]:
    """Count regions with several threads; return their engines."""
    queue: SimpleQueue[Batch | None] = SimpleQueue()
    room = Semaphore(WAITING * workers)

    def hand_over(batch: Batch) -> None:
        for start in range(0, len(batch.cells.at), PIECE):
            room.acquire()
            part = pieces.take(batch.cells, start, min(start + PIECE, len(batch.cells.at)))
            part = part._replace(parent=np.arange(len(part.at)))
            queue.put(Batch(batch.stage, part))

    def work(engine: Engine) -> None:
        failed: BaseException | None = None
        while (batch := queue.get()) is not None:
            room.release()
            if failed is None:
                try:
                    for _ in engine.run([batch]):
                        pass
                except BaseException as error:  # the queue must be emptied first
                    failed = error
        if failed is not None:
            raise failed

    first = Engine(net, domain, progress, hand_over=hand_over)
    engines = [Engine(net, domain, progress) for _ in range(workers)]
    with ThreadPoolExecutor(workers) as pool:
        running = [pool.submit(work, engine) for engine in engines]
        try:
            if batches is None:
                for _ in first.run():
                    pass
            else:
                for batch in batches:
                    hand_over(batch)
        finally:
            for _ in engines:
                queue.put(None)
        for future in running:
            future.result()
    return [first, *engines]
