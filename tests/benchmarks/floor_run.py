"""The floor as it is while the whole machine works: one process for each core, all at once.

Virtual cores are often two threads of one real core, and clocks drop when all are busy; a floor that was measured on an
otherwise idle machine would make everything that runs on a busy one look bad.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import mean

from rmb_peer.protocol.signatures import KeyType
from tests.benchmarks.helper import Helper, helper


class Floors:
    """Keeps the processes, so that each measurement begins at once."""

    def __init__(self, helpers: Sequence[Helper]) -> None:
        self._helpers = helpers

    async def busy_s(self, key_type: KeyType, payload_bytes: int, duration_s: float) -> float:
        """Seconds for one request and its response while every core does the same."""
        jobs = [_floor_s(one, key_type, payload_bytes, duration_s) for one in self._helpers]
        return mean(await asyncio.gather(*jobs))

    async def idle_s(self, key_type: KeyType, payload_bytes: int, duration_s: float) -> float:
        """The same on one core while the others rest."""
        return await _floor_s(self._helpers[0], key_type, payload_bytes, duration_s)


async def _floor_s(one: Helper, key_type: KeyType, payload_bytes: int, duration_s: float) -> float:
    heard = await one.tell(key_type=key_type, payload_bytes=payload_bytes, duration_s=duration_s)
    return float(heard["floor_s"])


@asynccontextmanager
async def floors(cores: int | None = None) -> AsyncIterator[Floors]:
    """Start the processes; they end with the context."""
    async with AsyncExitStack() as stack:
        count = cores or os.cpu_count() or 1
        yield Floors([await stack.enter_async_context(helper("tests.benchmarks.floor")) for _ in range(count)])
