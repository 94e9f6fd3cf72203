"""How long things took, in Prometheus' form of a histogram. Pure; made to cost next to nothing per message.

Times are whole milliseconds: what a store's entry ids tell, and what comparing integers is cheap for.
"""

from bisect import bisect_left
from collections.abc import Iterator

BOUNDS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000, 600_000, 3_600_000)
"""Upper bounds of the buckets: fine where a relay is at work, coarse where a client was away. A guess."""


class Histogram:
    """Counts per bucket, and their sum.

    Attributes:
        counts: per bucket, not added up; the last one is what exceeds all bounds.
        sum_ms: of all values.
    """

    __slots__ = ("counts", "sum_ms")

    def __init__(self) -> None:
        """Begin with nothing."""
        self.counts = [0] * (len(BOUNDS_MS) + 1)
        self.sum_ms = 0

    def add(self, value_ms: int) -> None:
        """Count one value; a negative one, which two clocks can make, counts as 0."""
        if value_ms > 0:
            self.counts[bisect_left(BOUNDS_MS, value_ms)] += 1
            self.sum_ms += value_ms
        else:
            self.counts[0] += 1

    def lines(self, name: str, labels: str) -> Iterator[str]:
        """Its samples in Prometheus' text format; `labels` without braces, not empty."""
        total = 0
        for bound_ms, count in zip(BOUNDS_MS, self.counts, strict=False):
            total += count
            yield f'{name}_bucket{{{labels},le="{bound_ms / 1000:g}"}} {total}'
        total += self.counts[-1]
        yield f'{name}_bucket{{{labels},le="+Inf"}} {total}'
        yield f"{name}_sum{{{labels}}} {self.sum_ms / 1000:g}"
        yield f"{name}_count{{{labels}}} {total}"
