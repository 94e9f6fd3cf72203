"""Work in several threads with results in order.

Engines release the interpreter lock while they compute, so threads are enough. It refuses to know the work.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

THREADS_DEFAULT = min(4, os.cpu_count() or 1)
"""More than four are faster than most disks (a guess)."""

_AHEAD = 2  # jobs under way or finished for each thread: enough that none waits, and memory stays bounded


def in_order(jobs: Iterable[Callable[[], T]], threads: int) -> Iterator[T]:
    """The results of jobs, in their order.

    Args:
        jobs: taken one by one, not far ahead of the results that were consumed.
        threads: how many work at once; 1 works in the caller's thread.
    """
    if threads == 1:
        for job in jobs:
            yield job()
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="bao") as pool:
        under_way: deque[Future[T]] = deque()
        try:
            for job in jobs:
                under_way.append(pool.submit(job))
                if len(under_way) >= _AHEAD * threads:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()
