"""Requests through client, Valkey, gateway, relay, gateway, Valkey, service, and back: the whole matrix.

Beside a lone request stands what the machine takes for its steps from process to process.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from tests.benchmarks.end_to_end import Load, route
from tests.benchmarks.floor_run import floors
from tests.benchmarks.helper import Helper, helper
from tests.benchmarks.hops import LAPS, REQUEST_HOPS, Kind
from tests.benchmarks.parts.part import NETWORK_S, Part
from tests.benchmarks.parts.requests import WARM_S, bytes_text, request_case, run_s
from tests.benchmarks.rounds import Case, Figures
from tests.benchmarks.settings import LONE, Settings

HOPS: dict[Kind, str] = {
    "bare": "to a program that waits for it",
    "loop": "to one with an event loop",
    "work": "to one that also reads and writes a message",
    "warm": "that reading and writing alone, again and again",
}


async def start(stack: AsyncExitStack, folder: Path, settings: Settings) -> Sequence[Case]:
    """One route for every type of key and protocol."""
    beside = await stack.enter_async_context(floors())
    cases = []
    for key in settings.keys:
        for protocol in settings.protocols:
            way = await stack.enter_async_context(route(folder / f"{key}-{protocol}", key, protocol))
            await way.run(Load(max(settings.in_flight), 100), min(WARM_S, settings.seconds))
            cases += [
                request_case(
                    "requests",
                    f"{key} {protocol}, {load.in_flight} in flight, {bytes_text(load.payload_bytes)}",
                    way,
                    beside,
                    key,
                    load,
                    settings.seconds,
                )
                for load in settings.loads
            ]
    if LONE in settings.in_flight:
        ring = await stack.enter_async_context(helper("tests.benchmarks.hops_run"))
        cases += [Case("hops", name, partial(_hops, ring, kind)) for kind, name in HOPS.items()]
    return cases


async def _hops(ring: Helper, kind: Kind) -> Figures:
    hop_us = float((await ring.tell(kind=kind, laps=LAPS))["hop_us"])
    return {"hop_us": hop_us, "request_ms": REQUEST_HOPS * hop_us / 1000}


def estimate_s(settings: Settings) -> float:
    """Starting, and all runs."""
    routes = len(settings.keys) * len(settings.protocols)
    return routes * (NETWORK_S + settings.rounds * len(settings.loads) * run_s(settings.seconds))


PART = Part("end-to-end", "requests from a client to a service and back, through real processes", [start], estimate_s)
