"""What a relay's Close asks of us: how long to stay away (relay/DESIGN.md, "Close codes"). Pure; randomness comes in.

It refuses to know connections.
"""

import re
from collections.abc import Callable

from rmb_peer.protocol.backoff import Backoff

GOING_AWAY = 1001
"""The relay is shutting down (RFC 6455, 7.4.1). Its text may say when to come back."""

TRY_AGAIN_LATER = 1013
"""The relay is full (IANA's registry of close codes). Its text may say when to come back."""

SUPERSEDED = 4001
"""Close code of our relay: another connection with this identity has taken this one's place."""

SUPERSEDED_RETRY_S, SUPERSEDED_RETRY_S_MAX = 60.0, 900.0
"""Pauses after that, each shortened by up to half at random: two gateways with one identity must not evict each other
all the time. Guesses: after a few turns, four an hour."""

SUPERSEDED_FORGOTTEN_S = 2 * SUPERSEDED_RETRY_S_MAX
"""A connection that nobody took over for so long ends the quarrel: the other one would have been back."""

ASKED_S_MAX = 60.0
"""Longest pause that a relay can ask for; a guess."""

_RETRY_AFTER = re.compile(r"retry after ([0-9]{1,4}(?:\.[0-9]{1,3})?) s")


def asked_pause_s(reason: str) -> float:
    """The seconds in a text such as "relay is shutting down; retry after 2 s"; 0 if there are none."""
    found = _RETRY_AFTER.search(reason)
    return min(float(found[1]), ASKED_S_MAX) if found else 0.0


class Manners:
    """How long to stay away after each Close."""

    def __init__(self, random: Callable[[], float]) -> None:
        """`random` returns numbers in [0, 1)."""
        self._random = random
        self._superseded = Backoff(SUPERSEDED_RETRY_S, SUPERSEDED_RETRY_S_MAX, random)

    def closed(self, code: int, reason: str, held_s: float) -> float:
        """A connection was closed by the relay.

        Args:
            code, reason: of its Close.
            held_s: how long the connection was there.

        Returns:
            seconds to stay away at least; never the same for two gateways, so that not all come back at once.
        """
        if code == SUPERSEDED:
            if held_s > SUPERSEDED_FORGOTTEN_S:
                self._superseded.reset()
            return self._superseded.next_s()
        if code in (GOING_AWAY, TRY_AGAIN_LATER):
            return asked_pause_s(reason) * (0.5 + self._random() / 2)
        return 0.0
