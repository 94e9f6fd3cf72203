"""The real runtime of tfchain on this machine, for those who have it (spec tfchain, appendix A).

`RMB_TFCHAIN_WASM` names a file with the runtime; it is executed by chopsticks, which npm installs into a temporary
folder once, or which is found in the folder `RMB_CHOPSTICKS` names. Nothing of either is part of this project.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.chain import data, keys
from tests.support.chain.codec import u64

CHOPSTICKS = "@acala-network/chopsticks"
VERSION = "1.1.0"
"""The version that the specification was measured with."""

CODE = b":code"
INSTALL_S_MAX = 600.0
START_S_MAX = 120.0
LOG_LINES_KEPT = 30


def why_not() -> str | None:
    """Why the real runtime cannot run here; `None` when it can."""
    named = os.environ.get("RMB_TFCHAIN_WASM")
    if not named:
        return (
            "RMB_TFCHAIN_WASM names no runtime of tfchain: set it to the path of one to run this against the real one"
        )
    if not Path(named).is_file():
        return f"RMB_TFCHAIN_WASM: there is no file {named}"
    if data.folder() is None:
        return data.why_not()
    if shutil.which("node") is None:
        return "there is no node (20 or later) to run the runtime in"
    return None


def write_chain(path: Path) -> None:
    """A chain file: the genesis state, the runtime as its code, and the time."""
    place, wasm = data.folder(), os.environ["RMB_TFCHAIN_WASM"]
    assert place is not None
    spec = json.loads((place / data.GENESIS).read_bytes())
    top = spec["genesis"]["raw"]["top"]
    top["0x" + CODE.hex()] = "0x" + Path(wasm).read_bytes().hex()
    top["0x" + keys.NOW.hex()] = "0x" + u64(int(time.time() * 1000)).hex()
    path.write_text(json.dumps(spec), encoding="utf-8")


async def chopsticks() -> Path:
    """The script that starts it, installed when it is not there yet."""
    folder = Path(os.environ.get("RMB_CHOPSTICKS") or Path(tempfile.gettempdir()) / f"rmb-chopsticks-{VERSION}")
    script = folder / "node_modules" / CHOPSTICKS / "chopsticks.cjs"
    if not script.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(_install, folder, script)
    return script


def _install(folder: Path, script: Path) -> None:
    import subprocess

    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may want it at once
        if not script.is_file():
            command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", f"{CHOPSTICKS}@{VERSION}"]
            subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=INSTALL_S_MAX)


@asynccontextmanager
async def real_chain(folder: Path) -> AsyncIterator[str]:
    """A fresh chain with the real runtime; yields its URL. A block is made whenever a transaction arrives."""
    script, chain = await chopsticks(), folder / "chain.json"
    write_chain(chain)
    process = await asyncio.create_subprocess_exec(
        "node", str(script), "--genesis", str(chain), "--host", "127.0.0.1", "--port", "0",
        "--build-block-mode", "Instant", cwd=folder, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, limit=2**24,
    )  # fmt: skip
    lines: list[str] = []
    reader: asyncio.Task[None] | None = None
    try:
        async with asyncio.timeout(START_S_MAX):
            url = await _listening(process, lines)
        reader = asyncio.create_task(_drain(process))
        yield url
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)  # it keeps nothing worth an orderly end
        await process.wait()
        if reader is not None:
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reader


async def _listening(process: asyncio.subprocess.Process, lines: list[str]) -> str:
    assert process.stdout is not None
    while line := await process.stdout.readline():
        lines.append(line.decode(errors="replace").rstrip())
        if found := re.search(r"RPC listening on .*?(ws://127\.0\.0\.1:\d+)", lines[-1]):
            return found[1]
    raise AssertionError(f"chopsticks ended: {lines[-LOG_LINES_KEPT:]}")


async def _drain(process: asyncio.subprocess.Process) -> None:
    assert process.stdout is not None
    while await process.stdout.read(2**16):
        pass
