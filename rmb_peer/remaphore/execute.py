"""Runs a receiver's command and collects its output (spec remaphore 12). Refuses to know what a message is."""

import asyncio
import os
import shutil
import signal
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PIPE_GRACE_S = 0.5
"""How long the output of a killed command is waited for: somebody may have left its process group and keep the pipe."""

_READ_BYTES = 64 * 1024

NOT_RUN = -1
"""Exit code of a command that was killed by a signal or could not be started."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended.

    Attributes:
        exit_code: 0 to 255, or -1.
        output: standard output and error, in order of writing, up to the limit.
        left_out: bytes beyond the limit.
        failure: why it failed, in Go's words; empty for exit code 0.
    """

    exit_code: int
    output: bytes = b""
    left_out: int = 0
    failure: str = ""


class _Output:
    """Keeps the first bytes and counts the rest, so that a command cannot fill our memory."""

    def __init__(self, keep_bytes: int) -> None:
        self._keep_bytes = keep_bytes
        self.kept = bytearray()
        self.left_out = 0

    async def read(self, reader: asyncio.StreamReader) -> None:
        while chunk := await reader.read(_READ_BYTES):
            room = self._keep_bytes - len(self.kept)
            self.kept += chunk[:room]
            self.left_out += max(0, len(chunk) - room)


async def run(
    argv: Sequence[bytes], environment: Mapping[bytes, bytes], keep_bytes: int, stop: asyncio.Event
) -> Outcome:
    """Run a command in a session of its own, with nothing on its standard input.

    Args:
        argv: command and arguments. Without a slash it is searched in our PATH, because the child has none.
        environment: all that the command sees.
        keep_bytes: how much output is kept.
        stop: when set, the command and everything it started is killed.

    Returns:
        the outcome; a command that cannot be started is one, too.
    """
    program = argv[0] if b"/" in argv[0] else os.fsencode(shutil.which(os.fsdecode(argv[0])) or b"")
    name = os.fsdecode(argv[0])
    if not program:
        return Outcome(NOT_RUN, failure=f'exec: "{name}": executable file not found in $PATH')
    read_end, write_end = os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            executable=program,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=write_end,
            stderr=write_end,
            start_new_session=True,
        )
    except ValueError:
        os.close(read_end)
        return Outcome(NOT_RUN, failure="exec: environment variable contains NUL")
    except OSError as error:
        os.close(read_end)
        return Outcome(NOT_RUN, failure=f"fork/exec {name}: {(error.strerror or str(error)).lower()}")
    finally:
        os.close(write_end)
    output = _Output(keep_bytes)
    try:
        await _collect(process, read_end, output, stop)
    except BaseException:
        kill_session(process.pid)
        raise
    code = await process.wait()
    return Outcome(code if code >= 0 else NOT_RUN, bytes(output.kept), output.left_out, _failure(code))


async def _collect(process: asyncio.subprocess.Process, read_end: int, output: _Output, stop: asyncio.Event) -> None:
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", buffering=0)
    )
    # The output is complete when nobody holds the pipe any more, which may be later than the end of the command.
    ended = asyncio.ensure_future(_both(output.read(reader), process.wait()))
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            kill_session(process.pid)
            await asyncio.wait({ended}, timeout=PIPE_GRACE_S)
    finally:
        ended.cancel()
        stopped.cancel()
        await asyncio.wait({ended, stopped})
        transport.close()


async def _both(reading: Coroutine[Any, Any, None], waiting: Coroutine[Any, Any, int]) -> None:
    await asyncio.gather(reading, waiting)


def kill_session(leader: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to everything in the process group of a session leader."""
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        return  # all of it has ended


def _failure(code: int) -> str:
    if code == 0:
        return ""
    if code > 0:
        return f"exit status {code}"
    return f"signal: {(signal.strsignal(-code) or str(-code)).lower()}"
