"""What a WebSocket message costs with each library, at the client and at the server.

    python -m tests.benchmarks.websocket_libraries [--rounds 5] [--messages 3000]

Processor time of the measured process alone, from the operating system's accounting, per message: one sent and one
received. The other end is raw bytes (`websocket_raw`), the same for all. "One" has one message on its way at a time;
"burst" sends many and then takes as many. Every round runs every case once; the table has medians.
"""

import argparse
import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from tests.benchmarks.rounds import Case, Figures, interleave
from tests.benchmarks.websocket_ends import CLIENTS, SERVERS
from tests.benchmarks.websocket_raw import Answering, Asking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SIZES_BYTES = (100, 1024, 65536)
BURSTS = {100: 64, 1024: 64, 65536: 16}


@asynccontextmanager
async def end(side: str, library: str) -> "AsyncIterator[Process]":
    """A process with one end."""
    command = ["-m", "tests.benchmarks.websocket_ends", side, library]
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdin=PIPE, stdout=PIPE)
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


async def ask(process: Process, line: str) -> float:
    """A figure from such a process."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{line}\n".encode())
    return float(await process.stdout.readline())


async def client(process: Process, port: int, size_bytes: int, burst: int, times: int) -> Figures:
    seconds = await ask(process, f"{port} {size_bytes} {burst} {times}")
    return {"us": seconds / burst / times * 1e6}


async def server(process: Process, port: int, size_bytes: int, burst: int, times: int) -> Figures:
    before_s = await ask(process, "")
    loop = asyncio.get_running_loop()
    transport, asking = await loop.create_connection(lambda: Asking(size_bytes, burst, times), "127.0.0.1", port)
    await asking.done
    after_s = await ask(process, "")
    transport.abort()
    return {"us": (after_s - before_s) / burst / times * 1e6}


async def main(rounds: int, messages: int) -> None:
    """Print the table."""
    loop = asyncio.get_running_loop()
    answering = await loop.create_server(Answering, "127.0.0.1", 0)
    port = answering.sockets[0].getsockname()[1]
    cases: dict[tuple[str, str, int, int], Case] = {}
    async with AsyncExitStack() as stack:
        ends = [
            ("client", library, client, await stack.enter_async_context(end("client", library)), port)
            for library in CLIENTS
        ]
        for library in SERVERS:
            process = await stack.enter_async_context(end("server", library))
            assert process.stdout is not None
            ends.append(("server", library, server, process, int(await process.stdout.readline())))
        for size_bytes in SIZES_BYTES:
            for burst in (1, BURSTS[size_bytes]):
                for side, library, measure, process, at in ends:
                    times = max(1, messages // burst // (8 if size_bytes > 10_000 else 1))
                    run = partial(measure, process, at, size_bytes, burst, times)
                    cases[side, library, size_bytes, burst] = Case(
                        side, f"{side} {library} {size_bytes} x {burst}", run
                    )
        await interleave([*cases.values()], rounds, lambda name: None)
    answering.close()
    print(
        "| µs of processor time per message sent and received |"
        + " | ".join(
            f"{size_bytes} B, {'one' if burst == 1 else 'burst'}"
            for size_bytes in SIZES_BYTES
            for burst in (1, BURSTS[size_bytes])
        )
        + " |"
    )
    print("|---|" + "---:|" * 2 * len(SIZES_BYTES))
    for side, library, *_ in ends:
        figures = [
            cases[side, library, size_bytes, burst].figures()["us"]
            for size_bytes in SIZES_BYTES
            for burst in (1, BURSTS[size_bytes])
        ]
        print(f"| {side}, {library} | " + " | ".join(f"{figure:.1f}" for figure in figures) + " |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=3000)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.rounds, arguments.messages))
