"""A client of Redis for programs and janitors: it repeats nothing behind our back, and how it fails has one name."""

from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from rmb_peer.local.redis_url import CONNECT_S_MAX

ANSWER_S_MAX = 30.0
"""Longest wait for an answer, beyond what a blocking command waits by itself. A guess, as in `redis_queues.py`."""

AWAY = (RedisError, OSError, TimeoutError)
"""How Redis fails."""


def open_redis(url: str, **options: Any) -> Redis:
    """A client; nothing is connected yet.

    No socket timeout: on Python 3.11 the client's way of limiting a read can lose a cancellation (CPython issue 86296).

    Raises:
        ValueError: `url` is no Redis URL.
    """
    return Redis.from_url(
        url, socket_connect_timeout=CONNECT_S_MAX, socket_timeout=None, retry=Retry(NoBackoff(), 0), **options
    )
