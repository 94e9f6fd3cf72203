"""A process of the benchmark that is told what to do by a line of JSON, does it, and answers by a line of JSON.

It refuses to know what it does. Helpers are out of reach of Ctrl-C, which is for the benchmark: it ends them in order.
"""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

LINE_BYTES_MAX = 2**26
"""Latencies of a whole run come on one line."""

PATIENCE_S = 900.0
"""Longest wait for an answer, so that a run ends by itself; the longest of them takes a minute on a slow machine."""


class BenchmarkFailed(Exception):
    """Something that had to work did not; the text is for the person who measures."""


class Helper:
    """One running helper."""

    def __init__(self, process: Process, name: str) -> None:
        self._process = process
        self._name = name

    @property
    def pid(self) -> int:
        return self._process.pid

    async def line(self) -> str:
        """The next line that it writes.

        Raises:
            BenchmarkFailed: it ended, or says nothing.
        """
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(PATIENCE_S):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise BenchmarkFailed(f"{self._name} says nothing for {PATIENCE_S:g} s") from None
        if not line:
            raise BenchmarkFailed(f"{self._name} ended with code {await self._process.wait()}")
        return line.decode().strip()

    async def tell(self, **told: Any) -> dict[str, Any]:
        """Let it do something; the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(told).encode() + b"\n")
        heard = json.loads(await self.line())
        assert isinstance(heard, dict)
        return heard

    async def leave(self) -> int:
        """Close its standard input and wait for its end; the exit code."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return await self._process.wait()


@asynccontextmanager
async def helper(module: str, *words: str) -> AsyncIterator[Helper]:
    """Run a module of ours; it ends with the context at the latest."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *words), stdin=PIPE, stdout=PIPE, limit=LINE_BYTES_MAX, process_group=0
    )
    try:
        yield Helper(process, " ".join((module.rpartition(".")[2], *words)))
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
