"""Services of the SDK against a real Valkey."""

import asyncio
import json
import os
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from rmb_peer.embedded.valkey import EmbeddedValkey
from rmb_peer.local import keys
from rmb_peer.sdk import Payload, Request, Service, ServiceError, leasing
from rmb_peer.sdk.handling import COMMANDS_MAX, CONCURRENCY_MAX
from tests.support.requests import answered, entry, value
from tests.support.schemas import faults


@asynccontextmanager
async def serving(service: Service) -> AsyncIterator[asyncio.Task[None]]:
    """A service that runs, and is stopped in order at the end."""
    task = asyncio.create_task(service.serve())
    try:
        yield task
    finally:
        service.stop()
        await asyncio.wait_for(task, 60)


async def ask(redis: Redis, payload: bytes = b"", **fields: Any) -> dict[str, Any]:
    raw = entry(payload, **fields)
    await redis.lpush(keys.command_list(json.loads(raw)["cmd"]), raw)
    answer = await answered(redis)
    assert faults("outgoing_response", answer) == []
    return answer


async def test_handlers_answer(redis_url: str, redis: Redis) -> None:
    """Async and plain functions, JSON and bytes, several commands; the request says who asks and what."""
    service = Service(redis_url)
    seen: list[Request] = []

    @service.command("x")
    async def add(request: Request) -> int:
        seen.append(request)
        return int(sum(request.json()))

    @service.command("calc.thread")
    def in_a_thread(request: Request) -> list[Any]:
        return [request.text(), threading.current_thread() is threading.main_thread()]

    @service.command("calc.bytes")
    def some_bytes(request: Request) -> bytes:
        return request.payload[::-1]

    @service.command("calc.typed")
    async def typed(request: Request) -> Payload:
        return Payload(b"<a/>", "text/xml")

    @service.command("calc.nothing")
    async def nothing(request: Request) -> None:
        return None

    async with serving(service):
        assert value(await ask(redis, b"[1,2]", tag="t")) == 3
        assert value(await ask(redis, "ä".encode(), cmd="calc.thread")) == ["ä", False]
        answer = await ask(redis, b"\x00\x01", cmd="calc.bytes")
        assert (answer["dat"], answer["shm"]) == ("AQA=", "application/octet-stream")
        assert (await ask(redis, cmd="calc.typed"))["shm"] == "text/xml"
        assert value(await ask(redis, cmd="calc.nothing")) is None
    (request,) = seen
    assert (request.source, request.twin, request.command, request.uid) == ("7:web", 7, "x", "u-1")
    assert (request.tag, request.schema, request.payload) == ("t", "application/json", b"[1,2]")
    assert request.ends_at_s == json.loads(entry())["now"] + 600


async def test_errors_of_a_handler_become_error_answers(redis_url: str, redis: Redis) -> None:
    """Its own code and text; whatever else it raises says its kind and nothing of its text."""
    service = Service(redis_url)

    @service.command("x")
    async def fail(request: Request) -> object:
        match request.text():
            case "own":
                raise ServiceError(4242, "no")
            case "bug":
                raise KeyError("a secret")
            case "timeout":
                raise TimeoutError
            case "cancelled":
                raise asyncio.CancelledError
            case "set":
                return {1}
            case "text":
                raise ServiceError(1, "\ud800")
            case "schema":
                return Payload(b"", "\ud800")
            case "long":
                raise ServiceError(1, "x" * 5000)
            case "large":
                return os.urandom(16 * 2**20 + 1)
            case _:
                return request.json()

    async with serving(service):
        assert (await ask(redis, b"own"))["err"] == {"code": 4242, "message": "no"}
        assert (await ask(redis, b"bug"))["err"] == {"code": 500, "message": "the service failed: KeyError"}
        assert (await ask(redis, b"timeout"))["err"] == {"code": 500, "message": "the service failed: TimeoutError"}
        assert (await ask(redis, b"cancelled"))["err"]["code"] == 500
        assert (await ask(redis, b"set"))["err"] == {"code": 500, "message": "the service failed: ValueError"}
        for unwritable in (b"large", b"text", b"schema"):
            assert (await ask(redis, unwritable))["err"]["code"] == 500
        assert (await ask(redis, b"long"))["err"]["message"] == "x" * 4096
        assert (await ask(redis, b"{"))["err"]["code"] == 400
        assert (await ask(redis, b"\xff"))["err"] == {"code": 400, "message": "the payload is not UTF-8"}
        assert value(await ask(redis, b"7")) == 7  # and it goes on


