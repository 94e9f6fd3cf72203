"""What idle sessions cost a relay, and what its throughput is beside many of them."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from tests.benchmarks.parts.part import Part
from tests.benchmarks.parts.relay import ENVELOPE_BYTES, ENVELOPES, WARM_ENVELOPES, carried_case
from tests.benchmarks.relay_alone import carried
from tests.benchmarks.rounds import Case, Figures
from tests.benchmarks.sessions import KIB, SETTLE_S, Crowd, crowd
from tests.benchmarks.settings import Settings

BUSY = "rmb.2"
"""What the two clients speak whose envelopes are counted."""

SIGNINS_PER_S = 400
START_S, RUN_S = 4.0, 2.0


async def start(stack: AsyncExitStack, folder: Path, settings: Settings) -> Sequence[Case]:
    """A relay per protocol for memory; the throughput is that of the last of them and of one more with few sessions."""
    few, many = settings.crowd_counts
    cases = []
    for protocol in sorted(settings.protocols):  # the one that stays comes last
        stays = protocol == BUSY
        counts = [*settings.idle_counts, *([many] if stays and many > max(settings.idle_counts) else [])]
        place = await stack.enter_async_context(crowd(folder / protocol, protocol, max(counts)))
        await place.warm_up()
        for count in counts:
            leaves = count == counts[-1] and not stays
            run = partial(_idle, place, count, settings.watch_s, leaves)
            cases.append(Case("idle sessions", f"{protocol}, {count:,} sessions", run, once=True))
        if stays:
            small = await stack.enter_async_context(crowd(folder / "few", protocol, few))
            await small.grow(few)
            for there, count in ((small, few), (place, max(counts))):
                subject = await stack.enter_async_context(carried(there.relay, BUSY))
                await subject.run(WARM_ENVELOPES, ENVELOPE_BYTES)
                envelopes = int(ENVELOPES[BUSY] * settings.scale)
                cases.append(carried_case(f"beside {count:,} sessions", subject, envelopes, group="throughput"))
    return cases


async def _idle(place: Crowd, count: int, watch_s: float, leaves: bool) -> Figures:
    seen = await place.idle(count, watch_s)
    if leaves:
        await place.leave()
    return {
        "sessions": seen.sessions,
        "kib_each": seen.session_bytes / KIB,
        "mib": seen.resident_bytes / KIB**2,
        "signins_per_s": seen.signins_per_s,
        "processor_percent": 100 * seen.processor,
    }


def estimate_s(settings: Settings) -> float:
    """Signing in and out, watching, and the runs."""
    signing = 1.5 * (max(*settings.idle_counts, settings.crowd_counts[1]) / SIGNINS_PER_S)
    watching = len(settings.idle_counts) * (SETTLE_S + settings.watch_s)
    runs = settings.rounds * 2 * RUN_S * settings.scale
    return len(settings.protocols) * (START_S + SETTLE_S + signing + watching) + runs


PART = Part("sessions", "memory of idle sessions, and the throughput beside few and many of them", [start], estimate_s)
