"""Real servers for tests, each in its own folder and stopped at the end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from rmb_peer.embedded.valkey import EmbeddedValkey


@asynccontextmanager
async def emptied(url: str) -> AsyncIterator[Redis]:
    """A client of a server that several tests share one after another: nothing in it, nobody else connected to it."""
    client: Any = Redis.from_url(url, socket_timeout=None)
    try:
        await client.client_kill_filter(_type="normal", skipme=True)
        await client.flushall()
        yield client
    finally:
        await client.aclose()


@asynccontextmanager
async def valkey(folder: Path, port: int | None = None) -> AsyncIterator[tuple[EmbeddedValkey, Redis]]:
    """A Valkey server and a client of it."""
    server = await EmbeddedValkey.start(folder, port=port)
    client = Redis.from_url(server.url, socket_timeout=None)
    try:
        yield server, client
    finally:
        await client.aclose()
        await server.stop()
