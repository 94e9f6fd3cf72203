"""The relay by itself: what one envelope costs it, beside a plain WebSocket echo of the same library.

What counts is the relay's processor time per envelope; its inverse is how many one core carries. So the client, which
shares the machine, does not falsify it.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rmb_peer.protocol.ss58 import encode_account
from tests.benchmarks.carrier import ABSENT, RECEIVER, SENDER, TWINS_OF
from tests.benchmarks.machine import children, cpu_s
from tests.support.hosted_registry import signer
from tests.support.programs import RelayProgram, running

DOMAIN = "relay.bench"
MAILBOX_RUN = 5000
"""Envelopes of one run to a twin that is absent: a mailbox holds 10,000."""


@dataclass(frozen=True)
class Carried:
    """What one run has shown.

    Attributes:
        per_core_s: envelopes per second of processor time of the relay (or of the echo).
        per_s: envelopes per second of this run, with the client on the same machine.
        store_cpu_s: processor time of the store per envelope, in seconds.
    """

    per_core_s: float
    per_s: float
    store_cpu_s: float


class Subject:
    """A server and one client process that loads it."""

    def __init__(self, server_pid: int, store_pids: list[int], client: asyncio.subprocess.Process) -> None:
        self._server_pid = server_pid
        self._store_pids = store_pids
        self._client = client

    async def run(self, envelopes: int, envelope_bytes: int, online: bool = True) -> Carried:
        """Measure once."""
        server_s, store_s = self._cpu_s()
        told = {"envelopes": envelopes, "envelope_bytes": envelope_bytes, "online": online}
        took_s = (await self._tell(told))["took_s"]
        server_after_s, store_after_s = self._cpu_s()
        spent_s = max(server_after_s - server_s, 0.01)  # one tick: less cannot be seen
        return Carried(envelopes / spent_s, envelopes / took_s, (store_after_s - store_s) / envelopes)

    def _cpu_s(self) -> tuple[float, float]:
        return cpu_s(self._server_pid), sum(map(cpu_s, self._store_pids))

    async def _tell(self, told: dict[str, Any]) -> dict[str, Any]:
        assert self._client.stdin is not None
        assert self._client.stdout is not None
        self._client.stdin.write(json.dumps(told).encode() + b"\n")
        line = await self._client.stdout.readline()
        if not line:
            raise SystemExit("the client of the relay has ended")
        heard = json.loads(line)
        assert isinstance(heard, dict)
        return heard


@asynccontextmanager
async def lone_relay(folder: Path) -> AsyncIterator[RelayProgram]:
    """A relay process whose twins come from a file."""
    folder.mkdir(parents=True)
    twins = [
        {"id": twin, "account": encode_account(signer(str(twin)).account), "relays": [DOMAIN]}
        for more in TWINS_OF.values()
        for twin in (SENDER + more, RECEIVER + more, ABSENT + more)
    ]
    registry = folder / "twins.json"
    registry.write_text(json.dumps({"twins": twins}))
    relay = RelayProgram(folder / "relay", "--domain", DOMAIN, "--registry", f"file:{registry}")
    async with running(relay):
        yield relay


@asynccontextmanager
async def carried(relay: RelayProgram, protocol: str) -> AsyncIterator[Subject]:
    """The relay with a client that speaks "rmb.1" or "rmb.2"."""
    url = relay.url.replace("localhost", "127.0.0.1")
    async with _process("tests.benchmarks.carrier", url, protocol) as client:
        yield Subject(relay.pid, children(relay.pid), client)


@asynccontextmanager
async def echoed() -> AsyncIterator[Subject]:
    """A plain echo with a client."""
    async with _process("tests.benchmarks.echo_server") as server:
        assert server.stdout is not None
        url = (await server.stdout.readline()).decode().strip()
        async with _process("tests.benchmarks.carrier", url, "echo") as client:
            yield Subject(server.pid, [], client)


@asynccontextmanager
async def _process(module: str, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
