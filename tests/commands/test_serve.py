"""`rmb-peer serve` as a process, with real programs, against a real Valkey."""

import asyncio
import base64
import json
import os
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from rmb_peer.cli import main
from rmb_peer.embedded.valkey import EmbeddedValkey
from tests.support.processes import background, exit_code, run_peer, start_peer
from tests.support.schemas import faults

PYTHON = (sys.executable, "-c")


@asynccontextmanager
async def serving(url: str, *arguments: str, env: dict[str, str] | None = None) -> AsyncIterator[Process]:
    """`rmb-peer serve x` with these arguments, once it says that it serves."""
    process = await start_peer("serve", "x", "-r", url, "--log-format", "json", *arguments, env=env)
    async with background(process):
        assert process.stderr is not None
        line = json.loads(await asyncio.wait_for(process.stderr.readline(), 15))
        assert (line["event"], line["list"]) == ("serving", "msgbus.x")
        yield process


def request(payload: bytes = b"", **fields: Any) -> dict[str, Any]:
    """An incoming request of spec rmb 5.3."""
    made = {
        "ver": 1, "ref": "u-1", "src": "7:web", "cmd": "x", "exp": 60, "dat": base64.b64encode(payload).decode(),
        "tag": None, "ret": "msgbus.system.reply", "shm": None, "now": int(time.time()),
    }  # fmt: skip
    return made | fields


async def ask(redis: Redis, asked: dict[str, Any] | bytes) -> dict[str, Any]:
    """Push a request and wait for the answer, which keeps to the schema."""
    await redis.lpush("msgbus.x", asked if isinstance(asked, bytes) else json.dumps(asked))
    return await answer(redis)


async def answer(redis: Redis) -> dict[str, Any]:
    popped = await redis.brpop(["msgbus.system.reply"], timeout=20)
    assert popped is not None, "no answer"
    made = json.loads(popped[1])
    assert faults("outgoing_response", made) == []
    return dict(made)


def data(made: dict[str, Any]) -> bytes:
    return base64.b64decode(made["dat"])


async def test_the_answer_is_exactly_that_of_the_redis_api(redis_url: str, redis: Redis) -> None:
    """All keys of spec rmb 5.4 in their order, `ref` and `src` echoed, payload unchanged, schema by content."""
    async with serving(redis_url, "--", "cat"):
        made = await ask(redis, request(b'{"a": 1}'))
        assert list(made) == ["ver", "ref", "dat", "dst", "shm", "now", "err"]
        assert abs(made.pop("now") - time.time()) < 10
        assert made == {
            "ver": 1, "ref": "u-1", "dat": base64.b64encode(b'{"a": 1}').decode(), "dst": "7:web",
            "shm": "application/json", "err": None,
        }  # fmt: skip
        assert (await ask(redis, request(b"\x00\xff")))["shm"] == "application/octet-stream"
        big = os.urandom(4 * 2**20)
        assert data(await ask(redis, request(big))) == big


async def test_the_program_sees_who_asks_but_not_our_secret(redis_url: str, redis: Redis) -> None:
    """RMB_SRC, RMB_CMD, RMB_REF, RMB_TAG and RMB_SCHEMA are set; RMB_MNEMONIC is not passed on."""
    code = "import os, json; print(json.dumps({k: v for k, v in os.environ.items() if k.startswith('RMB_')}))"
    async with serving(redis_url, "--", *PYTHON, code, env={"RMB_MNEMONIC": "secret words"}):
        made = await ask(redis, request(tag="t\0ä", shm="text/plain"))
        assert json.loads(data(made)) == {
            "RMB_SRC": "7:web", "RMB_CMD": "x", "RMB_REF": "u-1", "RMB_TAG": "tä", "RMB_SCHEMA": "text/plain",
        }  # fmt: skip
        made = await ask(redis, request())
        assert (json.loads(data(made))["RMB_TAG"], json.loads(data(made))["RMB_SCHEMA"]) == ("", "")


