"""Pauses while Redis is away: growing, with jitter, and said once each."""

import asyncio
import logging
import random

from rmb_peer.local.redis_url import public_url
from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.backoff import Backoff

PAUSE_S_FIRST, PAUSE_S_MAX = 0.1, 5.0
"""Pauses between attempts to reach Redis. Guesses: Redis is near and restarts within a second."""

_LOG = get_logger("serve")


class Patience:
    """One caller's pauses."""

    def __init__(self, url: str) -> None:
        """Speak of the Redis at `url`."""
        self._url = url
        self._backoff = Backoff(PAUSE_S_FIRST, PAUSE_S_MAX, random.random)
        self._away = False

    async def pause(self, error: Exception, unless: asyncio.Event) -> None:
        """Wait a while, less when `unless` is set."""
        reason = str(error) or "no answer"
        event(_LOG, logging.WARNING, "cannot use redis, trying again", redis=public_url(self._url), reason=reason)
        self._away = True
        try:
            async with asyncio.timeout(self._backoff.next_s()):
                await unless.wait()
        except TimeoutError:
            return

    def done(self) -> None:
        """It worked."""
        if self._away:
            event(_LOG, logging.INFO, "redis answers again", redis=public_url(self._url))
            self._away = False
            self._backoff.reset()
