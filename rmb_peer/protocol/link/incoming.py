"""The other direction of a link, seen from the receiver: what has come, what has ended, what is to be said about it.

Pure. It refuses to know frames: `link` writes and reads those.
"""

from rmb_peer.protocol.link.endings import FIRST_WINDOW, Ending, LinkBroken, Outcome, Run, Window
from rmb_peer.protocol.link.pacing import Pacing

_SAFE = Ending.SAFE
_REFUSED = Ending.REFUSED


class Incoming:
    """Envelopes that the other side sent on this connection."""

    def __init__(self, window: Window, *, answers: bool = True) -> None:
        """Accept this much that has not ended; the other side may use `FIRST_WINDOW` in any case.

        Args:
            window: this much.
            answers: see `Pacing`.
        """
        self._window = window
        self._pacing = Pacing(window.messages, window.size_bytes, answers=answers)
        self._fresh_bytes = 0
        """Of what ended and was not said."""
        self._urgent = False
        """Whether a refusal was not said: its sender has to do something about it."""
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

    def wait_s(self, now_s: float) -> float | None:
        """How long what there is to say may wait for an envelope that takes it along; `None` when there is nothing."""
        fresh = len(self._fresh)
        if not fresh:
            return None
        if self._urgent:
            return 0.0
        return self._pacing.wait_s(now_s, fresh, fresh + len(self._unended), self._fresh_bytes + self._unended_bytes)

    def arrived(self, first: int, sizes: list[int]) -> None:
        """A run of envelopes came.

        Raises:
            LinkBroken: numbers are missing or repeated, or the window is exceeded.
        """
        if not sizes:
            return
        if first != self._last + 1:
            raise LinkBroken(f"envelope {first} after {self._last}")
        run_bytes = sum(sizes)
        window = self._window
        if (
            len(self._unended) + len(sizes) > window.messages or self._unended_bytes + run_bytes > window.size_bytes
        ) and not self._fit_one_by_one(sizes):
            raise LinkBroken(f"more than the window of {window.messages} is on its way")
        self._unended.update(enumerate(sizes, first))
        self._unended_bytes += run_bytes
        self._last += len(sizes)

    def settle(self, number: int, outcome: Outcome) -> None:
        """An envelope has ended; in any order, each once."""
        size_bytes = self._unended.pop(number)
        self._unended_bytes -= size_bytes
        self._fresh_bytes += size_bytes
        self._ahead.add(number)
        self._fresh[number] = outcome
        if outcome.ending is _REFUSED:
            self._urgent = True

    def take_endings(self, runs_max: int) -> tuple[int, list[Run]]:
        """What is to be said now: the cumulative number, and runs for what it does not tell.

        Args:
            runs_max: runs in one frame; the rest is said next time, and the cumulative number stays below it.
        """
        fresh = self._fresh
        numbers = sorted(fresh)
        reach = self._reach()
        runs: list[Run] = []
        run: Run | None = None
        after = said = 0
        for number in numbers:
            outcome = fresh[number]
            if outcome.ending is not _SAFE or number > reach:
                if run is not None and number == after and (outcome is run.outcome or outcome == run.outcome):
                    run.more += 1
                elif len(runs) == runs_max:
                    reach = min(reach, number - 1)
                    break
                else:
                    run = Run(number, 0, outcome)
                    runs.append(run)
                after = number + 1
            said += 1
        if said == len(numbers):
            fresh.clear()
            self._fresh_bytes = 0
            self._urgent = False
            self._pacing.said()
        else:  # the caller asks again at once
            for number in numbers[:said]:
                del fresh[number]
        self._ahead.difference_update(range(self._safe + 1, reach + 1))
        self._safe = reach
        return reach, runs

    def _reach(self) -> int:
        reach, ahead = self._safe, self._ahead
        while reach + 1 in ahead:
            reach += 1
        return reach

    def _fit_one_by_one(self, sizes: list[int]) -> bool:
        """The last one of a run may be larger than the window, and the first window counts in any case."""
        messages, held_bytes = len(self._unended), self._unended_bytes
        for size_bytes in sizes:
            held = messages, held_bytes, size_bytes
            if not (self._window.has_room(*held) or FIRST_WINDOW.has_room(*held)):
                return False
            messages += 1
            held_bytes += size_bytes
        return True
