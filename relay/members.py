"""Which processes live on one store: each says so once a second, and is believed for five.

The store's clock decides, so the processes' clocks need not agree. Whoever was silent for too long (paused, or cut off
from the store) is taken out by the others, and hears of it with its next beat.

This module refuses to know what follows from that.
"""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, cast

from relay.keys import JOINS, PROCESSES, PROCESSES_CHANNEL
from relay.process_settings import LIFE_S
from relay.store import Store

_BEAT = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local until_ms = redis.call('ZSCORE', KEYS[1], ARGV[1])
local lived = 0
if until_ms and tonumber(until_ms) > now then lived = 1 end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
if ARGV[3] == '1' then
  redis.call('INCR', KEYS[2])
  redis.call('PUBLISH', ARGV[4], ARGV[1])
end
return {lived, tonumber(redis.call('GET', KEYS[2]) or '0'), redis.call('ZRANGE', KEYS[1], 0, -1)}
"""


@dataclass(frozen=True, slots=True)
class Beat:
    """What the store says at one moment.

    Attributes:
        lived: whether we were believed to live until now.
        joins: how often a process has begun, ever.
        others: the other processes that live.
    """

    lived: bool
    joins: int
    others: frozenset[str]


class Members:
    """The place of one process among the others."""

    def __init__(self, store: Store, process: str, *, life_s: float = LIFE_S) -> None:
        """Set up; nothing is said before `beat`."""
        self._store: Any = store
        self._process = process
        self._life_ms = int(life_s * 1000)

    async def beat(self, *, joining: bool = False) -> Beat:
        """Say that we live.

        Raises:
            RedisError, OSError: the store does not answer.
        """
        lived, joins, living = await cast(
            Awaitable[Any],
            self._store.eval(_BEAT, 2, PROCESSES, JOINS, self._process, self._life_ms, int(joining), PROCESSES_CHANNEL),
        )
        return Beat(bool(lived), int(joins), frozenset(name.decode() for name in living) - {self._process})

    async def joins(self) -> int:
        """How often a process has begun, ever.

        Raises:
            RedisError, OSError: the store does not answer.
        """
        return int(await self._store.get(JOINS) or 0)

    async def leave(self) -> None:
        """Say that we end; harmless when we are not in.

        Raises:
            RedisError, OSError: the store does not answer.
        """
        await self._store.zrem(PROCESSES, self._process)