async def test_no_shell_is_involved(redis_url: str, redis: Redis) -> None:
    """Arguments reach the program as they are, also those after a second `--`."""
    async with serving(redis_url, "--schema", "text/plain", "--", "printf", "%s|", "$HOME", "--", ";ls"):
        made = await ask(redis, request())
        assert (data(made), made["shm"]) == (b"$HOME|--|;ls|", "text/plain")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("import sys; print('out'); print('bad\\nthing', file=sys.stderr); sys.exit(3)", (3, "bad\nthing")),
        ("import sys; sys.exit(9)", (9, "the program ended with exit code 9")),
        ("import sys; sys.stderr.write('a' * 9000 + 'end'); sys.exit(1)", (1, "a" * 1997 + "end")),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", (500, "the program was ended by signal 9")),
        ("print('x' * 1001)", (413, "the program's output is too large")),
        ("import time; print('wait', flush=True); time.sleep(60)", (504, "the program took too long")),
    ],
)
async def test_a_failing_program_becomes_an_error(
    redis_url: str, redis: Redis, code: str, error: tuple[int, str]
) -> None:
    """Exit codes and the end of standard error reach the asker; ours are codes as in HTTP."""
    async with serving(redis_url, "--output-max", "1001", "--timeout", "1.5", "--", *PYTHON, code):
        made = await ask(redis, request())
        assert (made["err"], made["dat"], made["shm"]) == ({"code": error[0], "message": error[1]}, "", None)
        assert (made["ref"], made["dst"]) == ("u-1", "7:web")


async def test_output_at_the_limit_is_an_answer(redis_url: str, redis: Redis) -> None:
    """The limit itself is allowed."""
    async with serving(redis_url, "--output-max", "1001", "--", *PYTHON, "print('x' * 1000)"):
        assert len(data(await ask(redis, request()))) == 1001


