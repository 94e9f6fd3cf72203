"""Growing, jittered pauses between attempts: fixed ones bring everybody back at the same instant (spec rmb 10.11 l)."""

from collections.abc import Callable


class Backoff:
    """Pauses that double from `first_s` to `most_s`, each shortened by up to half at random."""

    def __init__(self, first_s: float, most_s: float, random: Callable[[], float]) -> None:
        """Set the bounds in seconds; `random` returns numbers in [0, 1)."""
        self._first_s = first_s
        self._most_s = most_s
        self._random = random
        self._next_s = first_s

    def next_s(self) -> float:
        """The pause before the next attempt."""
        pause_s = self._next_s * (1.0 - self._random() / 2)
        self._next_s = min(2 * self._next_s, self._most_s)
        return pause_s

    def reset(self) -> None:
        """Begin anew after a success."""
        self._next_s = self._first_s

    def raise_to(self, pause_s: float) -> None:
        """Make the next pause at least about this long."""
        self._next_s = max(self._next_s, min(pause_s, self._most_s))
