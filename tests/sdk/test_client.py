"""Clients of the SDK against a real Valkey and a gateway by script."""

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from rmb_peer.local import keys
from rmb_peer.sdk import (
    Answer,
    BadAnswer,
    Call,
    CallError,
    Client,
    GatewayError,
    MessageExpired,
    NoAnswer,
    NotTaken,
    Payload,
    RelayError,
    RemoteError,
    StoreUnavailable,
    SyncClient,
    UnknownTwin,
)
from rmb_peer.sdk import client as client_module
from rmb_peer.sdk.asking import CALLS_MAX
from rmb_peer.sdk.calls import DESTINATIONS_MAX
from tests.support.gateway_script import response, scripted_gateway
from tests.support.schemas import faults


def echo(request: dict[str, Any]) -> list[bytes | dict[str, Any]]:
    return [response(request, source=str(twin), shm=request["shm"]) for twin in request["dst"]]


def silent(request: dict[str, Any]) -> list[bytes | dict[str, Any]]:
    return []


async def test_a_call_is_answered_and_nothing_is_left(redis_url: str, redis: Redis) -> None:
    """JSON in, JSON out; the request keeps to the schema."""
    async with scripted_gateway(redis, echo) as seen, Client(redis_url) as client:
        answer = await client.call(7, "calc.add", {"a": "ä"}, timeout_s=9.5, tag="t")
        assert (answer.twin, answer.source, answer.command, answer.json()) == (7, "7", "calc.add", {"a": "ä"})
        assert answer.seconds > 0
        assert (await client.call(7, "x", b"\xff")).payload == b"\xff"
        assert (await client.call(7, "x", Payload(b"<a/>", "text/xml"))).schema == "text/xml"
        assert (await client.call(7, "x")).json() is None
    assert [faults("local_request", request) for request in seen] == [[]] * 4
    assert (seen[0]["exp"], seen[0]["tag"], seen[0]["now"], seen[0]["shm"]) == (10, "t", 0, "application/json")
    assert base64.b64decode(seen[0]["dat"]) == '{"a":"ä"}'.encode()
    assert await redis.keys("*") == []


async def test_many_calls_at_once_find_their_own_answers(redis_url: str, redis: Redis) -> None:
    """One list for all of them; answers in any order."""
    held: list[dict[str, Any]] = []

    def backwards(request: dict[str, Any]) -> list[bytes | dict[str, Any]]:
        held.append(request)
        return [] if len(held) < 50 else [response(r, source="7") for r in reversed(held)]

    async with scripted_gateway(redis, backwards), Client(redis_url) as client:
        answers = await asyncio.gather(*(client.call(7, "x", number) for number in range(50)))
    assert [answer.json() for answer in answers] == list(range(50))


async def test_several_twins_and_commands_with_progress(redis_url: str, redis: Redis) -> None:
    """`call_many` returns every ending and tells of each; failures are values that name their twin."""

    def script(request: dict[str, Any]) -> list[bytes | dict[str, Any]]:
        (twin,) = request["dst"]
        if twin == 9:
            return [response(request, source="", err={"code": 103, "message": "unknown twin id '9'"})]
        return [response(request, source=str(twin))] if request["cmd"] == "a" or twin == 7 else []

    seen: list[tuple[int, int]] = []
    async with scripted_gateway(redis, script), Client(redis_url) as client:
        endings = await client.call_many(
            Call.each([7, 8, 9], ["a", "b"], [1]),
            timeout_s=1.0,
            progress=lambda outcome, done, total: seen.append((done, total)),
        )
    assert seen == [(number, 6) for number in range(1, 7)]
    assert sorted((e.twin, e.command) for e in endings if isinstance(e, Answer)) == [(7, "a"), (7, "b"), (8, "a")]
    failures = [e for e in endings if isinstance(e, CallError)]
    assert sorted((type(e).__name__, e.twin) for e in failures) == [
        ("NoAnswer", 8), ("UnknownTwin", 9), ("UnknownTwin", 9),
    ]  # fmt: skip


