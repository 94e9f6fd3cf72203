"""The other direction of a link, seen from the receiver: what has come, what has ended, what is to be said about it.

Pure. It refuses to know frames: `link` writes and reads those.
"""

from rmb_peer.protocol.link.endings import FIRST_WINDOW, IS_SAFE, LinkBroken, Outcome, Run, Window


class Incoming:
    """Envelopes that the other side sent on this connection."""

    def __init__(self, window: Window) -> None:
        """Accept this much that has not ended; the other side may use `FIRST_WINDOW` in any case."""
        self._window = window
        self._last = 0
        self._unended: dict[int, int] = {}
        self._unended_bytes = 0
        self._safe = 0
        self._ahead: set[int] = set()
        """Ended, beyond `_safe`."""
        self._fresh: dict[int, Outcome] = {}
        """Ended, and not yet said."""

    @property
    def unended(self) -> int:
        """Envelopes that came and have not ended."""
        return len(self._unended)

    @property
    def something_to_say(self) -> bool:
        """Whether `take_endings` would tell anything new."""
        return bool(self._fresh)

    def arrived(self, first: int, sizes: list[int]) -> None:
        """A run of envelopes came.

        Raises:
            LinkBroken: numbers are missing or repeated, or the window is exceeded.
        """
        if sizes and first != self._last + 1:
            raise LinkBroken(f"envelope {first} after {self._last}")
        for size_bytes in sizes:
            if not self._fits(size_bytes):
                raise LinkBroken(f"more than the window of {self._window.messages} is on its way")
            self._last += 1
            self._unended[self._last] = size_bytes
            self._unended_bytes += size_bytes

    def settle(self, number: int, outcome: Outcome) -> None:
        """An envelope has ended; in any order, each once."""
        self._unended_bytes -= self._unended.pop(number)
        self._ahead.add(number)
        self._fresh[number] = outcome

    def take_endings(self, runs_max: int) -> tuple[int, list[Run]]:
        """What is to be said now: the cumulative number, and runs for what it does not tell.

        Args:
            runs_max: runs in one frame; the rest is said next time, and the cumulative number stays below it.
        """
        numbers = sorted(self._fresh)
        reach = self._reach()
        runs: list[Run] = []
        for number in numbers:
            outcome = self._fresh[number]
            if outcome != IS_SAFE or number > reach:
                if runs and runs[-1].first + runs[-1].more + 1 == number and runs[-1].outcome == outcome:
                    runs[-1].more += 1
                elif len(runs) == runs_max:
                    reach = min(reach, number - 1)
                    break
                else:
                    runs.append(Run(number, 0, outcome))
            del self._fresh[number]
        while self._safe < reach:
            self._safe += 1
            self._ahead.remove(self._safe)
        return self._safe, runs

    def _reach(self) -> int:
        reach = self._safe
        while reach + 1 in self._ahead:
            reach += 1
        return reach

    def _fits(self, size_bytes: int) -> bool:
        held = len(self._unended), self._unended_bytes, size_bytes
        return self._window.has_room(*held) or FIRST_WINDOW.has_room(*held)
