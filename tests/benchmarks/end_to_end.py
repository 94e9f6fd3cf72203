"""Requests through real processes: client, Valkey, gateway, relay, gateway, Valkey, service, and back.

A route is one relay with its embedded store, and two gateways with a Valkey each. Processor time is what the operating
system has counted for each process between the first question and the last answer.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rmb_peer.protocol.signatures import KeyType
from tests.benchmarks.machine import children, cpu_s
from tests.support.programs import Network, network

COMMAND = "bench.echo"
ROLES = ("gateways", "relay", "valkeys")
"""Whose processor time counts. The programs at both ends are what the user brings."""


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
    """

    per_s: float
    p50_s: float
    p99_s: float
    cpu_s: dict[str, float]
    commands: float


class Route:
    """A running network and the programs at its ends."""

    def __init__(self, parts: Network, asker: asyncio.subprocess.Process) -> None:
        self._asker = asker
        self._sites = parts.sites
        relay = parts.relay.pid
        stores = [site.store.pid for site in parts.sites]
        self._pids: dict[str, list[int]] = {
            "gateways": [site.gateway.pid for site in parts.sites],
            "relay": [relay],
            "valkeys": [*children(relay), *(pid for pid in stores if pid is not None)],
        }

    async def run(self, load: Load, duration_s: float) -> Seen:
        """Measure once."""
        before = self._cpu_s()
        commands = await self._commands()
        told = {"in_flight": load.in_flight, "payload_bytes": load.payload_bytes, "duration_s": duration_s}
        seen = await self._ask(told)
        spent = {role: now - before[role] for role, now in self._cpu_s().items()}
        if seen["errors_count"]:
            raise SystemExit(f"{seen['errors_count']} of {seen['answers']} requests failed: {seen['errors']}")
        answers, latencies_s = seen["answers"], seen["latencies_s"]
        return Seen(
            per_s=answers / seen["took_s"],
            p50_s=median(latencies_s),
            p99_s=latencies_s[int(len(latencies_s) * 0.99)],
            cpu_s={role: seconds / answers for role, seconds in spent.items()},
            commands=(await self._commands() - commands) / answers,
        )

    async def _ask(self, told: dict[str, Any]) -> dict[str, Any]:
        assert self._asker.stdin is not None
        assert self._asker.stdout is not None
        self._asker.stdin.write(json.dumps(told).encode() + b"\n")
        line = await self._asker.stdout.readline()
        if not line:
            raise SystemExit("the asking program has ended")
        seen = json.loads(line)
        assert isinstance(seen, dict)
        return seen

    def _cpu_s(self) -> dict[str, float]:
        return {role: sum(map(cpu_s, pids)) for role, pids in self._pids.items()}

    async def _commands(self) -> float:
        total = 0
        for site in self._sites:
            total += (await site.redis.info("stats"))["total_commands_processed"]
        return float(total)


@asynccontextmanager
async def route(folder: Path, key_type: KeyType, protocol: str) -> AsyncIterator[Route]:
    """Start a route; all of it ends with the context.

    Args:
        folder: for the data of its stores.
        key_type: of both twins.
        protocol: "rmb.1" or "rmb.2".
    """
    flags = ("--key-type", key_type)
    async with AsyncExitStack() as stack:
        parts = await stack.enter_async_context(network(folder, flags, flags, protocols=(protocol,)))
        near, far = parts.sites
        await stack.enter_async_context(_program("answer", far.store.port))
        asker = await stack.enter_async_context(_program("ask", near.store.port, str(far.twin)))
        yield Route(parts, asker)


@asynccontextmanager
async def _program(what: str, port: int | None, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.benchmarks.programs",
        what,
        str(port),
        COMMAND,
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**26,  # latencies of a whole run on one line
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
