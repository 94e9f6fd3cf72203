"""`rmb-peer call` against a real Valkey and a gateway by script; as a process where that makes a difference."""

import asyncio
import base64
import json
import os
import pty
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from rmb_peer.cli import main
from rmb_peer.commands.call import DATA_BYTES_MAX
from rmb_peer.embedded.valkey import EmbeddedValkey
from rmb_peer.sdk import client as client_module
from rmb_peer.sdk.client import REPLY_LIST_PREFIX
from tests.support.gateway_script import response, scripted_gateway
from tests.support.processes import Ended, background, exit_code, run_peer, start_peer
from tests.support.schemas import faults

Call = Callable[..., Awaitable[Ended]]


@pytest.fixture
def call(capsysbinary: pytest.CaptureFixture[bytes]) -> Call:
    """Run the command in a thread of this process, which spares half a second each time."""

    async def run(*arguments: str) -> Ended:
        code = await asyncio.to_thread(exit_code, main, ["call", *arguments])
        said = capsysbinary.readouterr()
        return Ended(code, said.out, said.err.decode())

    return run


def _echo(request: dict[str, Any]) -> list[bytes | dict[str, Any]]:
    return [response(request, source=str(twin), shm=request["shm"]) for twin in request["dst"]]


def _error(code: int, text: str, source: str) -> Any:
    return lambda request: [response(request, source=source, err={"code": code, "message": text})]


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def _nothing_left(redis: Redis) -> None:
    assert await redis.keys("*") == []


async def test_the_request_is_exactly_that_of_the_redis_api(redis_url: str, redis: Redis, call: Call) -> None:
    """All keys of spec rmb 5.2 in their order, a private list of our own in `ret`, and `now` left to the gateway."""
    async with scripted_gateway(redis, _echo) as seen:
        ended = await call("7,8,7", "zos.a", '{"a": 1}', "--timeout", "9.5", "--tag", "fail-fast", "-r", redis_url)
    assert ended.code == 0
    (request,) = seen
    assert faults("local_request", request) == []
    assert list(request) == ["ver", "ref", "cmd", "exp", "dat", "tag", "dst", "ret", "shm", "now"]
    own = request.pop("ret")
    assert request.pop("ref")
    assert own.startswith(REPLY_LIST_PREFIX)
    assert not own.startswith(("msgbus.", "rmb:"))
    assert request == {
        "ver": 1, "cmd": "zos.a", "exp": 10, "dat": _b64(b'{"a": 1}'), "tag": "fail-fast",
        "dst": [7, 8], "shm": "application/json", "now": 0,
    }  # fmt: skip
    await _nothing_left(redis)


@pytest.mark.parametrize(
    ("arguments", "stdin", "sent", "schema", "printed"),
    [
        (["hello"], None, b"hello", "application/octet-stream", b"hello\n"),
        (["hello\n"], None, b"hello\n", "application/octet-stream", b"hello\n"),
        (["hello", "--raw"], None, b"hello", "application/octet-stream", b"hello"),
        ([], None, b"", "application/json", b"\n"),
        (["-"], b"\x00\xff", b"\x00\xff", "application/octet-stream", b"\x00\xff"),
        (["x", "--schema", "text/plain"], None, b"x", "text/plain", b"x\n"),
    ],
)
async def test_data_goes_out_and_comes_back_unchanged(
    redis_url: str,
    redis: Redis,
    call: Call,
    arguments: list[str],
    stdin: bytes | None,
    sent: bytes,
    schema: str,
    printed: bytes,
) -> None:
    """Payloads from the command line and standard input are sent as they are, and printed as they came."""
    async with scripted_gateway(redis, _echo) as seen:
        if stdin is None:
            ended = await call("7", "echo", *arguments, "-r", redis_url)
        else:
            ended = await run_peer("call", "7", "echo", *arguments, "-r", redis_url, stdin=stdin)
    assert (ended.code, ended.out, ended.err) == (0, printed, "")
    assert (seen[0]["dat"], seen[0]["shm"]) == (_b64(sent), schema)


