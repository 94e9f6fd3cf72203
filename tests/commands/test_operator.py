"""`where`, `dead`, `queues`, `status` and the port of `--http`: on a real network, an empty store, a damaged one."""

import asyncio
import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from rmb_peer.cli import main
from rmb_peer.commands import dead, queues, status, where
from rmb_peer.http_server import parse_address
from rmb_peer.local import keys
from rmb_peer.local.looking import span_text
from rmb_peer.protocol.errors import BadRequest
from tests.support.processes import Ended, exit_code, run_here, run_peer
from tests.support.programs import Network, network
from tests.support.shared_network import shared_network, tidy_network

ED25519 = ("--key-type", "ed25519")
PATIENCE_S = 60.0


async def until_code(code: int, *arguments: str) -> Ended:
    """Run a command until it ends with this code."""
    async with asyncio.timeout(PATIENCE_S):
        while (ended := await run_here(main, *arguments)).code != code:
            await asyncio.sleep(0.05)  # polls what a real process writes
    return ended


def objects(ended: Ended) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ended.out.splitlines()]


shared = shared_network(ED25519, ED25519)
net = tidy_network()


@pytest.mark.asyncio(loop_scope="module")
async def test_where_a_message_is_on_both_sides_and_after_a_kill(net: Network) -> None:
    """Exit codes 3, 0, 1 and 4; by reference on the asking side, by uid on both; the same after a SIGKILL."""
    a, b = net.sites
    redis = ("--redis", a.store.url)
    await a.push(b.twin, ref="mine", exp=600)
    request = await b.pop("msgbus.test.echo")
    await until_code(3, "where", "mine", *redis)
    async with asyncio.timeout(PATIENCE_S):  # a kill loses what was noted in the last moments
        while b'"sealed"' not in (await run_here(main, "where", "mine", "--json", *redis)).out:
            await asyncio.sleep(0.05)  # polls what a real process writes
    await a.gateway.kill()
    killed = await run_here(main, "where", request["ref"], "--json", *redis)
    (story,) = objects(killed)
    assert (killed.code, story["verdict"]) == (3, "under way")
    assert story["summary"] == f"waiting for twin {b.twin}"
    assert "deadline" in [step["code"] for step in story["steps"]]
    await a.gateway.start()
    await b.respond(request)
    await a.pop()
    answered = await until_code(0, "where", "mine", *redis)
    assert b"answered: everybody who was asked has answered" in answered.out
    assert b"\x1b[" not in answered.out
    await until_code(0, "where", request["ref"], "--redis", b.store.url)
    (other,) = objects(await run_peer("where", request["ref"], "--json", "--redis", b.store.url))
    codes = [step["code"] for step in other["steps"]]
    assert [code for code in codes if "-by-" not in code and "-at-" not in code] == [
        "received",
        "queued",
        "reply-taken",
        "sealed",
    ]
    await a.push(4711, ref="wrong")
    await a.pop()
    wrong = await until_code(1, "where", "wrong", *redis)
    assert b"unknown twin id '4711'" in wrong.out
    assert (await run_here(main, "where", "never", *redis)).code == 4


@pytest.mark.asyncio(loop_scope="module")
async def test_status_says_whether_it_runs(net: Network) -> None:
    """0 connected, 3 not connected, 1 killed, with what was known last; the depths are live all the same."""
    a, _ = net.sites
    redis = ("--redis", a.store.url)
    ended = await until_code(0, "status", *redis)
    for text in (b"running, heard", b"connected", b"rmb.2", b"takes writes", b"bao engine"):
        assert text in ended.out
    await a.push(a.twin, cmd="rmb.version")
    await a.pop()
    async with asyncio.timeout(PATIENCE_S):
        while (found := objects(await run_here(main, "status", "--json", *redis))[0])["live"]["relays"][0][
            "rtt_ms"
        ] is None:
            await asyncio.sleep(0.05)  # polls what a real process writes
    assert found["live"]["relays"][0]["link"] == "rmb.2"
    assert found["live"]["relays"][0]["rtt_ms"] > 0
    assert found["identity"]["twin"] == str(a.twin)
    await net.relay.kill()
    gone = await until_code(3, "status", "--json", *redis)
    assert objects(gone)[0]["live"]["relays"][0]["last_error"]["text"]
    await a.gateway.kill()
    killed = await until_code(1, "status", *redis)
    assert b"not running, heard" in killed.out
    assert str(a.twin).encode() in killed.out


