"""The relay by itself: what one envelope costs it, beside a plain WebSocket echo of the same library.

What counts is the relay's processor time per envelope; its inverse is how many one core carries. So the client, which
shares the machine, does not falsify it.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rmb_peer.protocol.ss58 import encode_account
from tests.benchmarks.carrier import ABSENT, RECEIVER, SENDER, TWINS_OF
from tests.benchmarks.helper import Helper, helper
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

    def __init__(self, server_pid: int, store_pids: list[int], client: Helper) -> None:
        self._server_pid = server_pid
        self._store_pids = store_pids
        self._client = client

    async def run(self, envelopes: int, envelope_bytes: int, online: bool = True) -> Carried:
        """Send envelopes, to a twin that is connected or to one that is away; measure once."""
        return await self._measured(
            envelopes, {"envelopes": envelopes, "envelope_bytes": envelope_bytes, "online": online}
        )

    async def collect(self, envelopes: int) -> Carried:
        """Let the twin that was away fetch all that waits for it, and go again."""
        return await self._measured(envelopes, {"collect": envelopes})

    async def _measured(self, envelopes: int, told: dict[str, Any]) -> Carried:
        server_s, store_s = self._cpu_s()
        took_s = (await self._client.tell(**told))["took_s"]
        server_after_s, store_after_s = self._cpu_s()
        return Carried(
            envelopes / (server_after_s - server_s), envelopes / took_s, (store_after_s - store_s) / envelopes
        )

    def _cpu_s(self) -> tuple[float, float]:
        return cpu_s(self._server_pid), sum(map(cpu_s, self._store_pids))


@asynccontextmanager
async def lone_relay(folder: Path, *flags: str) -> AsyncIterator[RelayProgram]:
    """A relay process whose twins come from a file."""
    folder.mkdir(parents=True)
    registry = folder / "twins.json"
    registry.write_text(json.dumps({"twins": carriers(DOMAIN)}))
    relay = RelayProgram(folder / "relay", "--domain", DOMAIN, "--registry", f"file:{registry}", *flags)
    async with running(relay):
        yield relay


def carriers(domain: str) -> list[dict[str, Any]]:
    """The twins of the clients, for a registry in a file."""
    return [
        {"id": twin, "account": encode_account(signer(str(twin)).account), "relays": [domain]}
        for more in TWINS_OF.values()
        for twin in (SENDER + more, RECEIVER + more, ABSENT + more)
    ]


@asynccontextmanager
async def carried(relay: RelayProgram, protocol: str) -> AsyncIterator[Subject]:
    """The relay with a client that speaks "rmb.1" or "rmb.2"."""
    url = relay.url.replace("localhost", "127.0.0.1")
    async with helper("tests.benchmarks.carrier", url, protocol) as client:
        yield Subject(relay.pid, children(relay.pid), client)


@asynccontextmanager
async def echoed() -> AsyncIterator[Subject]:
    """A plain echo with a client."""
    async with helper("tests.benchmarks.echo_server") as server:
        url = await server.line()
        async with helper("tests.benchmarks.carrier", url, "echo") as client:
            yield Subject(server.pid, [], client)
