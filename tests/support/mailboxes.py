"""Mailboxes on a real store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from relay.redis_mailboxes import RedisMailboxes


@asynccontextmanager
async def redis_mailboxes(url: str, process: str = "test", **options: Any) -> AsyncIterator[RedisMailboxes]:
    """`RedisMailboxes`, running."""
    client = Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=None)
    boxes = RedisMailboxes(client, process=process, **options)
    running = asyncio.create_task(boxes.run())
    try:
        yield boxes
    finally:
        await boxes.close()
        await running
        await client.aclose()