@pytest.mark.asyncio(loop_scope="module")
async def test_an_orderly_stop_is_seen_at_once(net: Network) -> None:
    """It says that it stopped, before it closes its connections."""
    a, _ = net.sites
    assert await a.gateway.stop() == 0
    ended = await run_here(main, "status", "--json", "--redis", a.store.url)
    assert (ended.code, objects(ended)[0]["live"]["state"]) == (1, "stopped")


async def test_the_port_for_metrics_and_health(tmp_path: Path) -> None:
    """Ready means that a message went to the relay and back and the store takes writes; alive is alive."""
    async with network(tmp_path, (*ED25519, "--http", "127.0.0.1:0")) as net, aiohttp.ClientSession() as http:
        (a,) = net.sites
        address = (await a.gateway.event("http listening"))["address"]
        assert str(address).startswith("127.0.0.1:")

        async def get(path: str) -> tuple[int, str]:
            async with http.get(f"http://{address}{path}") as response:
                return response.status, await response.text()

        async def until(code: int, accept: Callable[[dict[str, Any]], bool] = bool) -> dict[str, Any]:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    status_code, text = await get("/readyz")
                    body: dict[str, Any] = json.loads(text)
                    if status_code == code and accept(body):
                        return body
                    await asyncio.sleep(0.05)  # polls a real process

        ready = await until(200)
        assert ready["ready"] is True
        assert ready["relay_ms"] > 0
        questions = 20
        answers = {(await until(200))["relay_ms"] for _ in range(questions)}
        assert len(answers) < questions, "a probe for each question would be load"
        metrics = (await get("/metrics"))[1]
        for line in (
            f'rmb_gateway_link_up{{relay="{net.relay.url}"}} 1',
            "rmb_gateway_probe_ok 1",
            "rmb_gateway_store_up 1",
        ):
            assert line in metrics.splitlines()
        sealed = re.search(r'^rmb_gateway_messages_total\{event="sealed"\} (\d+)$', metrics, re.MULTILINE)
        assert sealed is not None
        assert 2 <= int(sealed[1]) < 2 * questions  # each probe and its answer
        await a.redis.config_set("maxmemory", 1)
        assert "does not take writes" in (await until(503))["reason"]
        assert (await run_here(main, "status", "--redis", a.store.url)).code == 4
        await a.redis.config_set("maxmemory", 0)
        await until(200)
        assert a.gateway.pid
        os.kill(net.relay.pid, signal.SIGSTOP)
        try:
            body = await until(503)
            assert "messages do not flow" in body["reason"]
            assert (await get("/healthz"))[0] == 200
        finally:
            os.kill(net.relay.pid, signal.SIGCONT)
        await until(200)
        assert (await get("/elsewhere"))[0] == 404


@pytest.mark.asyncio(loop_scope="module")
async def test_a_port_that_is_taken_is_one_clear_line(net: Network) -> None:
    """Exit code 1, and the flag."""
    a, _ = net.sites
    port = net.relay.port
    await a.gateway.stop()
    arguments = ("--relay", net.relay.url, "--redis", a.store.url, "--http", str(port))
    ended = await run_peer(*arguments, env={"RMB_MNEMONIC": "0x" + "11" * 32})
    assert (ended.code, ended.err.count("Traceback")) == (1, 0)
    assert f"cannot listen on 127.0.0.1:{port} for --http" in ended.err


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("9100", "127.0.0.1", 9100),
        (":0", "127.0.0.1", 0),
        ("0.0.0.0:65535", "0.0.0.0", 65535),
        ("[::1]:80", "::1", 80),
        ("localhost:1", "localhost", 1),
    ],
)
def test_addresses(text: str, host: str, port: int) -> None:
    """Loopback unless an address is named."""
    assert parse_address(text) == (host, port)


@pytest.mark.parametrize("text", ["", "x", "1:2:3", "65536", "host:", "host:-1", "a b:1", "[::1]"])
def test_wrong_addresses(text: str) -> None:
    """Named, with what is expected."""
    with pytest.raises(BadRequest, match="HOST:PORT"):
        parse_address(text)


