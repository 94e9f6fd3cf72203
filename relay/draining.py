"""How sessions are ended when the relay stops: one after another, so that their clients do not all dial at once.

Clients that are not yet told are served until then. It refuses to know what a session is.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Protocol

GAP_S_MAX = 0.005
"""Longest pause from one session to the next: 200 a second trouble nobody, and a small relay stops at once. A guess."""

TIMER_S = 0.001
"""Timers are not exact below this."""

WIND_UP_S_MAX = 4.0
"""How long the last sessions may take after they were told: a last pong or ending, one second; frames that were on
their way and the closing handshake, two; one to spare."""


class Stoppable(Protocol):
    """A session."""

    def stop(self) -> None:
        """End it because the relay stops; harmless if it has ended."""
        ...


async def stop_one_by_one(
    sessions: Collection[Stoppable],
    spread_s: float,
    *,
    shuffle: Callable[[list[Stoppable]], None] = random.shuffle,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Stop all sessions, evenly over `spread_s` or less, in no order that anybody knows.

    Args:
        sessions: those to stop.
        spread_s: longest time from the first to the last.
        shuffle: brings them into that order.
        clock: monotonic seconds.
        sleep: waits.
    """
    waiting = list(sessions)
    if not waiting:
        return
    shuffle(waiting)
    gap_s = min(GAP_S_MAX, spread_s / len(waiting))
    began_s = clock()
    for number, session in enumerate(waiting):
        session.stop()
        ahead_s = began_s + (number + 1) * gap_s - clock()
        if ahead_s > TIMER_S and number + 1 < len(waiting):
            await sleep(ahead_s)
