"""Which of several relays to try first: the one that failed least of late (spec rmb 6.8). Pure.

Failures are forgotten after a while, so that a relay heals; equals come in random order, so that they share the work.
"""

from collections import deque
from collections.abc import Callable, Iterable

from rmb_peer.registry.lru import Lru

FAILURES_MAX = 100
"""Failures remembered of one relay; more make no difference. A guess."""

RELAYS_MAX = 1000
"""Relays whose failures are remembered; strangers choose their names. A guess."""


class Ranker:
    """Counts failures."""

    def __init__(self, period_s: float, random: Callable[[], float]) -> None:
        """Start without failures.

        Args:
            period_s: how long one counts.
            random: returns numbers in [0, 1).
        """
        self._period_s = period_s
        self._random = random
        self._failures: Lru[str, deque[float]] = Lru(RELAYS_MAX)

    def failed(self, name: str, now_s: float) -> None:
        """An attempt at this relay failed."""
        failures = self._failures.get(name)
        if failures is None:
            failures = deque(maxlen=FAILURES_MAX)
            self._failures.put(name, failures)
        failures.append(now_s)

    def failures(self, name: str, now_s: float) -> int:
        """How often it failed within the period."""
        failures = self._failures.get(name)
        if failures is None:
            return 0
        while failures and failures[0] <= now_s - self._period_s:
            failures.popleft()
        return len(failures)

    def order(self, names: Iterable[str], now_s: float) -> list[str]:
        """The same names, best first."""
        return sorted(sorted(names), key=lambda name: (self.failures(name, now_s), self._random()))
