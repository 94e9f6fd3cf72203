"""How long answers stop when a relay fails."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from tests.benchmarks.failover import KINDS, PACE_S, Pair, pair
from tests.benchmarks.parts.part import NETWORK_S, Part
from tests.benchmarks.rounds import Case, Figures
from tests.benchmarks.settings import Settings

RECOVERY_S = 4.0


async def start(stack: AsyncExitStack, folder: Path, settings: Settings) -> Sequence[Case]:
    """Two relays, of which now one and now the other fails."""
    both = await stack.enter_async_context(pair(folder))
    return [Case("failover", kind, partial(_fail, both, kind, settings.failover_requests)) for kind in KINDS]


async def _fail(both: Pair, kind: str, requests: int) -> Figures:
    seen = await both.fail(kind, requests, PACE_S)
    return {"gap_before_ms": 1000 * seen["gap_before_s"], "gap_ms": 1000 * seen["gap_s"]}


def estimate_s(settings: Settings) -> float:
    """Starting, and all failures."""
    return 1.5 * NETWORK_S + settings.rounds * len(KINDS) * (settings.failover_requests * 1.5 * PACE_S + RECOVERY_S)


PART = Part("failover", "how long answers stop when a relay fails", [start], estimate_s)