async def test_a_handler_that_takes_too_long_is_cut_short(redis_url: str, redis: Redis) -> None:
    """`timeout_s` gives error 504."""
    service = Service(redis_url)
    service.add("x", lambda request: time.sleep(0.3), timeout_s=0.01)

    async def forever(request: Request) -> None:
        await asyncio.Event().wait()

    service.add("y", forever, timeout_s=0.01)
    async with serving(service):
        for command in ("x", "y"):
            assert (await ask(redis, cmd=command))["err"] == {"code": 504, "message": "the service took too long"}


async def test_concurrency_is_what_was_asked_for(redis_url: str, redis: Redis) -> None:
    """Three run at the same time and not four; the fourth comes when one has ended."""
    service = Service(redis_url)
    inside, most = 0, 0
    three, go = asyncio.Event(), asyncio.Event()

    @service.command("x", concurrency=3)
    async def meet(request: Request) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        if inside == 3:
            three.set()
        await go.wait()
        inside -= 1

    for number in range(7):
        await redis.lpush("msgbus.x", entry(ref=f"u-{number}"))
    async with serving(service):
        await asyncio.wait_for(three.wait(), 60)
        assert await redis.llen("msgbus.x") == 4
        go.set()
        assert {(await answered(redis))["ref"] for _ in range(7)} == {f"u-{number}" for number in range(7)}
    assert most == 3


async def test_stopping_finishes_what_is_in_hand_and_leaves_no_trace(redis_url: str, redis: Redis) -> None:
    """The request in hand is answered, the next one stays, and no lease key is left."""
    service = Service(redis_url)
    began, go = asyncio.Event(), asyncio.Event()

    @service.command("x")
    async def wait(request: Request) -> str:
        began.set()
        await go.wait()
        return request.uid

    await redis.lpush("msgbus.x", entry())
    await redis.lpush("msgbus.x", entry(ref="u-2"))
    async with serving(service):
        await asyncio.wait_for(began.wait(), 60)
        service.stop()
        go.set()
    assert value(await answered(redis)) == "u-1"
    assert await redis.llen("msgbus.x") == 1
    assert await redis.keys("rmb:*") == [keys.RETRIES.encode()]


async def test_aborting_answers_503_and_cancelling_gives_work_back(redis_url: str, redis: Redis) -> None:
    """`abort` tells who asked; cancelling `serve` leaves the request to others, at once."""
    for how in ("abort", "cancel"):
        service = Service(redis_url)
        began = asyncio.Event()

        @service.command("x")
        async def wait(request: Request, began: asyncio.Event = began) -> None:
            began.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(service.serve())
        await redis.lpush("msgbus.x", entry(ref=how))
        await asyncio.wait_for(began.wait(), 60)
        if how == "abort":
            service.abort()
            await asyncio.wait_for(task, 60)
            assert (await answered(redis))["err"] == {"code": 503, "message": "the service was stopped"}
        else:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            (name,) = await redis.keys(keys.LEASE_PREFIX + "*")
            assert await redis.lrange(name, 0, -1) == [entry(ref=how)]
            assert await redis.keys(keys.ALIVE_PREFIX + "*") == []


