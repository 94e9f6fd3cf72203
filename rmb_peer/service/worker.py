"""Take entries from one Redis list, one after another, and push the replies. Redis may go away and come back.

What was taken is replied to before the worker stops. A reply whose push broke off is pushed again, so that it is never
lost; in the rare case that the first push had arrived, it arrives twice. This module refuses to know what entries mean.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from rmb_peer.local.redis_url import CONNECT_S_MAX, public_url
from rmb_peer.logs import event, get_logger

POP_S_MAX = 20.0
"""Longest single wait for an entry. It bounds how long a connection that died silently stays unnoticed."""

BACKOFF_S_FIRST = 0.1
BACKOFF_S_MAX = 5.0
"""Pause between attempts to reach Redis: doubled each time up to this, with jitter. Guesses: Redis is near and restarts
within a second."""

_UNBLOCK_S = 0.05  # between attempts to wake a worker that waits: the first may come just before it begins to wait
_JITTER = random.SystemRandom()
_LOG = get_logger("serve")


@dataclass(frozen=True, slots=True)
class Reply:
    """What to push, and how long it is worth trying while Redis is away."""

    list_name: str
    value: bytes
    patience_s: float


Handler = Callable[[bytes], Awaitable[Reply | None]]
"""Makes the reply to an entry, or `None` when nobody can be told anything. It does not raise."""


class Worker:
    """One connection to Redis, one entry at a time."""

    def __init__(self, url: str, list_name: str, handler: Handler) -> None:
        """Make a worker; `run` starts it.

        Args:
            url: Redis.
            list_name: entries are taken from its tail, which is first in, first out for gateways (spec rmb 5.1).
            handler: makes the replies.

        Raises:
            ValueError: `url` is no Redis URL.
        """
        self._url = url
        self._list = list_name
        self._handler = handler
        self._stopping = asyncio.Event()
        self._abandoning = asyncio.Event()
        self._waiting_as: int | None = None
        self._redis = Redis.from_url(
            url,
            single_connection_client=True,
            socket_connect_timeout=CONNECT_S_MAX,
            socket_timeout=POP_S_MAX + CONNECT_S_MAX,
            retry=Retry(NoBackoff(), 0),  # a pop that is repeated behind our back could take two
        )

    async def run(self) -> None:
        """Work until `stop`."""
        try:
            while not self._stopping.is_set():
                entry = await self._pop()
                reply = await self._handler(entry) if entry is not None else None
                if reply is not None:
                    await self._push(reply)
        finally:
            await self._redis.aclose()

    def abandon(self) -> None:
        """Let go of a reply that cannot be pushed because Redis is away. Use it together with `stop`."""
        self._abandoning.set()

    async def stop(self) -> None:
        """Take nothing new, and wake the worker if it waits. `run` ends when the entry at hand is replied to."""
        self._stopping.set()
        client = Redis.from_url(self._url, socket_connect_timeout=CONNECT_S_MAX)
        try:
            while self._waiting_as is not None:
                await client.client_unblock(self._waiting_as)
                await asyncio.sleep(_UNBLOCK_S)
        except RedisError as error:  # the worker's own connection fails as well, or its wait ends by itself
            event(_LOG, logging.WARNING, "cannot wake a worker that waits", reason=str(error))
        finally:
            await client.aclose()

    async def _pop(self) -> bytes | None:
        """The oldest entry, or `None` when there was none for a while, or on `stop`.

        A pop is never cancelled, because that could lose what it just took.
        """
        backoff = _Backoff(self._url)
        while not self._stopping.is_set():
            try:
                own_id = await self._redis.client_id()
                if self._stopping.is_set():
                    break
                self._waiting_as = own_id  # from here on `stop` wakes us
                popped: Any = await self._redis.brpop([self._list], timeout=POP_S_MAX)
            except RedisError as error:
                await backoff.pause(error, self._stopping)
            else:
                backoff.done()
                return popped[1] if popped else None
            finally:
                self._waiting_as = None
        return None

    async def _push(self, reply: Reply) -> None:
        backoff = _Backoff(self._url)
        give_up_at = asyncio.get_running_loop().time() + reply.patience_s
        while True:
            try:
                await self._redis.lpush(reply.list_name, reply.value)
            except RedisError as error:
                if self._abandoning.is_set() or asyncio.get_running_loop().time() > give_up_at:
                    event(_LOG, logging.ERROR, "reply lost: redis was away too long", reason=str(error))
                    return
                await backoff.pause(error, self._abandoning)
            else:
                backoff.done()
                return


class _Backoff:
    """Pauses between attempts, and says when they begin and end."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._next_s = BACKOFF_S_FIRST

    async def pause(self, error: RedisError, unless: asyncio.Event) -> None:
        """Wait a while, less when `unless` is set."""
        fields = {"redis": public_url(self._url), "reason": str(error)}
        event(_LOG, logging.WARNING, "cannot use redis, trying again", **fields)
        try:
            async with asyncio.timeout(self._next_s * _JITTER.uniform(0.5, 1.0)):
                await unless.wait()
        except TimeoutError:
            self._next_s = min(2 * self._next_s, BACKOFF_S_MAX)

    def done(self) -> None:
        """It worked."""
        if self._next_s > BACKOFF_S_FIRST:
            event(_LOG, logging.INFO, "redis answers again", redis=public_url(self._url))
