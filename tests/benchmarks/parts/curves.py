"""What a message costs with more and more sessions, messages that wait, and bytes."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from tests.benchmarks.end_to_end import Load, route
from tests.benchmarks.floor_run import floors
from tests.benchmarks.parts.part import NETWORK_S, Part
from tests.benchmarks.parts.relay import ENVELOPE_BYTES, ENVELOPES, WARM_ENVELOPES
from tests.benchmarks.parts.requests import WARM_S, bytes_text, request_case, run_s
from tests.benchmarks.parts.sessions import BUSY, SIGNINS_PER_S
from tests.benchmarks.relay_alone import Subject, carried, lone_relay
from tests.benchmarks.rounds import Case, Figures
from tests.benchmarks.sessions import crowd
from tests.benchmarks.settings import SOME, Settings

APPENDED = 1000
"""Envelopes that are put into a mailbox to see what one costs."""

PAYLOAD_BYTES = 100
MAILBOX_PER_S, REQUESTS_PER_S = 8000, 1000
CROWD_S = 4.0


async def sessions(stack: AsyncExitStack, folder: Path, settings: Settings) -> Sequence[Case]:
    """A relay for each number of sessions."""
    cases = []
    for count in settings.curve_sessions:
        place = await stack.enter_async_context(crowd(folder / f"sessions-{count}", BUSY, count))
        await place.grow(count)
        subject = await stack.enter_async_context(carried(place.relay, BUSY))
        await subject.run(WARM_ENVELOPES, ENVELOPE_BYTES)
        envelopes = int(ENVELOPES[BUSY] * settings.scale)
        cases.append(Case("curve: sessions", f"{count:,} sessions", partial(_online, subject, count, envelopes)))
    return cases


async def _online(subject: Subject, sessions: int, envelopes: int) -> Figures:
    seen = await subject.run(envelopes, ENVELOPE_BYTES)
    return {"x": sessions, "relay_us": 1e6 / seen.per_core_s, "valkeys_us": seen.store_cpu_s * 1e6}


async def mailbox(stack: AsyncExitStack, folder: Path, settings: Settings) -> Sequence[Case]:
    """One relay, with a mailbox that is filled and emptied."""
    room = str(2 * (max(settings.curve_mailbox) + APPENDED))
    relay = await stack.enter_async_context(
        lone_relay(folder / "mailbox", "--retain-count", room, "--stored-count-per-twin", room)
    )
    subject = await stack.enter_async_context(carried(relay, BUSY))
    return [
        Case("curve: mailbox", f"{count:,} in the mailbox", partial(_stored, subject, count))
        for count in settings.curve_mailbox
    ]


async def _stored(subject: Subject, waiting: int) -> Figures:
    await subject.run(waiting, ENVELOPE_BYTES, online=False)
    stored = await subject.run(APPENDED, ENVELOPE_BYTES, online=False)
    fetched = await subject.collect(waiting + APPENDED)
    return {
        "x": waiting,
        "relay_us": 1e6 / stored.per_core_s,
        "valkeys_us": stored.store_cpu_s * 1e6,
        "fetched_relay_us": 1e6 / fetched.per_core_s,
        "fetched_valkeys_us": fetched.store_cpu_s * 1e6,
    }


async def requests(stack: AsyncExitStack, folder: Path, settings: Settings) -> Sequence[Case]:
    """One route; the list and the size."""
    key, protocol = settings.keys[0], settings.protocols[0]
    beside = await stack.enter_async_context(floors())
    way = await stack.enter_async_context(route(folder / "route", key, protocol))
    await way.run(Load(SOME, PAYLOAD_BYTES), min(WARM_S, settings.seconds))

    def case(group: str, name: str, load: Load, x: float) -> Case:
        return request_case(group, name, way, beside, key, load, settings.seconds, x)

    return [
        *(case("curve: list", f"{n:,} in the list", Load(n, PAYLOAD_BYTES), n) for n in settings.curve_queued),
        *(case("curve: payload", bytes_text(n), Load(SOME, n), n) for n in settings.curve_payload_bytes),
    ]


def estimate_s(settings: Settings) -> float:
    """Starting, signing in, and all runs."""
    sessions = len(settings.curve_sessions) * CROWD_S + 1.5 * sum(settings.curve_sessions) / SIGNINS_PER_S
    envelopes = settings.scale * 2 * len(settings.curve_sessions) + 2 * sum(settings.curve_mailbox) / MAILBOX_PER_S
    points = len(settings.curve_queued) + len(settings.curve_payload_bytes)
    requests = points * run_s(settings.seconds) + 2 * sum(settings.curve_queued) / REQUESTS_PER_S
    return sessions + 2 * NETWORK_S + settings.rounds * (envelopes + requests)


PART = Part(
    "curves",
    "cost against sessions, messages that wait, and size; also as a picture",
    [sessions, mailbox, requests],  # by themselves, since pings of thousands of sessions take time, too
    estimate_s,
)
