"""Real nodes of remaphore: configuration files with keys of their own, the command as a process, a NATS server."""

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rmb_peer.embedded.nats import EmbeddedNats
from rmb_peer.remaphore.core.configuration import new_identity, show
from rmb_peer.remaphore.core.settings import Identity, Peer, Settings
from tests.support.processes import Ended, environment

COMMAND = (sys.executable, "-m", "rmb_peer.remaphore")
TIMEOUT_S = 30


@asynccontextmanager
async def nats(folder: Path, settings: str = "", port: int = 0) -> AsyncIterator[EmbeddedNats]:
    """A NATS server with JetStream."""
    folder.mkdir(exist_ok=True)
    server = await EmbeddedNats.start(folder / "nats", settings=settings, port=port)
    try:
        yield server
    finally:
        await server.stop()


async def open_gate(gate: Path) -> None:
    """Let a command go on that reads a line from this named pipe; waits until it does."""
    async with asyncio.timeout(TIMEOUT_S):
        await asyncio.to_thread(gate.write_text, "go\n")


@dataclass
class Nodes:
    """Some nodes that know each other.

    Attributes:
        folder: where their configuration files are.
        server: value of `server`.
        names: destination of each.
    """

    folder: Path
    server: str
    names: Sequence[str]
    verbs: tuple[bytes, ...] = (b"*",)
    subject: str = "remaphore"
    credentials: str = "/nonexistent/nats.creds"
    skew_ns: int = 5_000_000_000
    identities: dict[str, Identity] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.identities = {name: new_identity(bytes([n + 1] * 32), self.verbs) for n, name in enumerate(self.names)}
        for name in self.names:
            self.write(name)

    def settings(self, name: str) -> Settings:
        """The configuration of one."""
        return Settings(
            servers=(self.server,),
            credentials=self.credentials,
            subject=self.subject,
            default_identity=self.identities[name].public,
            destination=name.encode(),
            allow_skew_ns=self.skew_ns,
            identities=(self.identities[name],),
            peers=tuple(
                Peer(other.encode(), self.identities[other].public, self.verbs) for other in self.names if other != name
            ),
        )

    def path(self, name: str) -> Path:
        """Its configuration file."""
        return self.folder / f"{name}.conf"

    def write(self, name: str) -> None:
        """Write its configuration file."""
        self.path(name).write_text(show(self.settings(name)) + "\n")
        self.path(name).chmod(0o640)

    async def start(self, name: str, *arguments: str, **variables: str) -> "Running":
        """Start the command on a node."""
        return await Running.start("-c", str(self.path(name)), *arguments, **variables)

    async def run(self, name: str, *arguments: str, **variables: str) -> Ended:
        """Run the command on a node to its end."""
        return await (await self.start(name, *arguments, **variables)).end()


class Running:
    """A process of which every line on standard error is read as it comes."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self._lines: list[str] = []
        self._changed = asyncio.Condition()
        self._out = bytearray()
        self._readers = [asyncio.create_task(self._read_err()), asyncio.create_task(self._read_out())]

    @classmethod
    async def start(cls, *arguments: str, **variables: str) -> "Running":
        """Start `remaphore` with these arguments."""
        return cls(
            await asyncio.create_subprocess_exec(
                *COMMAND, *arguments, env=environment(**variables), stdin=DEVNULL, stdout=PIPE, stderr=PIPE
            )
        )

    async def _read_err(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            async with self._changed:
                self._lines.append(line.decode("utf-8", "replace").rstrip("\n"))
                self._changed.notify_all()

    async def _read_out(self) -> None:
        assert self.process.stdout is not None
        while chunk := await self.process.stdout.read(65536):
            async with self._changed:
                self._out += chunk
                self._changed.notify_all()

    @property
    def err(self) -> str:
        """Standard error so far."""
        return "\n".join(self._lines)

    @property
    def out(self) -> bytes:
        """Standard output so far."""
        return bytes(self._out)

    async def says(self, text: str, times: int = 1) -> None:
        """Wait until a text is on standard error so many times."""
        await self._until(lambda: self.err.count(text) >= times, f"{text!r} on standard error")

    async def prints(self, text: bytes) -> None:
        """Wait until a text is on standard output."""
        await self._until(lambda: text in self.out, f"{text!r} on standard output")

    async def _until(self, holds, what: str) -> None:  # type: ignore[no-untyped-def]
        try:
            async with asyncio.timeout(TIMEOUT_S), self._changed:
                await self._changed.wait_for(holds)
        except TimeoutError:
            raise AssertionError(f"no {what}; it said:\n{self.err}\n{self.out!r}") from None

    async def ready(self) -> "Running":
        """Wait until it listens."""
        await self.says("Ready")
        return self

    async def end(self, timeout_s: float = TIMEOUT_S) -> Ended:
        """Wait until it ends."""
        try:
            async with asyncio.timeout(timeout_s):
                code = await self.process.wait()
                await asyncio.gather(*self._readers)
        except TimeoutError:
            self.process.kill()
            raise AssertionError(f"it does not end; it said:\n{self.err}\n{self.out!r}") from None
        return Ended(code, self.out, self.err)

    async def kill(self, number: int = 9) -> None:
        """Send it a signal and wait for its end."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        await self.process.wait()
        await asyncio.gather(*self._readers)