async def test_one_request_to_several_twins(redis_url: str, redis: Redis) -> None:
    """Who did not answer is named, unless an error without a name came: then nobody can tell."""
    some: list[str] = ["7"]

    def script(request: dict[str, Any]) -> list[bytes | dict[str, Any]]:
        error = {"code": 0, "message": "destination offline"}
        return [response(request, source=s, err=error if s == "0" else None) for s in some]

    async with scripted_gateway(redis, script) as seen, Client(redis_url) as client:
        endings = await client.call_many([Call([7, 8, 9, 8], "x")], timeout_s=0.5)
        assert [(type(e).__name__, e.twin) for e in endings] == [("Answer", 7), ("NoAnswer", 8), ("NoAnswer", 9)]
        some.append("0")
        endings = await client.call_many([Call([7, 8, 9], "x")], timeout_s=0.5)
        assert [(type(e).__name__, e.twin) for e in endings] == [
            ("Answer", 7), ("RelayError", None), ("NoAnswer", None),
        ]  # fmt: skip
    assert seen[0]["dst"] == [7, 8, 9]


@pytest.mark.parametrize(
    ("source", "code", "kind"),
    [
        ("", 103, UnknownTwin), ("", 500, GatewayError), ("", 102, MessageExpired), ("7", 102, MessageExpired),
        ("0", 0, RelayError), ("7", 103, RemoteError), ("7:web", 255, RemoteError),
    ],
)  # fmt: skip
async def test_errors_are_typed(redis_url: str, redis: Redis, source: str, code: int, kind: type[CallError]) -> None:
    """Code, text, twin and who says so."""

    def script(request: dict[str, Any]) -> list[bytes | dict[str, Any]]:
        return [response(request, source=source, err={"code": code, "message": "why"})]

    async with scripted_gateway(redis, script), Client(redis_url) as client:
        with pytest.raises(kind, match="why") as caught:
            await client.call(7, "x")
    error = caught.value
    assert type(error) is kind
    assert (error.code, error.text, error.twin, error.source) == (code, "why", 7, source)


