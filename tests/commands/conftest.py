"""An empty store for each test of a command."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from tests.support.services import emptied


@pytest.fixture
async def redis(store_of_worker: str) -> AsyncIterator[Redis]:
    """A client of the store that the tests of one worker share, empty; its commands may block."""
    async with emptied(store_of_worker) as client:
        yield client


@pytest.fixture
def redis_url(store_of_worker: str, redis: Redis) -> str:
    """URL of that store."""
    return store_of_worker
