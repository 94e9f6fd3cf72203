"""One child process of the network: started, read, awaited, stopped. It refuses to know what the parts are for."""

import asyncio
import contextlib
import os
import signal
import site
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import rmb_peer
from rmb_peer.dev.log_lines import LineCutter, LogLine
from rmb_peer.embedded.child import end_with_parent
from rmb_peer.secret_source import SECRET_VARIABLE

LAST_LINES = 20
"""How many lines of a part that died are shown; a stack trace is about that long."""

STOP_S_MAX = 15.0
"""Longest wait for an orderly stop: a relay may take 10 s to part from its sessions. Then it is killed."""

_CHUNK_BYTES = 64 * 1024

LineListener = Callable[[LogLine], None]


class PartFailed(Exception):
    """A part died, or did not become ready; the text holds its last lines."""


class Part:
    """A running child.

    Attributes:
        name: such as `gateway-a`.
        pid: its process id.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process, listener: LineListener) -> None:
        """Use `start`."""
        self.name = name
        self.pid = process.pid
        self._process = process
        self._listener = listener
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._waiting: dict[str, asyncio.Future[LogLine]] = {}
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(
        cls,
        name: str,
        arguments: Sequence[str],
        folder: Path,
        listener: LineListener,
        secret: str | None = None,
    ) -> Self:
        """Start `python -m <arguments>`.

        Args:
            name: how to call it.
            arguments: module and its arguments.
            folder: working directory; nothing is written there by itself.
            listener: called with each line of its standard error.
            secret: mnemonic for a gateway; goes through the environment, which only we can read.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *arguments,
            cwd=folder,
            env=_environment(os.environ, secret),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us; we stop the parts in order
            preexec_fn=end_with_parent,
        )
        return cls(name, process, listener)

    async def until(self, event: str, timeout_s: float) -> LogLine:
        """Wait for the first line with this event; ask before it can come.

        Raises:
            PartFailed: it died or took too long.
        """
        future = self._waiting.setdefault(event, asyncio.get_running_loop().create_future())
        either: set[asyncio.Future[Any]] = {future, self._reader}
        await asyncio.wait(either, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if future.done():
            return future.result()
        if self._reader.done():
            raise await self.death()
        raise PartFailed(f"{self.name} did not say {event!r} within {timeout_s:g} s.{self._last_words()}")

    async def death(self) -> PartFailed:
        """Wait for it to end, and say how."""
        await asyncio.wait({self._reader})
        code = await self._process.wait()
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return PartFailed(f"{self.name} {how}.{self._last_words()}")

    async def stop(self) -> None:
        """Ask it to stop, wait, and kill it when it does not. Stopping twice is harmless."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_S_MAX):
                    await self._process.wait()
            except TimeoutError:
                self.kill()
        await asyncio.wait({self._reader})

    def kill(self) -> None:
        """End it now."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def _read(self) -> None:
        assert self._process.stderr is not None
        cutter = LineCutter(self.name)
        while chunk := await self._process.stderr.read(_CHUNK_BYTES):
            for line in cutter.feed(chunk):
                self._handle(line)
        for line in cutter.end():
            self._handle(line)
        await self._process.wait()

    def _handle(self, line: LogLine) -> None:
        self._last_lines.append(line.text)
        future = (
            self._waiting.setdefault(line.event, asyncio.get_running_loop().create_future()) if line.event else None
        )
        if future is not None and not future.done():
            future.set_result(line)
        self._listener(line)

    def _last_words(self) -> str:
        return "".join(f"\n  {line}" for line in self._last_lines) if self._last_lines else " It said nothing."


def _environment(base: Mapping[str, str], secret: str | None) -> dict[str, str]:
    """Ours without settings for our commands, and such that the child finds the same packages as we do."""
    made = {name: value for name, value in base.items() if not name.startswith("RMB_")}
    packages = str(Path(rmb_peer.__file__).parents[1])
    if packages not in site.getsitepackages():  # there they are found anyway, and would hide the standard library
        made["PYTHONPATH"] = os.pathsep.join(filter(None, [packages, base.get("PYTHONPATH")]))
    if secret is not None:
        made[SECRET_VARIABLE] = secret
    return made
