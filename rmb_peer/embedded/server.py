"""The life of an embedded server, whichever it is: started in its folder, watched, started again, stopped.

A lock on the folder keeps a second program out; a server that a killed program left behind is stopped first. This
module refuses to know what the server is and what it stores.
"""

import asyncio
import logging
import os
import signal
from abc import ABC, abstractmethod
from pathlib import Path
from typing import BinaryIO, ClassVar, Self

from rmb_peer.embedded.child import end_with_parent
from rmb_peer.embedded.folder import EmbeddedServerFailed, lock_folder
from rmb_peer.logs import event, get_logger

START_S_MAX = 15.0
"""Longest wait for the first answer; measured starts are 12 to 40 ms, a loaded machine needs more."""

STOP_S_MAX = 20.0
"""Longest wait for an orderly stop, which writes everything to disk; then it is killed."""

RESTART_DELAY_S = 0.5
"""Pause before a server that died is started again, so that one that dies at once does not spin."""

POLL_S = 0.01
"""Pause between two looks at a server that starts or stops."""


class EmbeddedServer(ABC):
    """One running server.

    Attributes:
        name: what it is called in log lines, and the name of its log file.
        folder: where its data lives.
    """

    name: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        """Use the `start` of a subclass."""
        self.folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self._lock: BinaryIO | None = None
        self._stopping = False
        self._changing = asyncio.Lock()
        """Held while the server is started again or stopped: neither may meet the other half-way."""

    @property
    def pid(self) -> int | None:
        """Process id of the server that runs, or ran last."""
        return self._process.pid if self._process else None

    async def keep_running(self) -> None:
        """Start the server again whenever it dies, until `stop` is called; run this as a task."""
        while True:
            assert self._process is not None
            code = await self._process.wait()
            if self._stopping:
                return
            self._report(f"embedded {self.name} died, starting it again", code=code)
            await asyncio.sleep(RESTART_DELAY_S)
            try:
                async with self._changing:
                    if self._stopping:
                        return
                    await self._spawn()
            except (EmbeddedServerFailed, OSError) as error:
                self._report(f"embedded {self.name} did not start", reason=str(error))

    async def stop(self) -> None:
        """Stop the server after it has written everything to disk. Stopping twice is harmless."""
        self._stopping = True
        async with self._changing:
            await self._end_process()
        if self._lock is not None:
            self._lock.close()

    async def _take_folder_and_start(self) -> Self:
        """Become the owner of the folder, make room, start.

        Raises:
            EmbeddedServerFailed: it did not start, or another program uses the folder.
        """
        self._lock = lock_folder(self.folder)
        try:
            await self._stop_left_behind()
            await self._spawn()
        except BaseException:
            self._lock.close()
            raise
        return self

    @abstractmethod
    def _command(self) -> tuple[list[str], dict[str, str]]:
        """Program and arguments, and environment variables beside ours; may write what the server reads."""

    @abstractmethod
    async def _is_ready(self) -> bool:
        """Whether the server that was started answers."""

    @abstractmethod
    async def _stop_left_behind(self) -> None:
        """End the server of a program that was killed; we hold the lock, so there can be no other owner."""

    async def _spawn(self) -> None:
        words, variables = self._command()
        self._process = await asyncio.create_subprocess_exec(
            *words,
            env=os.environ | variables,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us; we stop it in order
            preexec_fn=end_with_parent,
        )
        try:
            async with asyncio.timeout(START_S_MAX):
                while not await self._is_ready():
                    if self._process.returncode is not None:
                        raise EmbeddedServerFailed(f"{self.name} in {self.folder} ended at once: {self._last_words()}")
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
            raise EmbeddedServerFailed(
                f"{self.name} in {self.folder} gave no answer within {START_S_MAX:g} s"
            ) from None

    async def _end_process(self) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_S_MAX):
                    await process.wait()
            except TimeoutError:
                self._report(f"embedded {self.name} did not stop, killing it")
                process.kill()
                await process.wait()

    def _last_words(self) -> str:
        try:
            return " ".join(self._log_file().read_text(errors="replace").split("\n")[-4:]).strip()
        except OSError as error:
            return str(error)

    def _log_file(self) -> Path:
        return self.folder / f"{self.name}.log"

    def _report(self, text: str, **fields: object) -> None:
        event(get_logger(self.name), logging.ERROR, text, folder=str(self.folder), **fields)
