"""Ending tasks for certain. It refuses to know what they do."""

import asyncio
from collections.abc import Iterable
from typing import Any

AGAIN_S = 0.1
"""Pause before the next attempt; a guess."""


async def end(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel tasks and wait until they have ended.

    One cancellation is not always enough: `asyncio.wait_for` swallows one that comes in the moment its work is done
    (before Python 3.12), and redis-py uses it for every write.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_S)
