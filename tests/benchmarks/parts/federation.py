"""A request that crosses two relays, beside the same over one."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from tests.benchmarks.end_to_end import Load, federated_route, route
from tests.benchmarks.floor_run import floors
from tests.benchmarks.helper import BenchmarkFailed
from tests.benchmarks.parts.part import NETWORK_S, Part
from tests.benchmarks.parts.requests import WARM_S, request_case, run_s
from tests.benchmarks.rounds import Case
from tests.benchmarks.settings import Settings

PAYLOAD_BYTES = 100


async def start(stack: AsyncExitStack, folder: Path, settings: Settings) -> Sequence[Case]:
    """Two routes that differ in the number of relays."""
    key, protocol = settings.keys[0], settings.protocols[0]
    beside = await stack.enter_async_context(floors())
    one = await stack.enter_async_context(route(folder / "one", key, protocol))
    two = await stack.enter_async_context(federated_route(folder / "two", key, protocol))
    for way in (one, two):
        await way.run(Load(max(settings.in_flight), PAYLOAD_BYTES), min(WARM_S, settings.seconds))
    if not await two.links():
        raise BenchmarkFailed("the relays have no link: what is measured would be single posts")
    return [
        request_case(
            "federation",
            f"{name}, {count} in flight",
            way,
            beside,
            key,
            Load(count, PAYLOAD_BYTES),
            settings.seconds,
        )
        for count in settings.in_flight
        for name, way in (("one relay", one), ("two relays", two))
    ]


def estimate_s(settings: Settings) -> float:
    """Starting, and all runs."""
    return 2.5 * NETWORK_S + settings.rounds * 2 * len(settings.in_flight) * run_s(settings.seconds)


PART = Part("federation", "requests that cross two relays, beside one", [start], estimate_s)
