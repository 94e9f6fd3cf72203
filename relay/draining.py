"""How sessions are ended when the relay stops: one after another, so that their clients do not all dial at once.

Clients that are not yet told are served until then. It refuses to know what a session is.
"""

import asyncio
import random
from collections.abc import Callable, Collection
from typing import Protocol

GAP_S_MAX = 0.005
"""Longest pause from one session to the next: 200 a second trouble nobody, and a small relay stops at once. A guess."""

WIND_UP_S_MAX = 4.0
"""How long the last sessions may take after they were told: a last pong or ending, one second; frames that were on
their way and the closing handshake, two; one to spare."""


class Stoppable(Protocol):
    """A session."""

    def stop(self) -> None:
        """End it because the relay stops; harmless if it has ended."""
        ...


async def stop_one_by_one(
    sessions: Collection[Stoppable], spread_s: float, shuffle: Callable[[list[Stoppable]], None] = random.shuffle
) -> None:
    """Stop all sessions, evenly over `spread_s` or less, in no order that anybody knows."""
    waiting = list(sessions)
    if not waiting:
        return
    shuffle(waiting)
    gap_s = min(GAP_S_MAX, spread_s / len(waiting))
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    for number, session in enumerate(waiting):
        session.stop()
        ahead_s = began_s + (number + 1) * gap_s - loop.time()
        if ahead_s > 0.001 and number + 1 < len(waiting):  # timers are not exact below that
            await asyncio.sleep(ahead_s)
