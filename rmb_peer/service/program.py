"""Run a program once: payload in, answer out, within limits of time and size, and nothing of it left behind.

The program gets a session of its own, so a Ctrl-C for us is not one for it, and its whole process group ends with it.
This module refuses to know messages and Redis.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import cast

from rmb_peer.embedded.child import end_with_parent

STDERR_TAIL_BYTES = 2000
"""How much of the end of standard error is kept: enough for the last lines of a stack trace, little for a message."""

_REAP_S_MAX = 2.0  # after SIGKILL; a guess
_STDIN, _STDOUT, _STDERR = 0, 1, 2


class Ending(Enum):
    """Why a program is no longer running."""

    EXITED = "exited"
    KILLED_BY_SIGNAL = "killed by a signal"
    TIMED_OUT = "timed out"
    OUTPUT_TOO_LARGE = "output too large"
    NOT_STARTED = "not started"


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended.

    Attributes:
        ending: why it ended.
        code: exit code, or the signal's number; 0 when neither applies.
        output: standard output; incomplete unless it exited by itself.
        complaint: the end of standard error, or why the program did not start.
    """

    ending: Ending
    code: int
    output: bytes
    complaint: str


async def run_program(
    program: Sequence[str],
    payload: bytes,
    environment: Mapping[bytes, bytes],
    *,
    timeout_s: float,
    output_bytes_max: int,
) -> Result:
    """Run `program` without a shell.

    The run is over when the program has ended and its output is closed. What it left running in its process group is
    killed then; at the time limit or beyond the size limit everything is killed at once. Cancelling kills it, too.

    Args:
        program: file and arguments.
        payload: its standard input; a program that does not read it is not disturbed.
        environment: all of its environment.
        timeout_s: longest run.
        output_bytes_max: most bytes of standard output.

    Returns:
        the result; a failing program is a result, not an exception.
    """
    loop = asyncio.get_running_loop()
    try:
        transport, watcher = await loop.subprocess_exec(
            lambda: _Watcher(output_bytes_max),
            *program,
            env=environment,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
    except (OSError, ValueError) as error:  # ValueError: a NUL in an argument
        return Result(Ending.NOT_STARTED, 0, b"", f"cannot start {program[0]}: {error}")
    try:
        watcher.feed(transport, payload)
        async with asyncio.timeout(timeout_s):
            await watcher.over.wait()
        ending = Ending.OUTPUT_TOO_LARGE if watcher.too_large else Ending.EXITED
    except TimeoutError:
        ending = Ending.TIMED_OUT
    finally:
        _kill_group(transport.get_pid())
        transport.close()
        with contextlib.suppress(TimeoutError):  # a process that hangs in the kernel is not waited for
            async with asyncio.timeout(_REAP_S_MAX):
                await watcher.exited.wait()
    code = transport.get_returncode() or 0
    if ending is Ending.EXITED and code < 0:
        ending, code = Ending.KILLED_BY_SIGNAL, -code
    return Result(ending, max(code, 0), bytes(watcher.output), watcher.complaint())


class _Watcher(asyncio.SubprocessProtocol):
    """Collects what the program writes. `over` is set when nothing more is of interest."""

    def __init__(self, output_bytes_max: int) -> None:
        self._output_bytes_max = output_bytes_max
        self._transport: asyncio.SubprocessTransport | None = None
        self._stderr = bytearray()
        self._open_pipes = {_STDOUT, _STDERR}
        self.output = bytearray()
        self.too_large = False
        self.over = asyncio.Event()
        self.exited = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)

    def feed(self, transport: asyncio.SubprocessTransport, payload: bytes) -> None:
        stdin = cast(asyncio.WriteTransport, transport.get_pipe_transport(_STDIN))
        stdin.write(payload)
        stdin.close()  # after what was written; a pipe that the program has closed ends by itself

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == _STDERR:
            self._stderr += data
            del self._stderr[:-STDERR_TAIL_BYTES]
        elif len(self.output) + len(data) > self._output_bytes_max:
            self.too_large = True
            self.over.set()
        else:
            self.output += data

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self._open_pipes.discard(fd)
        self._check_over()

    def process_exited(self) -> None:
        self.exited.set()
        assert self._transport is not None
        _kill_group(self._transport.get_pid())  # a child left in the background would hold the pipes open
        self._check_over()

    def complaint(self) -> str:
        return self._stderr.decode(errors="replace").strip()

    def _check_over(self) -> None:
        if self.exited.is_set() and not self._open_pipes:
            self.over.set()


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # gone already; macOS says EPERM for zombies
        os.killpg(pid, signal.SIGKILL)
