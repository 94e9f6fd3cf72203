"""What the commands share that look into a gateway's store: opening it, and one error for all that can go wrong."""

import argparse
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rmb_peer.commands.common import add_redis_flag, complain, redis_unreachable

if TYPE_CHECKING:
    from rmb_peer.local.looking import Store

ANSWER_S_MAX = 30.0
"""Longest wait for one answer of the store; a guess, generous for a slow disk."""

EXIT_NO_STORE = 5
"""Redis cannot be used. A code of its own, so that scripts do not take it for a result."""


def add_store_flags(parser: argparse.ArgumentParser) -> None:
    """Add `--redis` and `--json`."""
    parser.add_argument("--json", action="store_true", help="machine-readable, nothing else on standard output")
    add_redis_flag(parser)


def with_store(prog: str, url: str, work: "Callable[[Store], int]") -> int:
    """Open the store, do the work, close it; an unusable store is one line and `EXIT_NO_STORE`."""
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.exceptions import RedisError
    from redis.retry import Retry

    from rmb_peer.local.looking import Store
    from rmb_peer.local.redis_url import CONNECT_S_MAX

    try:
        redis = Redis.from_url(
            url, socket_connect_timeout=CONNECT_S_MAX, socket_timeout=ANSWER_S_MAX, retry=Retry(NoBackoff(), 0)
        )
    except ValueError as error:
        complain(prog, redis_unreachable(url, error))
        return EXIT_NO_STORE
    try:
        return work(Store(redis))
    except RedisError as error:
        complain(prog, redis_unreachable(url, error))
        return EXIT_NO_STORE
    finally:
        redis.close()


def print_json(value: Any) -> None:
    """One JSON value on one line."""
    print(json.dumps(value, ensure_ascii=False))
