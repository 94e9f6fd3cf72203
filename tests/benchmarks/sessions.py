"""Many idle sessions on a relay: a real relay process, clients in others, and what the sessions cost it.

Before the first figure is taken a few sessions come and go, so that what is paid once is not counted. The relay's own
`/metrics` says how many sessions there are.
"""

import asyncio
import json
import resource
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from relay.listening import raise_open_files
from tests.benchmarks.helper import BenchmarkFailed
from tests.benchmarks.machine import cpu_s, resident_bytes
from tests.benchmarks.relay_alone import carriers
from tests.support.hosted_registry import signer
from tests.support.programs import RelayProgram, running
from tests.support.relay import metric

DOMAIN = "relay.test"
FIRST = 1000
"""The first idle twin: smaller numbers are those of clients that say something."""

WARM_UP = 100
SETTLE_S = 3.0
"""Between the last handshake and the figure: what a handshake needed is released by then."""

CLOSE_S_MAX = 120.0
SPARE_FILES = 200
KIB = 1024


@dataclass(frozen=True)
class Idle:
    """What idle sessions have shown.

    Attributes:
        sessions: how many there are.
        session_bytes: resident memory of the relay for each of them.
        resident_bytes: of the whole relay.
        signins_per_s: at which the last of them came, on this machine with the clients.
        processor: share of one core that the relay takes for all of them.
    """

    sessions: int
    session_bytes: float
    resident_bytes: int
    signins_per_s: float
    processor: float


class IdleClients:
    """A process with clients."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def connect(
        cls, url: str, count: int, protocol: str, said: Callable[[int], None] = lambda connected: None, first: int = 1
    ) -> "IdleClients":
        """Twins `first` and following sign in; returns when all have.

        Raises:
            ConnectionError: one could not.
        """
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.support.idle_clients", url, str(first), str(count), protocol),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            process_group=0,  # Ctrl-C is not for it
        )
        assert process.stdout is not None
        clients, connected = cls(process), 0
        try:
            while connected < count:
                line = await process.stdout.readline()
                if not line:
                    raise ConnectionError(f"{connected} of {count} clients connected; exit code {await process.wait()}")
                connected = int(line)
                said(connected)
        except BaseException:
            await clients.kill()
            raise
        return clients

    async def leave(self) -> None:
        """Disconnect all. Fails if one was disconnected before."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        code = await self._process.wait()
        assert code == 0, "connections were lost"

    async def kill(self) -> None:
        """End the process, whatever it does."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


class Crowd:
    """A relay with idle sessions, of which there can be more and more."""

    def __init__(self, relay: RelayProgram, protocol: str) -> None:
        self.relay = relay
        self.count = 0
        self._protocol = protocol
        self._url = relay.url.replace("localhost", "127.0.0.1")
        self._clients: list[IdleClients] = []
        self._empty_bytes = 0

    async def warm_up(self) -> None:
        """A few come and go; then it is noted what the relay needs without any."""
        warm = await IdleClients.connect(self._url, WARM_UP, self._protocol, first=FIRST)
        await warm.leave()
        await self._until_none()
        await asyncio.sleep(SETTLE_S)
        self._empty_bytes = resident_bytes(self.relay.pid)

    async def grow(self, count: int) -> None:
        """Have so many idle sessions."""
        if count > self.count:
            more = await IdleClients.connect(self._url, count - self.count, self._protocol, first=FIRST + self.count)
            self._clients.append(more)
            self.count = count

    async def idle(self, count: int, watch_s: float) -> Idle:
        """Have so many, and watch them for so long. `warm_up` was before."""
        begin_s, before = time.monotonic(), self.count
        await self.grow(count)
        came_s = time.monotonic() - begin_s
        await asyncio.sleep(SETTLE_S)
        used_s = cpu_s(self.relay.pid)
        await asyncio.sleep(watch_s)
        used_s = cpu_s(self.relay.pid) - used_s
        now_bytes, seen = resident_bytes(self.relay.pid), await self._sessions()
        if seen < count:
            raise BenchmarkFailed(f"{count - seen} of {count} idle sessions were lost")
        return Idle(
            seen, (now_bytes - self._empty_bytes) / seen, now_bytes, (count - before) / came_s, used_s / watch_s
        )

    async def leave(self) -> None:
        """All go. Fails if one was disconnected before."""
        clients, self._clients, self.count = self._clients, [], 0
        for some in clients:
            await some.leave()

    async def kill(self) -> None:
        """The processes of the clients are ended."""
        for some in self._clients:
            await some.kill()

    async def _sessions(self) -> int:
        url = f"{self._url.replace('ws://', 'http://')}/metrics"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            text = await answer.text()
        return int(metric(text, 'relay_worker_connections{worker="0"}'))

    async def _until_none(self) -> None:
        async with asyncio.timeout(CLOSE_S_MAX):
            while await self._sessions():
                await asyncio.sleep(0.1)


@asynccontextmanager
async def crowd(folder: Path, protocol: str, count_max: int) -> AsyncIterator[Crowd]:
    """A relay of its own for up to so many idle sessions, and for the clients of `relay_alone`.

    Raises:
        BenchmarkFailed: this machine does not allow so many connections.
    """
    raise_open_files()
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed < count_max + SPARE_FILES:
        raise BenchmarkFailed(
            f"{count_max} sessions need as many open files and {SPARE_FILES} more, and {allowed} are allowed: "
            "raise the hard limit (`ulimit -Hn`)"
        )
    folder.mkdir(parents=True)
    idle = [
        {"id": twin, "account": signer(str(twin), "ed25519").account.hex(), "relays": [DOMAIN]}
        for twin in range(FIRST, FIRST + max(count_max, WARM_UP))
    ]
    registry = folder / "twins.json"
    registry.write_text(json.dumps({"twins": carriers(DOMAIN) + idle}))
    relay = RelayProgram(folder / "data", "--domain", DOMAIN, "--registry", f"file:{registry}")
    async with running(relay):
        place = Crowd(relay, protocol)
        try:
            yield place
            await place.leave()
        finally:
            await place.kill()
