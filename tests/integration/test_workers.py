"""A gateway with `--workers`, as real processes."""

import asyncio
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

from aiohttp import ClientSession

from rmb_peer.local import keys
from tests.support.programs import Site, network, payload

PATIENCE_S = 60.0
COUNT = 300


def workers_of(pid: int) -> list[int]:
    """The worker processes of a gateway."""
    children = [
        int(word) for task in Path(f"/proc/{pid}/task").iterdir() for word in (task / "children").read_text().split()
    ]
    return [child for child in children if "rmb-peer-crypto" in Path(f"/proc/{child}/comm").read_text()]


def gone(pid: int) -> bool:
    """Whether a process has ended; nobody may have asked yet how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.02)  # polls what processes do


async def status_of(site: Site) -> dict[str, int]:
    """What the gateway publishes about its workers."""
    workers = json.loads(await site.redis.get(keys.STATUS_LIVE))["workers"]
    assert isinstance(workers, dict)
    return workers


async def test_round_trips_while_a_worker_dies_and_a_killed_gateway_leaves_none(tmp_path: Path) -> None:
    """Round trips through `--workers 2`; one is killed in the middle; then the gateway is, and no worker stays."""
    async with network(tmp_path, ("--workers", "2", "--http", "127.0.0.1:0"), ()) as net:
        near, far = net.sites
        workers = workers_of(near.gateway.pid)
        assert len(workers) == 2
        far.serve("echo", lambda data: b"echo " + data)
        for number in range(COUNT):
            await near.push(far.twin, cmd="echo", ref=str(number))
            if number == COUNT // 3:
                os.kill(workers[0], signal.SIGKILL)
        answers = await near.pop_all(COUNT)
        assert [answer["ref"] for answer in answers] == [str(number) for number in range(COUNT)]
        assert {payload(answer) for answer in answers} == {b"echo hello"}
        ended = await near.gateway.event("worker ended: its jobs go to others, and it is started again")
        assert (ended["level"], ended["pid"], ended["reason"]) == ("warning", workers[0], "it was ended by SIGKILL")
        await near.gateway.event("worker started", worker=ended["worker"])
        workers = workers_of(near.gateway.pid)
        assert len(workers) == 2
        async with asyncio.timeout(PATIENCE_S):
            while (status := await status_of(near))["replaced"] == 0:
                await asyncio.sleep(0.2)  # it is published every five seconds
        assert status == {"wanted": 2, "running": 2, "jobs": 0, "replaced": 1}
        address = (await near.gateway.event("http listening"))["address"]
        async with ClientSession() as http, http.get(f"http://{address}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        assert 'rmb_gateway_workers{state="running"} 2' in lines
        assert {"rmb_gateway_workers_jobs 0", "rmb_gateway_workers_replaced_total 1"} <= set(lines)
        await near.gateway.kill()
        await until(lambda: all(map(gone, workers)))
