"""Requests through real processes: client, Valkey, gateway, relay, gateway, Valkey, service, and back.

A route is one relay with its embedded store, and two gateways with a Valkey each. Processor time is what the operating
system has counted for each process between the first question and the last answer.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import aiohttp

from rmb_peer.protocol.signatures import KeyType
from tests.benchmarks.helper import BenchmarkFailed, Helper, helper
from tests.benchmarks.machine import children, cpu_s
from tests.support.programs import RelayProgram, Site, network, running, site
from tests.support.relay import metric

COMMAND = "bench.echo"
ROLES = ("gateways", "relay", "valkeys")
"""Whose processor time counts. The programs at both ends are what the user brings."""

RATE = str(10**8)
"""Messages per minute from another relay: what is measured is no stranger."""


@dataclass(frozen=True)
class Load:
    """What is asked.

    Attributes:
        in_flight: requests that are kept unanswered at a time.
        payload_bytes: of the request, and of its answer.
    """

    in_flight: int
    payload_bytes: int


@dataclass(frozen=True)
class Seen:
    """What one run has shown.

    Attributes:
        per_s: answers per second.
        p50_s, p99_s: time from the question to its answer, in seconds.
        cpu_s: processor time per request and response, by role, in seconds.
        commands: what both gateways and the programs asked of the gateways' Valkeys, per request.
        frames: of rmb.2 that relays got and sent, per request.
    """

    per_s: float
    p50_s: float
    p99_s: float
    cpu_s: dict[str, float]
    commands: float
    frames: float


class Route:
    """A running network and the programs at its ends."""

    def __init__(self, relays: Sequence[RelayProgram], sites: Sequence[Site], asker: Helper) -> None:
        self._asker = asker
        self._sites = sites
        self._relays = relays
        stores = [place.store.pid for place in sites]
        self._pids: dict[str, list[int]] = {
            "gateways": [place.gateway.pid for place in sites],
            "relay": [relay.pid for relay in relays],
            "valkeys": [
                *(pid for relay in relays for pid in children(relay.pid)),
                *(pid for pid in stores if pid is not None),
            ],
        }

    async def run(self, load: Load, duration_s: float) -> Seen:
        """Measure once.

        Raises:
            BenchmarkFailed: a request failed.
        """
        commands, frames = await self._commands(), await self._frames()
        before = self._cpu_s()
        seen = await self._asker.tell(in_flight=load.in_flight, payload_bytes=load.payload_bytes, duration_s=duration_s)
        spent = {role: now - before[role] for role, now in self._cpu_s().items()}
        if seen["errors_count"]:
            raise BenchmarkFailed(f"{seen['errors_count']} of {seen['answers']} requests failed: {seen['errors']}")
        answers, latencies_s = seen["answers"], seen["latencies_s"]
        return Seen(
            per_s=answers / seen["took_s"],
            p50_s=median(latencies_s),
            p99_s=latencies_s[int(len(latencies_s) * 0.99)],
            cpu_s={role: seconds / answers for role, seconds in spent.items()},
            commands=(await self._commands() - commands) / answers,
            frames=(await self._frames() - frames) / answers,
        )

    def _cpu_s(self) -> dict[str, float]:
        return {role: sum(map(cpu_s, pids)) for role, pids in self._pids.items()}

    async def _commands(self) -> float:
        total = 0
        for place in self._sites:
            total += (await place.redis.info("stats"))["total_commands_processed"]
        return float(total)

    async def links(self) -> float:
        """Links between the relays that stand."""
        return sum([metric(text, "relay_links_of_relays") for text in await self._metrics()])

    async def _frames(self) -> float:
        names = [f'relay_link_frames_total{{direction="{direction}"}}' for direction in ("in", "out")]
        return sum([metric(text, name) for text in await self._metrics() for name in names])

    async def _metrics(self) -> list[str]:
        texts = []
        async with aiohttp.ClientSession() as session:
            for relay in self._relays:
                async with session.get(f"{relay.url.replace('ws://', 'http://')}/metrics") as answer:
                    texts.append(await answer.text())
        return texts


@asynccontextmanager
async def route(folder: Path, key_type: KeyType, protocol: str) -> AsyncIterator[Route]:
    """Start a route over one relay; all of it ends with the context.

    Args:
        folder: for the data of its stores.
        key_type: of both twins.
        protocol: "rmb.1" or "rmb.2".
    """
    flags = ("--key-type", key_type)
    async with (
        network(folder, flags, flags, protocols=(protocol,)) as parts,
        _programs([parts.relay], parts.sites) as way,
    ):
        yield way


@asynccontextmanager
async def federated_route(folder: Path, key_type: KeyType, protocol: str) -> AsyncIterator[Route]:
    """The same over two relays: each gateway has one of its own, and they share the registry of the first."""
    async with AsyncExitStack() as stack:
        first = RelayProgram(folder / "first", "--federation-rate", RATE)
        await stack.enter_async_context(running(first))
        registry = ("--registry", first.url.replace("ws://", "http://"))
        second = RelayProgram(folder / "second", "--federation-rate", RATE, *registry)
        await stack.enter_async_context(running(second))
        flags = ("--key-type", key_type, *registry)
        sites = [
            await stack.enter_async_context(site(folder / name, [relay.url], *flags, protocol=protocol))
            for name, relay in (("near", first), ("far", second))
        ]
        yield await stack.enter_async_context(_programs([first, second], sites))


@asynccontextmanager
async def _programs(relays: Sequence[RelayProgram], sites: Sequence[Site]) -> AsyncIterator[Route]:
    near, far = sites
    module = "tests.benchmarks.programs"
    async with (
        helper(module, "answer", str(far.store.port), COMMAND),
        helper(module, "ask", str(near.store.port), COMMAND, str(far.twin)) as asker,
    ):
        yield Route(relays, sites, asker)
