"""The relay as operators run it: a process, told to stop by signals."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

from tests.support.relay import PATIENCE_S


class RelayProcess:
    """`python -m relay`, on a free port.

    Attributes:
        address: what it said it listens on.
        lines: its log so far.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.address = ""
        self.lines: list[dict[str, Any]] = []

    @classmethod
    async def start(cls, folder: Path, *arguments: str) -> "RelayProcess":
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "relay", "--listen", "127.0.0.1:0", "--data", str(folder)),
            *("--log-format", "json", *arguments),
            stderr=asyncio.subprocess.PIPE,
        )
        started = cls(process)
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not started.address:
                    await started._read_line()
        except BaseException:
            process.kill()
            await process.wait()
            raise
        return started

    @property
    def url(self) -> str:
        return f"ws://{self.address}"

    async def end(self) -> None:
        """Kill it, if it still runs."""
        if self._process.returncode is None:
            await self.stop(signal.SIGKILL)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit code."""
        self._process.send_signal(number)
        async with asyncio.timeout(PATIENCE_S):
            assert self._process.stderr is not None
            while not self._process.stderr.at_eof():
                await self._read_line()
            return await self._process.wait()

    async def _read_line(self) -> None:
        assert self._process.stderr is not None
        line = await self._process.stderr.readline()
        if not line:
            assert self._process.returncode is not None or self.address, "the relay ended during its start"
            return
        self.lines.append(json.loads(line))
        if self.lines[-1]["event"] == "listening":
            self.address = self.lines[-1]["address"]