async def test_data_from_a_file_and_redis_from_the_environment(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    """@FILE is read as bytes; RMB_REDIS stands in for --redis."""
    (tmp_path / "data").write_bytes(b"\x01\xff")
    async with scripted_gateway(redis, _echo) as seen:
        ended = await run_peer("call", "7", "echo", f"@{tmp_path / 'data'}", env={"RMB_REDIS": redis_url})
    assert (ended.code, ended.out) == (0, b"\x01\xff")
    assert seen[0]["dat"] == _b64(b"\x01\xff")


async def test_several_destinations_print_one_line_each(redis_url: str, redis: Redis, call: Call) -> None:
    """Answers come on one line each, with their source, whatever they contain."""
    payloads = {"7": b'{"a":\n 1}', "8:web": b"two\nlines\x1b[0m", "9": b"\xff"}

    def script(request: dict[str, Any]) -> list[bytes | dict[str, Any]]:
        return [response(request, source=source, dat=_b64(data)) for source, data in payloads.items()]

    async with scripted_gateway(redis, script):
        ended = await call("7,8,9", "x", "-r", redis_url)
    assert ended.code == 0
    assert sorted(ended.out.decode().splitlines()) == sorted(
        ['7\t{"a":1}', r"8:web" + "\t" + r"two\nlines\x1b[0m", "9\tbase64:/w=="]
    )


async def test_json_output(redis_url: str, redis: Redis, call: Call) -> None:
    """--json prints one object per answer, errors included, with the documented fields."""

    def script(request: dict[str, Any]) -> list[bytes | dict[str, Any]]:
        return [
            response(request, source="8", dat="", err={"code": 255, "message": "no"}),
            response(request, source="7", dat=_b64(b'{"b": [1]}'), shm="application/json"),
        ]

    async with scripted_gateway(redis, script):
        ended = await call("7,8", "x", "--json", "-r", redis_url)
    assert ended.code == 1
    lines = {line["src"]: line for line in map(json.loads, ended.out.splitlines())}
    assert all(line.pop("ms") > 0 for line in lines.values())
    assert list(lines["7"]) == ["src", "shm", "dat", "payload", "err"]
    assert lines["7"] == {
        "src": "7", "shm": "application/json", "dat": _b64(b'{"b": [1]}'), "payload": {"b": [1]}, "err": None,
    }  # fmt: skip
    assert lines["8"]["err"] == {"code": 255, "message": "no"}


@pytest.mark.parametrize(
    ("source", "code", "text", "exit_code", "said"),
    [
        ("7", 255, "handler\nfailed", 1, r"twin 7: error 255: handler\nfailed"),
        ("0", 0, "destination offline", 1, "relay: error 0: destination offline"),
        ("", 103, "unknown twin id '7'", 1, "gateway: error 103: unknown twin id '7'"),
        ("7", 102, "envelope validation error: message has expired", 1, "twin 7: error 102: envelope validation"),
        ("", 102, "no answer from twin 7", 3, "gateway: error 102: no answer from twin 7"),
    ],
)
async def test_error_answers_decide_the_exit_code(
    redis_url: str, redis: Redis, call: Call, source: str, code: int, text: str, exit_code: int, said: str
) -> None:
    """An error answer gives exit code 1 and its text on standard error; the local gateway's expiry is a time-out."""
    async with scripted_gateway(redis, _error(code, text, source)):
        ended = await call("7", "x", "-r", redis_url)
    assert (ended.code, ended.out) == (exit_code, b"")
    assert ended.err.startswith(f"rmb-peer call: {said}")
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize("entry", [b"not json", b"{}", b'{"src":"7","dat":"*"}'])
async def test_an_answer_that_is_none_is_an_error(redis_url: str, redis: Redis, call: Call, entry: bytes) -> None:
    """Noise on the `ret` list gives exit code 1 and a reason, not a traceback."""
    async with scripted_gateway(redis, lambda _: [entry]):
        ended = await call("7", "x", "-r", redis_url)
    assert (ended.code, ended.out) == (1, b"")
    assert ended.err.startswith("rmb-peer call: the gateway pushed an answer that is none: ")
    assert ended.err.count("\n") == 1


async def test_a_timeout_leaves_nothing_behind(
    redis_url: str, redis: Redis, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an answer: exit code 3, and how many are missing; the list is gone, and cannot come back."""

    def only_seven(request: dict[str, Any]) -> list[bytes | dict[str, Any]]:
        return [response(request, source="7")]

    monkeypatch.setattr(client_module, "_LATE_S", 600)  # longer than any machine pauses
    async with scripted_gateway(redis, only_seven):
        ended = await call("7,8,9", "x", "hi", "--timeout", "0.4", "-r", redis_url)
    assert (ended.code, ended.out) == (3, b"7\thi\n")
    assert ended.err == "rmb-peer call: 2 of 3 answers missing within 0.4 s\n"
    (tombstone,) = await redis.keys("*")
    assert await redis.type(tombstone) == b"string"  # so that a late answer cannot make a list for nobody
    assert 0 < await redis.ttl(tombstone) <= 601


async def test_a_request_that_nobody_takes_is_taken_back(redis_url: str, redis: Redis, call: Call) -> None:
    """Without a gateway: exit code 3, a text that says so, and the request does not wait for a later gateway."""
    ended = await call("7", "x", "--timeout", "0.2", "-r", redis_url)
    assert ended.code == 3
    assert "nobody took the request from msgbus.system.local; is a gateway running on this Redis?" in ended.err
    await _nothing_left(redis)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_an_interrupted_call_leaves_nothing_behind(
    redis_url: str, redis: Redis, number: signal.Signals, code: int
) -> None:
    """Ctrl-C and SIGTERM end the call at once, without a traceback, and its list and request are removed."""
    process = await start_peer("call", "7", "x", "-r", redis_url)
    async with background(process), asyncio.timeout(60):
        while not await redis.llen("msgbus.system.local"):
            await asyncio.sleep(0.01)  # polls a real process
        process.send_signal(number)
        _, err = await process.communicate()
        assert (process.returncode, err) == (code, b"")
    await _nothing_left(redis)


async def test_redis_may_restart_while_the_answer_is_awaited(tmp_path: Path) -> None:
    """The call waits for a store that comes back within its time."""
    server = await EmbeddedValkey.start(tmp_path, port=0, fsync="always")
    port = server.port
    process = await start_peer("call", "7", "x", "hi", "-r", server.url)
    async with background(process), asyncio.timeout(60):
        redis = Redis.from_url(server.url, socket_timeout=None)
        popped = await redis.brpop(["msgbus.system.local"])
        assert popped is not None
        request = json.loads(popped[1])
        await redis.aclose()
        await server.stop()
        server = await EmbeddedValkey.start(tmp_path, port=port)
        redis = Redis.from_url(server.url, socket_timeout=None)
        await redis.lpush(request["ret"], json.dumps(response(request)))
        out, err = await process.communicate()
        assert (process.returncode, out, err) == (0, b"hi\n", b"")
        await redis.aclose()
        await server.stop()


async def test_an_unreachable_redis_is_named_without_its_password() -> None:
    """Exit code 1, one line that says which URL and which flag, and no password."""
    ended = await run_peer("call", "7", "x", "-r", "redis://me:s3cret@127.0.0.1:1/0")
    assert (ended.code, ended.out) == (1, b"")
    assert "redis://127.0.0.1:1/0" in ended.err
    assert "--redis URL" in ended.err
    assert "s3cret" not in ended.err
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["0", "x"], "'0' is no twin id"),
        (["7,", "x"], "'' is no twin id"),
        (["4294967296", "x"], "is no twin id"),
        (["7:web", "x"], "is no twin id"),
        ([",".join(map(str, range(1, 1002))), "x"], "1001 destinations"),
        (["7", "system.local"], "names a queue of the gateway itself"),
        (["7", "x", "--timeout", "0"], "expected seconds"),
        (["7", "x", "--timeout", "nan"], "expected seconds"),
        (["7", "x", "--timeout", "1801"], "at most 1800"),
        (["7", "x", "--raw", "--json"], "not allowed with"),
        (["7", "x", "@/nothing/here"], "cannot use DATA"),
        (["7", "x", "-r", "http://localhost"], "cannot use Redis at http://localhost"),
        (["7"], "the following arguments are required: COMMAND"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Mistakes on the command line are explained and nothing is sent."""
    assert exit_code(main, ["call", *arguments]) == 2
    said = capsys.readouterr()
    assert (said.out, reason in said.err) == ("", True)


async def test_data_beyond_the_limit_is_refused(tmp_path: Path, redis_url: str, redis: Redis, call: Call) -> None:
    """A payload at the limit is sent; one byte more is refused before anything is sent."""
    path = tmp_path / "big"
    path.write_bytes(b"x" * (DATA_BYTES_MAX + 1))
    ended = await call("7", "x", f"@{path}", "-r", redis_url)
    assert (ended.code, ended.out) == (2, b"")
    assert f"longer than {DATA_BYTES_MAX} bytes" in ended.err
    await _nothing_left(redis)
    with path.open("r+b") as file:
        file.truncate(DATA_BYTES_MAX)
    async with scripted_gateway(redis, _echo):
        ended = await call("7", "x", f"@{path}", "-r", redis_url)
    assert (ended.code, len(ended.out)) == (0, DATA_BYTES_MAX + 1)  # and a line end


async def test_on_a_terminal_json_is_indented_and_cannot_steer(redis_url: str, redis: Redis) -> None:
    """People see indented JSON in colours; control characters from the far side are shown, not obeyed."""
    data = '{"a":"\x9b2J"}'.encode()
    async with scripted_gateway(redis, lambda request: [response(request, dat=_b64(data))]):
        ours, terminal = pty.openpty()
        process = await start_peer("call", "7", "x", "-r", redis_url, env={"TERM": "xterm"}, stdout=terminal)
        os.close(terminal)
        async with background(process):
            assert await asyncio.wait_for(process.wait(), 10) == 0
        seen = os.read(ours, 10_000).decode()
        os.close(ours)
    assert "\x9b" not in seen
    assert r"\x9b2J" in seen
    assert "\x1b[" in seen
    assert seen.count("\n") == 3
