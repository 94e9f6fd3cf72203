"""Workers that are killed, paused or cut off, as real processes on a real Valkey: one answer for each request."""

import asyncio
import itertools
import json
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections import Counter
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from rmb_peer.local import keys
from rmb_peer.local.janitor import Janitor
from rmb_peer.sdk import Request, Service
from tests.support.processes import background, environment, start_peer
from tests.support.requests import answered, entry, value

PATIENCE_S = 60


async def test_a_worker_may_be_killed_at_every_step(redis_url: str) -> None:
    """Before and after everything it says to Redis: each request is answered exactly once, and nothing is left."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.dying_workers", redis_url, stdin=DEVNULL, stdout=PIPE, stderr=PIPE,
        env=environment(),
    )  # fmt: skip
    async with background(process):
        out, err = await asyncio.wait_for(process.communicate(), 110)
    assert process.returncode == 0, err.decode()[-3000:]
    report = json.loads(out)
    assert report["killed"] >= 16, report["killed"]
    assert Counter(report["answered"]) == Counter(report["asked"])
    assert report["keys"] == []


async def until(condition: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():
            await asyncio.sleep(0.02)  # polls real processes


async def logged(process: asyncio.subprocess.Process, text: str) -> dict[str, Any]:
    """The first log line with this event."""
    assert process.stderr is not None
    async with asyncio.timeout(PATIENCE_S):
        while line := await process.stderr.readline():
            fields = json.loads(line)
            if fields["event"] == text:
                return dict(fields)
    raise AssertionError(f"no line {text!r}")


async def serve(url: str, folder: Path, *flags: str) -> asyncio.subprocess.Process:
    """`rmb-peer serve x` whose program says that it runs and then waits for the file `go`."""
    script = f"echo >>{folder}/runs; while [ ! -e {folder}/go ]; do sleep 0.02; done; echo 1"
    return await start_peer(
        "serve", "x", "-r", url, "--log-format", "json", *flags, "--", "sh", "-c", script, stdout=DEVNULL
    )


def runs(folder: Path) -> int:
    path = folder / "runs"
    return path.read_text().count("\n") if path.exists() else 0


async def hearts_end(redis: Redis) -> None:
    """What time would do."""
    for name in await redis.keys(keys.ALIVE_PREFIX + "*"):
        await redis.delete(name)


async def test_serve_may_be_killed_while_its_program_runs(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    """kill -9 loses nothing: the next worker answers, once."""
    first = await serve(redis_url, tmp_path, "--lease", "600")
    async with background(first):
        await redis.lpush("msgbus.x", entry())

        async def running() -> bool:
            return runs(tmp_path) == 1

        await until(running)
        first.kill()
        await first.wait()
    await hearts_end(redis)
    (tmp_path / "go").touch()
    async with background(await serve(redis_url, tmp_path)):
        assert value(await answered(redis)) == 1
    assert await redis.llen(keys.LOCAL_REPLIES) == 0


async def test_serve_gives_up_a_poisonous_request(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    """`--retries 1`: two workers die of it, and the asker gets error 502."""
    await redis.lpush("msgbus.x", entry())
    for number in (1, 2):
        worker = await serve(redis_url, tmp_path, "--lease", "600", "--retries", "1")
        async with background(worker):

            async def running(count: int = number) -> bool:
                return runs(tmp_path) == count

            await until(running)
            worker.kill()
            await worker.wait()
        await hearts_end(redis)
        await Janitor(redis).sweep()
    answer = await answered(redis)
    assert (answer["ref"], answer["err"]["code"]) == ("u-1", 502)
    assert await redis.xlen(keys.DEAD) == 1


async def test_a_paused_worker_gives_no_second_answer(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    """It was thought dead, somebody else has answered; when it goes on, its answer is dropped."""
    paused = await serve(redis_url, tmp_path, "--lease", "600")
    async with background(paused):
        await redis.lpush("msgbus.x", entry())

        async def running() -> bool:
            return runs(tmp_path) == 1

        await until(running)
        paused.send_signal(signal.SIGSTOP)
        await hearts_end(redis)
        assert await Janitor(redis).sweep() == 1
        service = Service(redis_url)

        @service.command("x")
        async def other(request: Request) -> str:
            return "from the other"

        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(service.serve())
            assert value(await answered(redis)) == "from the other"
            service.stop()
        assert serving.done()
        (tmp_path / "go").touch()
        paused.send_signal(signal.SIGCONT)
        await logged(paused, "answer dropped: the lease was lost")
        assert await redis.llen(keys.LOCAL_REPLIES) == 0
        await redis.lpush("msgbus.x", entry(ref="u-2"))  # it works on
        assert (await answered(redis))["ref"] == "u-2"


async def test_a_program_that_runs_long_keeps_its_lease(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    """The heartbeat goes on while the program runs, and the program runs once."""
    worker = await serve(redis_url, tmp_path, "--lease", "6")
    async with background(worker):
        await redis.lpush("msgbus.x", entry())
        lives: list[int] = []

        async def renewed() -> bool:
            names = await redis.keys(keys.ALIVE_PREFIX + "*")
            if runs(tmp_path) and names:
                lives.append(await redis.pttl(names[0]))
            return any(later > earlier for earlier, later in itertools.pairwise(lives))

        await until(renewed)
        (tmp_path / "go").touch()
        assert value(await answered(redis)) == 1