async def test_a_timeout_leaves_no_list_behind(redis_url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """A late answer is thrown away while the client lives, and has nowhere to go when it is closed."""
    monkeypatch.setattr(client_module, "_LATE_S", 600)  # longer than any machine pauses
    async with scripted_gateway(redis, silent) as seen, Client(redis_url) as client:
        with pytest.raises(NoAnswer) as caught:
            await client.call(7, "x", timeout_s=0.1)
        assert type(caught.value) is NoAnswer
        await redis.lpush(seen[0]["ret"], json.dumps(response(seen[0])))
        async with asyncio.timeout(60):
            while await redis.exists(seen[0]["ret"]):
                await asyncio.sleep(0.01)  # polls what another task does
    (name,) = await redis.keys("*")
    assert (await redis.type(name), name) == (b"string", seen[0]["ret"].encode())
    assert 0 < await redis.ttl(name) <= 601


async def test_without_a_gateway_the_request_is_taken_back(redis_url: str, redis: Redis) -> None:
    """`NotTaken`, and no later gateway sends it; the same when the caller loses interest."""
    async with Client(redis_url) as client:
        with pytest.raises(NotTaken, match="is one running"):
            await client.call(7, "x", timeout_s=0.1)
        call = asyncio.create_task(client.call(7, "x"))
        async with asyncio.timeout(60):
            while not await redis.llen(keys.LOCAL_REQUESTS):
                await asyncio.sleep(0.01)  # polls what another task does
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert await redis.keys("*") == []


async def test_noise_on_the_list(redis_url: str, redis: Redis) -> None:
    """What cannot be read ends the call that it must be about; the rest is thrown away."""

    def script(request: dict[str, Any]) -> list[bytes | dict[str, Any]]:
        if request["cmd"] == "mine":
            return [response(request, dat="*")]
        if request["cmd"] == "noise":
            return [b"\xff"]
        stray = response(request) | {"ref": "nobody's"}
        return [stray, response(request, source="8"), response(request, source="7"), response(request, source="7")]

    async with scripted_gateway(redis, script), Client(redis_url) as client:
        for command in ("mine", "noise"):
            with pytest.raises(BadAnswer, match="an answer that is none"):
                await client.call(7, command)
        assert (await client.call(7, "stray")).twin == 7
        assert (await client.call(7, "stray")).twin == 7


async def test_a_store_that_is_away() -> None:
    """Said at once, without the password."""
    async with Client("redis://me:s3cret@127.0.0.1:1") as client:
        with pytest.raises(StoreUnavailable, match=r"redis://127\.0\.0\.1:1") as caught:
            await client.call(7, "x")
    assert "s3cret" not in str(caught.value)


async def test_limits(redis_url: str, redis: Redis) -> None:
    """At the limit and one beyond."""
    Call(range(1, DESTINATIONS_MAX + 1), "x", b"x" * 16 * 2**20)
    call = Call(1, "x")
    async with Client(redis_url) as client:
        impossible: list[tuple[Callable[[], object], str]] = [
            (lambda: Call(range(1, DESTINATIONS_MAX + 2), "x"), "1001 destinations"),
            (lambda: Call([], "x"), "0 destinations"),
            (lambda: Call(0, "x"), "0 is no twin id"),
            (lambda: Call(2**32, "x"), "is no twin id"),
            (lambda: Call(1, "system.local"), "names a queue"),
            (lambda: Call(1, "x", {1}), "what JSON can hold"),
            (lambda: Call(1, "x", b"x" * (16 * 2**20 + 1)), "is too large"),
            (lambda: Call(1, "x", tag="\ud800"), "surrogates"),
        ]
        for wrong, words in impossible:
            with pytest.raises(ValueError, match=words):
                wrong()
        for calls, timeout_s, words in (
            ([call] * (CALLS_MAX + 1), 1.0, f"more than {CALLS_MAX}"),
            ([call], 0.0, "a timeout is"),
            ([call], 1801.0, "a timeout is"),
            ([Call(1, "x", session="web")], 1.0, "a session cannot be addressed"),
        ):
            with pytest.raises(ValueError, match=words):
                await client.call_many(calls, timeout_s=timeout_s)
        assert await client.call_many([]) == []
    assert await redis.llen(keys.LOCAL_REQUESTS) == 0


async def test_the_blocking_client_does_the_same(redis_url: str, redis: Redis) -> None:
    """Answers, errors as exceptions, and nothing left behind."""

    def use() -> list[Any]:
        with SyncClient(redis_url) as client:
            got: list[Any] = [client.call(7, "x", [1]).json()]
            got += [ending.twin for ending in client.call_many(Call.each([7, 8], "x"))]
            try:
                client.call(7, "x", timeout_s=0)
            except ValueError as error:
                got.append(str(error)[:9])
        client.close()
        try:
            client.call(7, "x")
        except ValueError as error:
            got.append(str(error))
        return got

    async with scripted_gateway(redis, echo):
        got = await asyncio.to_thread(use)
    assert got == [[1], 7, 8, "a timeout", "this client is closed"]
    assert await redis.keys("*") == []


async def test_silence_told_by_the_gateway_is_no_answer(redis_url: str, redis: Redis) -> None:
    """Its error 504 means the same as a wait that is over; a service's own 504 is the service's."""
    silence = {"code": 504, "message": "no answer from twin 7 within 60 s"}
    for source, kind in (("", NoAnswer), ("7", RemoteError)):

        def script(request: dict[str, Any], source: str = source) -> list[bytes | dict[str, Any]]:
            return [response(request, source=source, err=silence, dat="")]

        async with scripted_gateway(redis, script), Client(redis_url) as client:
            with pytest.raises(kind, match="no answer from twin 7"):
                await client.call(7, "x", timeout_s=30)
