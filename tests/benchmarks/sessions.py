"""What an idle session costs a relay: a real relay process, clients in a second one, resident memory from /proc.

    python -m tests.benchmarks.sessions                     2,000 sessions of each protocol
    python -m tests.benchmarks.sessions --sessions 10000
    python -m tests.benchmarks.sessions --json

Before the first figure is taken a few sessions come and go, so that what is paid once is not counted. The relay's own
`/metrics` says how many sessions there are; the processor time is what it uses while all of them are idle.
"""

import argparse
import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console
from rich.progress import Progress

from relay.listening import raise_open_files
from rmb_peer.protocol.link.endings import SUBPROTOCOL
from tests.benchmarks.bao import machine
from tests.support.hosted_registry import signer
from tests.support.programs import RelayProgram, running
from tests.support.relay import metric

KIB = 1024
WARM_UP = 100
SETTLE_S = 3.0
"""Between the last handshake and the figure: what a handshake needed is released by then."""

CLOSE_S_MAX = 120.0
SPARE_FILES = 200
PROTOCOLS = ("rmb.1", SUBPROTOCOL)


class IdleClients:
    """The process with the clients."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def connect(
        cls, url: str, count: int, protocol: str, said: Callable[[int], None] = lambda connected: None
    ) -> "IdleClients":
        """Twins 1 to `count` sign in; returns when all have.

        Raises:
            ConnectionError: one could not.
        """
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.support.idle_clients", url, "1", str(count), protocol),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        connected = 0
        while connected < count:
            line = await process.stdout.readline()
            if not line:
                raise ConnectionError(f"{connected} of {count} clients connected; exit code {await process.wait()}")
            connected = int(line)
            said(connected)
        return cls(process)

    async def leave(self) -> None:
        """Disconnect all. Fails if one was disconnected before."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        code = await self._process.wait()
        assert code == 0, "connections were lost"


def resident_bytes(pid: int) -> int:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def processor_s(pid: int) -> float:
    """Processor time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def sessions(http: str) -> int:
    """How many sessions the relay says it has."""
    async with aiohttp.ClientSession() as session, session.get(f"{http}/metrics") as answer:
        text = await answer.text()
    return int(metric(text, 'relay_worker_connections{worker="0"}'))


def write_twins(path: Path, count: int) -> None:
    """A registry in a file with twins 1 to `count`."""
    twins = [
        {"id": n, "account": signer(str(n), "ed25519").account.hex(), "relays": ["relay.test"]}
        for n in range(1, count + 1)
    ]
    path.write_text(json.dumps({"twins": twins}))


async def measure(count: int, protocol: str, idle_s: float, said: Callable[[int], None]) -> dict[str, Any]:
    """One relay, from its start to its end."""
    with tempfile.TemporaryDirectory(prefix="rmb-sessions-") as folder:
        write_twins(Path(folder) / "twins.json", count)
        relay = RelayProgram(Path(folder) / "data", "--domain", "relay.test", "--registry", f"file:{folder}/twins.json")
        async with running(relay):
            http = relay.url.replace("ws://", "http://")
            warm = await IdleClients.connect(relay.url, min(WARM_UP, count), protocol)
            await warm.leave()
            await until_none(http)
            await asyncio.sleep(SETTLE_S)
            before = resident_bytes(relay.pid)
            began_s = time.monotonic()
            clients = await IdleClients.connect(relay.url, count, protocol, said)
            connect_s = time.monotonic() - began_s
            await asyncio.sleep(SETTLE_S)
            used_s = processor_s(relay.pid)
            await asyncio.sleep(idle_s)
            used_s = processor_s(relay.pid) - used_s
            after = resident_bytes(relay.pid)
            seen = await sessions(http)
            await clients.leave()
            await until_none(http)
    return {
        "sessions": seen,
        "before_mib": round(before / KIB**2, 1),
        "after_mib": round(after / KIB**2, 1),
        "kib_per_session": round((after - before) / KIB / seen, 2),
        "signins_per_s": round(count / connect_s),
        "idle_processor_percent": round(100 * used_s / idle_s, 2) if idle_s else None,
    }


async def until_none(http: str) -> None:
    """Wait until the relay has no sessions."""
    async with asyncio.timeout(CLOSE_S_MAX):
        while await sessions(http):
            await asyncio.sleep(0.1)


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    raise_open_files()
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed < arguments.sessions + SPARE_FILES:
        raise SystemExit(
            f"{arguments.sessions} sessions need as many open files and {SPARE_FILES} more, and {allowed} are allowed: "
            "raise the hard limit (`ulimit -Hn`)"
        )
    report: dict[str, Any] = {"machine": machine(), "load_before": os.getloadavg()[0]}
    with Progress(console=Console(stderr=True)) as progress:
        for protocol in arguments.protocols.split(","):
            bar = progress.add_task(protocol, total=arguments.sessions)
            report[protocol] = await measure(
                arguments.sessions,
                protocol,
                arguments.idle,
                lambda connected, bar=bar: progress.update(bar, completed=connected),  # type: ignore[misc]
            )
    report["load_after"] = os.getloadavg()[0]
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=2000)
    parser.add_argument("--protocols", default=",".join(PROTOCOLS))
    parser.add_argument("--idle", metavar="SECONDS", type=float, default=10.0, help="how long they are watched")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    report = asyncio.run(run(arguments))
    if arguments.json:
        print(json.dumps(report, indent=1))
        return
    print(report["machine"])
    print(f"\n{'':8}{'sessions':>10}{'KiB each':>10}{'before':>12}{'after':>12}{'sign-ins/s':>12}{'processor':>11}")
    for protocol in arguments.protocols.split(","):
        row = report[protocol]
        print(
            f"{protocol:8}{row['sessions']:>10}{row['kib_per_session']:>10.1f}{row['before_mib']:>8.1f} MiB"
            f"{row['after_mib']:>8.1f} MiB{row['signins_per_s']:>12}{row['idle_processor_percent'] or 0:>9.1f} %"
        )
    print(f"\nload {report['load_before']:.2f} before, {report['load_after']:.2f} after")


if __name__ == "__main__":
    main()