async def test_a_program_that_vanishes_is_an_error(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    """A program that can no longer be started gives an error to the asker, and the service goes on."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho 1\n")
    program.chmod(0o700)
    async with serving(redis_url, "--", str(program)):
        assert data(await ask(redis, request())) == b"1\n"
        program.rename(tmp_path / "away")
        error = (await ask(redis, request()))["err"]
        assert (error["code"], "cannot start" in error["message"]) == (500, True)
        (tmp_path / "away").rename(program)
        assert data(await ask(redis, request())) == b"1\n"


@pytest.mark.parametrize("ending", ["exits", "times out"])
async def test_nothing_of_a_program_is_left_running(tmp_path: Path, redis_url: str, redis: Redis, ending: str) -> None:
    """When the program ends, or its time is over, its children end, too."""
    pid_file = tmp_path / "pid"
    wait = "wait" if ending == "times out" else "true"
    script = f"sleep 300 & echo $! >{pid_file}; {wait}"
    async with serving(redis_url, "--timeout", "1", "--", "sh", "-c", script):
        made = await ask(redis, request())
        assert (made["err"] is None) is (ending == "exits")
        child = int(pid_file.read_text())
        async with asyncio.timeout(60):
            while _runs(child):
                await asyncio.sleep(0.01)  # polls a real process


def _runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_program_that_reads_nothing_is_no_failure(redis_url: str, redis: Redis) -> None:
    """A large payload that the program ignores does not disturb its answer."""
    async with serving(redis_url, "--", "printf", "1"):
        assert data(await ask(redis, request(b"x" * 2**20))) == b"1"


async def test_entries_that_are_no_request(redis_url: str, redis: Redis) -> None:
    """Noise does not stop the service; whoever can be told is told."""
    async with serving(redis_url, "--", "cat"):
        await redis.lpush("msgbus.x", b"not json", b"[]", b"{}")
        made = await ask(redis, request(dat="*"))
        assert made["err"]["code"] == 400
        assert "`dat` is not standard base64" in made["err"]["message"]
        made = await ask(redis, request(now=int(time.time()) - 100, exp=100))
        assert made["err"] == {"code": 102, "message": "request expired before the service took it"}
        assert (await ask(redis, request(b"ok")))["err"] is None


async def test_requests_are_answered_in_order_by_one_worker(redis_url: str, redis: Redis) -> None:
    """First in, first out (spec rmb 5.1)."""
    for number in range(5):
        await redis.lpush("msgbus.x", json.dumps(request(ref=f"u-{number}")))
    async with serving(redis_url, "--", "cat"):
        assert [(await answer(redis))["ref"] for _ in range(5)] == [f"u-{number}" for number in range(5)]


async def test_workers_run_at_the_same_time(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    """Three programs that wait for each other can only end when three run at once."""
    code = (
        "import os, pathlib, time; d = pathlib.Path(os.environ['MEET']); (d / os.environ['RMB_REF']).touch()\n"
        "while len(list(d.iterdir())) < 3: time.sleep(0.01)"
    )
    meet = tmp_path / "meet"
    meet.mkdir()
    async with serving(redis_url, "--workers", "3", "--timeout", "10", "--", *PYTHON, code, env={"MEET": str(meet)}):
        for number in range(3):
            await redis.lpush("msgbus.x", json.dumps(request(ref=f"u-{number}")))
        assert [(await answer(redis))["err"] for _ in range(3)] == [None] * 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_after_what_runs_is_answered(
    tmp_path: Path, redis_url: str, redis: Redis, number: signal.Signals
) -> None:
    """The request at hand is answered, the next one stays in the list, exit code 0."""
    go = tmp_path / "go"
    script = f"touch {tmp_path / 'runs'}; while [ ! -e {go} ]; do sleep 0.01; done; echo 1"
    async with serving(redis_url, "--", "sh", "-c", script) as process, asyncio.timeout(60):
        await redis.lpush("msgbus.x", json.dumps(request()))
        await redis.lpush("msgbus.x", json.dumps(request(ref="u-2")))
        while not (tmp_path / "runs").exists():
            await asyncio.sleep(0.01)  # polls a real process
        process.send_signal(number)
        go.touch()
        assert data(await answer(redis)) == b"1\n"
        assert await process.wait() == 0
        assert await redis.llen("msgbus.x") == 1


async def test_an_idle_service_stops_at_once(redis_url: str) -> None:
    """Waiting workers are woken, so that stopping does not take as long as their wait."""
    async with serving(redis_url, "--workers", "3", "--", "cat") as process:
        begin = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0
        assert time.monotonic() - begin < 5


async def test_a_second_signal_kills_what_runs_and_tells_the_asker(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    """The asker gets error 503 at once; the exit code is 1."""
    async with serving(redis_url, "--", "sh", "-c", f"touch {tmp_path / 'runs'}; sleep 300") as process:
        async with asyncio.timeout(60):
            await redis.lpush("msgbus.x", json.dumps(request()))
            while not (tmp_path / "runs").exists():
                await asyncio.sleep(0.01)  # polls a real process
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGINT)
            assert (await answer(redis))["err"] == {"code": 503, "message": "the service was stopped"}
            assert await process.wait() == 1


async def test_redis_may_go_away_and_come_back(tmp_path: Path) -> None:
    """An answer that was made meanwhile is pushed, and new requests are taken."""
    server = await EmbeddedValkey.start(tmp_path, port=0, fsync="always")
    port = server.port
    go = tmp_path / "go"
    script = f"touch {tmp_path / 'runs'}; while [ ! -e {go} ]; do sleep 0.01; done; cat"
    async with serving(server.url, "--", "sh", "-c", script) as process, asyncio.timeout(30):
        redis = Redis.from_url(server.url, socket_timeout=None)
        await redis.lpush("msgbus.x", json.dumps(request(b"1")))
        while not (tmp_path / "runs").exists():
            await asyncio.sleep(0.01)  # polls a real process
        await redis.aclose()
        await server.stop()
        go.touch()
        assert process.stderr is not None
        assert json.loads(await process.stderr.readline())["event"] == "cannot use redis, trying again"
        server = await EmbeddedValkey.start(tmp_path, port=port)
        redis = Redis.from_url(server.url, socket_timeout=None)
        assert data(await answer(redis)) == b"1"
        assert data(await ask(redis, request(b"2"))) == b"2"
        await redis.aclose()
        await server.stop()


async def test_it_waits_for_a_redis_that_is_not_there_yet_and_can_be_stopped() -> None:
    """Without Redis it keeps trying, names the URL without its password, and still stops at once."""
    async with serving("redis://u:s3cret@127.0.0.1:1", "--", "cat") as process, asyncio.timeout(60):
        assert process.stderr is not None
        line = await process.stderr.readline()
        assert json.loads(line)["redis"] == "redis://127.0.0.1:1"
        assert b"s3cret" not in line
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["x"], "say which program answers"),
        (["x", "--"], "say which program answers"),
        (["x", "--", "/nothing/here"], "program not found, or not executable: /nothing/here"),
        (["system.reply", "--", "cat"], "names a queue of the gateway itself"),
        (["rmb.version", "--", "cat"], "answered by the gateway itself"),
        (["rmb", "--", "cat"], "answered by the gateway itself"),
        (["x", "--workers", "0", "--", "cat"], "from 1 to 256"),
        (["x", "--workers", "257", "--", "cat"], "from 1 to 256"),
        (["x", "--output-max", "99999999999", "--", "cat"], "expected a whole number"),
        (["x", "--timeout", "inf", "--", "cat"], "expected seconds"),
        (["x", "cat", "--", "cat"], "unrecognized arguments"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Mistakes on the command line are explained, and nothing is served."""
    assert exit_code(main, ["serve", *arguments]) == 2
    said = capsys.readouterr()
    assert (said.out, reason in said.err) == ("", True)


async def test_a_url_that_is_none_is_explained() -> None:
    """Exit code 1 and one line."""
    ended = await run_peer("serve", "x", "-r", "http://h", "--log-format", "text", "--", "cat")
    assert ended.code == 1
    assert "cannot use Redis at http://h" in ended.err
    assert "Traceback" not in ended.err
