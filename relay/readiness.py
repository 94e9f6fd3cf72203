"""Whether this relay should get work: what `/readyz` says. Asked often, it probes seldom.

It refuses to know how a probe is done.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from relay.probe import ProbeFailed

PROBE_EVERY_S = 3.0
"""A result is repeated for this long: what strangers ask must not become work. A guess: more often than orchestrators
ask."""

Answer = tuple[int, dict[str, Any]]
"""Status, and what it says."""


class Readiness:
    """One relay's readiness."""

    def __init__(self, probe: Callable[[], Awaitable[float]], clock: Callable[[], float]) -> None:
        """Begin without a result.

        Args:
            probe: sends a message through; gives seconds, or raises `ProbeFailed`.
            clock: monotonic seconds.
        """
        self._probe = probe
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()
        self._last: tuple[float, Answer] | None = None
        self._stopping = False

    def stopping(self) -> None:
        """From now on the answer is no."""
        self._stopping = True

    async def ask(self) -> Answer:
        """200 or 503, and why; at most `PROBE_EVERY_S` old."""
        if self._stopping:
            return _stopping()
        async with self._one_at_a_time:
            if self._last is None or self._clock() - self._last[0] >= PROBE_EVERY_S:
                answer = await self._ask()
                self._last = self._clock(), answer
            answer = self._last[1]
        return _stopping() if self._stopping else answer

    async def _ask(self) -> Answer:
        try:
            took_s = await self._probe()
        except ProbeFailed as error:
            return 503, {"status": "failing", "step": error.step, "reason": str(error)}
        return 200, {"status": "ready", "latency_ms": round(took_s * 1000, 3)}


def _stopping() -> Answer:
    return 503, {"status": "stopping", "step": "stop", "reason": "relay is shutting down"}
