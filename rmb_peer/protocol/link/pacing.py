"""When acknowledgements leave that no envelope takes along. Pure; time is the caller's.

A frame of its own costs both sides a system call, a wake-up and a turn of the event loop, more than all else that an
acknowledgement costs. Answers usually follow soon, and their frames take acknowledgements along at no cost. So one that
is alone is held back for a moment, and whatever joins it leaves with it. Nothing waits for it in the meantime: who sent
the envelope keeps it, and may send more as long as the window has room.
"""

HELD_S = 0.005
"""How long an acknowledgement waits for company at most. A guess: longer than a local service needs for its answer,
much shorter than the second after which a relay stores what was not acknowledged."""

HELD_MAX = 64
"""Acknowledgements that leave at once when there are as many. A guess: beyond, what one more costs is small."""

EARLY_S = 0.001
"""What is due this soon is due: event loops count milliseconds, so a timer may come as early."""


class Pacing:
    """Of one end of a link."""

    def __init__(self, window_messages: int, window_bytes: int, *, answers: bool) -> None:
        """Nothing is held.

        Args:
            window_messages, window_bytes: of this end: what the other side may send before it hears of endings.
            answers: whether envelopes go both ways. If not, acknowledgements wait for each other only, and for nothing
                once all that came has ended.
        """
        self._half_messages = window_messages // 2
        self._half_bytes = window_bytes // 2
        self._answers = answers
        self._since_s: float | None = None

    def wait_s(self, now_s: float, fresh: int, unheard: int, unheard_bytes: int) -> float:
        """How much longer what is to be said may wait; 0 when it has to leave now.

        Args:
            now_s: the time, of a clock that never goes back.
            fresh: endings that were not said. There is one at least.
            unheard: envelopes of which the other side has not heard that they have ended; these, and unended ones.
            unheard_bytes: their bytes.
        """
        if fresh >= HELD_MAX or unheard >= self._half_messages or unheard_bytes >= self._half_bytes:
            return 0.0
        if not self._answers and fresh == unheard:
            return 0.0
        if self._since_s is None:
            self._since_s = now_s
        left_s = HELD_S - (now_s - self._since_s)  # never more than it, as the sum of both and the time might be
        return left_s if left_s > EARLY_S else 0.0

    def said(self) -> None:
        """Nothing is held any more."""
        self._since_s = None
