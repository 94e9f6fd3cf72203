"""The floor as it is while the whole machine works: one process for each core, all at once.

Virtual cores are often two threads of one real core, and clocks drop when all are busy; a floor that was measured on an
otherwise idle machine would make everything that runs on a busy one look bad.
"""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from statistics import mean

from rmb_peer.protocol.signatures import KeyType
from tests.benchmarks.floor import floor_s


class Floors:
    """Keeps the processes, so that each measurement begins at once."""

    def __init__(self, cores: int | None = None) -> None:
        self._cores = cores or os.cpu_count() or 1
        self._pool = ProcessPoolExecutor(self._cores)

    def busy_s(self, key_type: KeyType, payload_bytes: int, duration_s: float) -> float:
        """Seconds for one request and its response while every core does the same."""
        jobs = [self._pool.submit(floor_s, key_type, payload_bytes, duration_s) for _ in range(self._cores)]
        return mean(job.result() for job in jobs)

    def idle_s(self, key_type: KeyType, payload_bytes: int, duration_s: float) -> float:
        """The same on one core while the others rest."""
        call: Callable[[KeyType, int, float], float] = floor_s
        return self._pool.submit(call, key_type, payload_bytes, duration_s).result()

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown()
