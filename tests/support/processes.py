"""Our commands as real processes."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended."""

    code: int
    out: bytes
    err: str


def environment(**more: str) -> dict[str, str]:
    """Ours, without variables that steer the commands, and with the tree under test in front."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RMB_")}
    return kept | {"PYTHONPATH": str(ROOT)} | more


async def start_peer(
    *arguments: str, env: Mapping[str, str] | None = None, stdin: int = DEVNULL, stdout: int = PIPE, stderr: int = PIPE
) -> Process:
    """Start `rmb-peer` with these arguments."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rmb_peer", *arguments, env=environment(**(env or {})), stdin=stdin, stdout=stdout,
        stderr=stderr,
    )  # fmt: skip


async def run_peer(
    *arguments: str, env: Mapping[str, str] | None = None, stdin: bytes | None = None, timeout_s: float = 60
) -> Ended:
    """Run `rmb-peer` with these arguments to its end."""
    process = await start_peer(*arguments, env=env, stdin=DEVNULL if stdin is None else PIPE)
    try:
        out, err = await asyncio.wait_for(process.communicate(stdin), timeout_s)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Ended(process.returncode, out, err.decode())


async def run_here(main: Callable[[list[str]], int], *arguments: str, env: Mapping[str, str] | None = None) -> Ended:
    """Run a command beside the event loop of this process: what takes a second as a process takes milliseconds here.

    For commands that only read, write and end. An exception that a process would show as a traceback is raised. One at
    a time, since the whole process shares its output and its environment.
    """
    out, err = TextIOWrapper(BytesIO(), "utf-8"), StringIO()
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(out), redirect_stderr(err):
        for name in [name for name in os.environ if name.startswith("RMB_")]:
            patched.delenv(name)
        for name, value in (env or {}).items():
            patched.setenv(name, value)
        code = await asyncio.to_thread(exit_code, main, list(arguments))
    out.flush()
    return Ended(code, out.buffer.getvalue(), err.getvalue())


@asynccontextmanager
async def background(process: Process) -> AsyncIterator[Process]:
    """A process that is killed at the end if it still runs."""
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def exit_code(main: Callable[[list[str]], int], arguments: list[str]) -> int:
    """The exit code of a command that runs in this process; argparse leaves by an exception."""
    try:
        return main(arguments)
    except SystemExit as error:
        assert isinstance(error.code, int)
        return error.code
