"""One real Valkey for each test of a command."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.support.services import valkey


@pytest.fixture
async def redis_url(tmp_path: Path) -> AsyncIterator[str]:
    """URL of a Valkey that lives as long as the test."""
    async with valkey(tmp_path / "valkey", port=0) as (server, _):
        yield server.url


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client of `redis_url`; commands may block for as long as a test lasts."""
    client = Redis.from_url(redis_url, socket_timeout=None)
    yield client
    await client.aclose()
