"""The relay by itself, beside a plain WebSocket echo of the same library."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from tests.benchmarks.parts.part import Part
from tests.benchmarks.relay_alone import MAILBOX_RUN, Subject, carried, echoed, lone_relay
from tests.benchmarks.rounds import Case, Figures
from tests.benchmarks.settings import Settings

ENVELOPE_BYTES = 512
ENVELOPES = {"echo": 60_000, "rmb.1": 10_000, "rmb.2": 60_000}
"""Of one run: about two seconds each."""

WARM_ENVELOPES = 1000
"""Before the first figure: sessions come alive, twins are looked up, code is warm."""

START_S, RUN_S = 3.0, 2.0


async def start(stack: AsyncExitStack, folder: Path, settings: Settings) -> Sequence[Case]:
    """One relay, one client process per protocol; and the echo with its client."""
    relay = await stack.enter_async_context(lone_relay(folder / "relay", "--retain-count", "1000000"))
    count = int(ENVELOPES["echo"] * settings.scale)
    plain = await stack.enter_async_context(echoed())
    await plain.run(WARM_ENVELOPES, ENVELOPE_BYTES)
    cases = [carried_case("echo", plain, count)]
    for protocol in settings.protocols:
        subject = await stack.enter_async_context(carried(relay, protocol))
        await subject.run(WARM_ENVELOPES, ENVELOPE_BYTES)
        count, stored = int(ENVELOPES[protocol] * settings.scale), int(MAILBOX_RUN * settings.scale)
        cases.append(carried_case(f"{protocol} online", subject, count))
        cases.append(carried_case(f"{protocol} offline", subject, stored, online=False))
    return cases


def carried_case(name: str, subject: Subject, envelopes: int, *, online: bool = True, group: str = "envelopes") -> Case:
    """Envelopes to a twin that is connected, or into a mailbox, which is emptied afterwards."""

    async def run() -> Figures:
        seen = await subject.run(envelopes, ENVELOPE_BYTES, online)
        if not online:
            await subject.collect(envelopes)
        return {"per_core_s": seen.per_core_s, "per_s": seen.per_s, "store_us": seen.store_cpu_s * 1e6}

    return Case(group, name, run)


def estimate_s(settings: Settings) -> float:
    """Starting, and all runs."""
    return START_S + settings.rounds * (1 + 2 * len(settings.protocols)) * RUN_S * settings.scale


PART = Part("relay", "envelopes through one relay, to gateways that are there and into mailboxes", [start], estimate_s)
