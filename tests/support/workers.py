"""Worker processes for tests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rmb_peer.workers.pool import Workers


@asynccontextmanager
async def running(workers: Workers) -> AsyncIterator[Workers]:
    """Start them, run them, end them; what went wrong inside fails the test."""
    await workers.start()
    try:
        await workers.ready()
        task = asyncio.create_task(workers.run())
        yield workers
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled(), task.exception()
    finally:
        await workers.close()