async def test_entries_that_are_no_request(redis_url: str, redis: Redis) -> None:
    """Whoever can be told is told; what says nothing of its asker becomes a dead letter."""
    service = Service(redis_url)
    service.add("x", lambda request: "ok")
    async with serving(service):
        await redis.lpush("msgbus.x", b"noise", entry(src="nobody"))
        assert (await ask(redis, dat="*"))["err"]["code"] == 400
        assert (await ask(redis, now=1000))["err"]["code"] == 102
        assert value(await ask(redis)) == "ok"
        letters: Any = await redis.xrange(keys.DEAD)
    assert letters[1][1][b"raw"] == entry(src="nobody")
    letter = letters[0][1]
    assert (letter[b"raw"], letter[b"kind"], letter[b"list"]) == (b"noise", b"unfinished", b"msgbus.x")


async def test_an_entry_whose_arrival_was_not_heard_of_is_worked_on(redis_url: str, redis: Redis) -> None:
    """When the connection breaks while the answer to a move is under way, the entry is in our lease list."""
    service = Service(redis_url)
    service.add("x", lambda request: request.uid)
    async with serving(service):
        assert value(await ask(redis, ref="first")) == "first"
        async with asyncio.timeout(60):
            while not (waiting := [c for c in await redis.client_list() if c["cmd"] == "blmove"]):
                await asyncio.sleep(0.01)  # polls the server
        (name,) = await redis.smembers(keys.LEASES)
        async with redis.pipeline(transaction=True) as pipe:
            pipe.lpush(name, entry(ref="unheard"))
            pipe.client_kill_filter(_id=waiting[0]["id"])
            await pipe.execute()
        assert value(await answered(redis)) == "unheard"


async def test_redis_may_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that was made meanwhile is pushed afterwards, once; a stop still wakes the workers."""
    monkeypatch.setattr(leasing, "TAKE_S_MAX", 10_000)  # a worker that nobody wakes waits for so long
    server = await EmbeddedValkey.start(tmp_path, port=0, fsync="always")
    port = server.port
    service = Service(server.url)
    began, go = asyncio.Event(), asyncio.Event()

    @service.command("x")
    async def wait(request: Request) -> str:
        began.set()
        await go.wait()
        return request.uid

    async with serving(service):
        redis = Redis.from_url(server.url, socket_timeout=None)
        await redis.lpush("msgbus.x", entry())
        await asyncio.wait_for(began.wait(), 60)
        await redis.aclose()
        await server.stop()
        go.set()
        server = await EmbeddedValkey.start(tmp_path, port=port, fsync="always")
        redis = Redis.from_url(server.url, socket_timeout=None)
        assert value(await answered(redis)) == "u-1"
        assert value(await ask(redis, ref="u-2")) == "u-2"
        assert await redis.llen(keys.LOCAL_REPLIES) == 0
    await redis.aclose()
    await server.stop()


def test_wrong_settings_are_explained() -> None:
    """At each limit, and one beyond."""
    service = Service("redis://localhost", lease_s=1, retries=100)
    service.add("a", print, concurrency=CONCURRENCY_MAX)
    for wrong, words in (
        (lambda: service.add("a", print), "has a handler already"),
        (lambda: service.add("b", print, concurrency=CONCURRENCY_MAX + 1), "concurrency is a number"),
        (lambda: service.add("b", print, concurrency=0), "concurrency is a number"),
        (lambda: service.add("b", print, timeout_s=0), "a timeout is"),
        (lambda: service.add("b", print, retries=101), "tried again 0 to 100"),
        (lambda: service.add("system.local", print), "names a queue"),
        (lambda: service.add("rmb.version", print), "answered by the gateway itself"),
        (lambda: Service(lease_s=0.5), "a lease lasts"),
        (lambda: ServiceError(2**32, ""), "an error code is"),
        (lambda: asyncio.run(Service("redis://localhost").serve()), "at least one command"),
    ):
        with pytest.raises(ValueError, match=words):
            wrong()
    for number in range(COMMANDS_MAX - 1):
        service.add(f"c{number}", print)
    with pytest.raises(ValueError, match=f"at most {COMMANDS_MAX} commands"):
        service.add("one.more", print)