# --- dead letters and queues, without a gateway -----------------------------------------------------------------------


async def bury(redis: Any, **fields: Any) -> str:
    """A dead letter; its id."""
    letter = {"kind": "request", "reason": "why", "raw": b"{}"} | fields
    return str((await redis.xadd(keys.DEAD, letter)).decode())


async def run(main: Callable[[list[str]], int], *arguments: str) -> int:
    """A command in this process, beside the event loop."""
    return await asyncio.to_thread(exit_code, main, list(arguments))


async def test_dead_letters_are_listed_and_shown(
    redis: Redis, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The oldest first; content, reason and where a retry would put it; no control characters reach the terminal."""
    raw = '{"ref":"r\\u001b[2J","cmd":"x"}'
    first = await bury(redis, reason="not \x1b[31mJSON", raw=raw, uid="u1")
    second = await bury(redis, kind="received", raw=b"\xff\xfe", list="msgbus.full")
    assert await run(dead.main, "list", "-r", redis_url) == 0
    out = capsys.readouterr().out
    assert out.index(first) < out.index(second)
    assert "\x1b" not in out
    assert await run(dead.main, "show", first, "-r", redis_url) == 0
    assert "msgbus.system.local" in (out := capsys.readouterr().out)
    assert "\x1b" not in out
    assert await run(dead.main, "show", second, "--json", "-r", redis_url) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["raw"], shown["content"], shown["retry_into"]) == ("//4=", None, "msgbus.full")
    assert await run(dead.main, "list", "--kind", "response", "-r", redis_url) == 0
    assert "no dead letters" in capsys.readouterr().out
    assert await run(dead.main, "show", "1-1", "-r", redis_url) == 1
    assert await run(dead.main, "show", "nonsense", "-r", redis_url) == 1


async def test_a_retry_puts_it_back_and_removes_it(
    redis: Redis, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Into the list it came from or was for; what cannot go back stays, and the exit code says so."""
    await bury(redis, raw=b"1")
    await bury(redis, kind="response", raw=b"2")
    await bury(redis, kind="received", raw=b"3", list="msgbus.x")
    stays = await bury(redis, kind="received", raw=b"4")
    damaged = await bury(redis, kind="record", raw=b"5")
    assert await run(dead.main, "retry", "--all", "-r", redis_url) == 1
    err = capsys.readouterr().err
    assert stays in err
    assert damaged in err
    client: Any = redis
    for name, raw in ((keys.LOCAL_REQUESTS, b"1"), (keys.LOCAL_REPLIES, b"2"), ("msgbus.x", b"3")):
        assert await client.lrange(name, 0, -1) == [raw]
    assert await client.xlen(keys.DEAD) == 2
    assert await run(dead.main, "retry", "1-1", "-r", redis_url) == 1


async def test_a_retry_into_a_full_or_foreign_list_stays(
    redis: Redis, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is lost in between."""
    client: Any = redis
    await client.lpush("msgbus.full", *range(keys.LIST_ENTRIES_MAX))
    await client.set("foreign", "x")
    for name in ("msgbus.full", "foreign"):
        letter = await bury(redis, kind="received", list=name)
        assert await run(dead.main, "retry", letter, "-r", redis_url) == 1
        assert name in capsys.readouterr().err
    assert await client.xlen(keys.DEAD) == 2


async def test_purging(redis: Redis, redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By id, by age, by kind, all; and the number is told."""
    client: Any = redis
    await client.xadd(keys.DEAD, {"kind": "request", "reason": "old", "raw": ""}, id="1000-0")
    for kind in ("request", "response", "response"):
        await bury(redis, kind=kind)
    last = await bury(redis)
    for arguments, left in (
        (["--older-than", "3600"], 4),
        ([last], 3),
        (["--all", "--kind", "response"], 1),
        (["--all"], 0),
    ):
        assert await run(dead.main, "purge", *arguments, "--json", "-r", redis_url) == 0
        assert await client.xlen(keys.DEAD) == left
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert await run(dead.main, "purge", "-r", redis_url) == 2


async def test_queues_with_their_age(redis: Redis, redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Service lists by the oldest request in them; noise has no age; --limit makes an exit code of it."""
    client: Any = redis
    now_s = int((await client.time())[0])
    await client.lpush("msgbus.work", json.dumps({"now": now_s - 600}), b"newer")
    await client.lpush("msgbus.noise", b"\xff")
    await client.lpush("answers.1", b"x")
    assert await run(queues.main, "--json", "-r", redis_url) == 0
    found = {queue["name"]: queue for queue in map(json.loads, capsys.readouterr().out.splitlines())}
    assert found["msgbus.work"]["entries"] == 2
    assert found["msgbus.work"]["oldest_s"] >= 600
    assert found["msgbus.noise"]["oldest_s"] is None
    assert found["answers.1"]["what"] == "answers"
    held = keys.lease_list("w1", "0", "some:work")
    await client.sadd(keys.LEASES, held, "rmb:lease:noise")
    await client.lpush(held, json.dumps({"ref": "u9", "now": now_s - 60}))
    await client.zadd(keys.LATER, {"x": 1})
    assert await run(queues.main, "--json", "-r", redis_url) == 0
    rows = {(queue["name"], queue["what"]): queue for queue in map(json.loads, capsys.readouterr().out.splitlines())}
    assert rows["msgbus.some:work", "in service, leased"]["oldest_s"] >= 60
    assert rows[keys.LATER, "unfinished work that waits for its next try"]["entries"] == 1
    assert await run(queues.main, "--limit", "2", "-r", redis_url) == 0
    assert await run(queues.main, "--limit", "1", "-r", redis_url) == 1
    assert "msgbus.work" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("main", "arguments", "code"),
    [
        (where.main, ["nothing"], 4),
        (status.main, [], 1),
        (status.main, ["--json"], 1),
        (queues.main, [], 0),
        (dead.main, ["list"], 0),
    ],
)
async def test_an_empty_store(
    redis_url: str, main: Callable[[list[str]], int], arguments: list[str], code: int
) -> None:
    """Nothing was ever there: no traceback, and a code that says so."""
    assert await run(main, *arguments, "-r", redis_url) == code


async def test_a_damaged_store_harms_no_command(
    redis: Redis, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Chunks, records, outbox entries and status that are noise are passed over or named."""
    client: Any = redis
    await client.xadd(keys.JOURNAL, {"c": b"\xff\xff"})
    await client.xadd(keys.JOURNAL, {"other": b"1"})
    await client.xadd(keys.OUTBOX, {"q": b"\xff"})
    await client.xadd(keys.OUTBOX, {"?": b"1"})
    await client.xadd(keys.DEAD, {"x": b"\xff"})
    await client.set(keys.BACKLOG_PREFIX + "u", b"\xff")
    await client.zadd(keys.DEADLINES, {"u": 5, b"\xff": 6})
    await client.hset(keys.STATUS, mapping={"twin": b"\xff"})
    for live in (b"\xff", b"[]", b'{"at_s":"x","relays":[1,{"rtt_ms":"y"}]}', b'{"relays":{}}'):
        await client.set(keys.STATUS_LIVE, live)
        assert await run(status.main, "-r", redis_url) == 1
    assert await run(where.main, "u", "-r", redis_url) in (3, 4)
    assert await run(queues.main, "-r", redis_url) == 0
    assert await run(dead.main, "list", "-r", redis_url) == 0
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("command", [["where", "x"], ["status"], ["queues"], ["dead", "list"]])
async def test_no_redis_is_a_code_of_its_own(command: list[str]) -> None:
    """Exit code 5 and one line without the password."""
    ended = await run_peer(*command, "--redis", "redis://user:hidden@127.0.0.1:1/0")
    assert ended.code == 5
    assert ended.err.count("\n") == 1
    assert "hidden" not in ended.err


@pytest.mark.parametrize("command", ["where", "status", "queues", "dead"])
async def test_help_has_examples_and_exit_codes(command: str) -> None:
    """Everything somebody needs who writes a script."""
    ended = await run_peer(command, "--help")
    assert ended.code == 0
    for word in (b"examples:", b"exit codes", b"--json"):
        assert word in ended.out or (command == "dead" and word == b"--json")


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-"), (0.85, "850 ms"), (1, "1 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 d")]
)
def test_lengths_of_time(seconds: float | None, text: str) -> None:
    """In the unit that fits."""
    assert span_text(seconds) == text
