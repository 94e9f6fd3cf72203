"""What small messages notice while one of the largest crosses."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from tests.benchmarks.large_payload import OVERHEAD_BYTES, QUIET_S, STREAMS, Ends, ends
from tests.benchmarks.parts.part import NETWORK_S, Part
from tests.benchmarks.rounds import Case, Figures
from tests.benchmarks.settings import Settings

OWN = STREAMS[-1]
"""Those of the same conversation: they wait, because order is kept."""

WARM_BYTES = 1024
LARGE_S = 1.0


async def start(stack: AsyncExitStack, folder: Path, settings: Settings) -> Sequence[Case]:
    """A network per protocol."""
    cases = []
    for protocol in settings.protocols:
        programs = await stack.enter_async_context(ends(folder / protocol, protocol))
        await programs.round(STREAMS, WARM_BYTES)
        for name in STREAMS:
            about = f"{protocol}, {name}" + (" (its own conversation)" if name == OWN else "")
            size_bytes = settings.large_bytes - OVERHEAD_BYTES
            cases.append(Case("large", about, partial(_run, programs, name, size_bytes)))
    return cases


async def _run(programs: Ends, name: str, size_bytes: int) -> Figures:
    seen = await programs.round((name,), size_bytes)
    stream = {what: 1000 * seconds for what, seconds in seen[name].items()}
    return {
        "large_ms": 1000 * seen["large"]["took"],
        "quiet_latency_ms": stream["quiet latency"],
        "latency_ms": stream["latency"],
        "quiet_gap_ms": stream["quiet gap"],
        "gap_ms": stream["gap"],
        "held_up_ms": max(0.0, stream["latency"] - stream["quiet latency"]),
        "own": float(name == OWN),
    }


def estimate_s(settings: Settings) -> float:
    """Starting, and all runs."""
    return len(settings.protocols) * (
        1.5 * NETWORK_S + 3 * QUIET_S + settings.rounds * len(STREAMS) * (3 * QUIET_S + LARGE_S)
    )


PART = Part("large", "small messages while a payload of 16 MiB crosses", [start], estimate_s)
