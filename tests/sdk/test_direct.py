"""Direct clients against relays, gateways and peers that are not ours."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rmb_peer.protocol.address import Address
from rmb_peer.protocol.envelope import Envelope, relay_error
from rmb_peer.registry.memory import MemoryRegistry
from rmb_peer.sdk import (
    Call,
    DirectClient,
    MessageExpired,
    NoAnswer,
    RelayError,
    RelayUnavailable,
    RemoteError,
    Request,
    ServiceError,
    UnknownTwin,
)
from rmb_peer.sdk import direct as module
from tests.support.direct_peer import direct_peer
from tests.support.gateways import new_identity, running_node
from tests.support.relay import until
from tests.support.scripted_relay import ScriptedRelay, scripted_relay


def make(registry: MemoryRegistry, relay: ScriptedRelay, **options: Any) -> DirectClient:
    return DirectClient(new_identity("sr25519"), [relay.url], registry=registry, register=True, **options)


@asynccontextmanager
async def two() -> AsyncIterator[tuple[ScriptedRelay, DirectClient, DirectClient]]:
    """A relay, and two clients that have no commands yet."""
    registry = MemoryRegistry()
    async with scripted_relay() as relay, make(registry, relay) as a, make(registry, relay) as b:
        yield relay, a, b


def twin_of(client: DirectClient) -> int:
    assert client.twin is not None
    return client.twin.id


async def test_two_direct_clients_ask_each_other() -> None:
    """Sealed and signed, from session to session; JSON and bytes; a plain function runs in a thread."""
    async with two() as (relay, a, b):
        seen: list[Request] = []

        @b.command("calc.add")
        async def add(request: Request) -> int:
            seen.append(request)
            return int(sum(request.json()))

        b.command("bytes")(lambda request: request.payload[::-1])
        call = Call(twin_of(b), "calc.add", [1, 2], session=b.session, tag="t")
        (answer,) = await a.call_many([call], timeout_s=60)
        assert not isinstance(answer, Exception)
        assert (answer.json(), answer.source) == (3, f"{twin_of(b)}:{b.session}")
        (raw,) = await a.call_many([Call(twin_of(b), "bytes", b"\x00\x01", session=b.session)], timeout_s=60)
        assert not isinstance(raw, Exception)
        assert (raw.payload, raw.schema) == (b"\x01\x00", "application/octet-stream")
        assert (seen[0].source, seen[0].tag) == (f"{twin_of(a)}:{a.session}", "t")
        assert {e.WhichOneof("payload") for e in relay.received} == {"cipher"}
        assert all(len(e.once) == 16 for e in relay.received)


async def test_a_gateway_is_asked_and_asks() -> None:
    """Its services answer to our session, and it hears our answers."""
    registry = MemoryRegistry()
    async with scripted_relay() as relay, running_node(registry, [relay.url]) as node:
        client = make(registry, relay, session="web")
        client.command("test.echo")(lambda request: request.payload)
        async with client:
            call = asyncio.create_task(client.call(node.twin.id, "x", b'"hi"', timeout_s=60))
            request = await node.popped("msgbus.x")
            assert request["src"] == f"{twin_of(client)}:web"
            node.respond(request, b'"there"')
            assert (await call).json() == "there"
            version = await client.call(node.twin.id, "rmb.version", timeout_s=60)
            assert isinstance(version.json(), str)


async def test_peers_without_keys_are_asked_in_clear() -> None:
    """As in the Go and TypeScript SDKs, an answer may come unsealed."""
    registry = MemoryRegistry()
    async with (
        scripted_relay() as relay,
        direct_peer(registry, relay.url) as peer,
        make(registry, relay) as client,
    ):
        call = asyncio.create_task(client.call(peer.twin.id, "x", [1], timeout_s=60))
        request = await peer.receive()
        assert request.plain == b"[1]"
        await peer.send(peer.response(request, b'"plain"'))
        assert (await call).json() == "plain"


async def test_what_cannot_be_answered_is_answered_with_an_error() -> None:
    """Unknown commands, failing handlers, `rmb.` commands; unknown twins at once."""
    async with two() as (_, a, b):

        @b.command("fail")
        async def fail(request: Request) -> None:
            raise ServiceError(77, "no")

        async def error_of(command: str) -> tuple[int, str]:
            (outcome,) = await a.call_many([Call(twin_of(b), command, session=b.session)], timeout_s=60)
            assert isinstance(outcome, RemoteError)
            assert outcome.twin == twin_of(b)
            return outcome.code, outcome.text

        assert await error_of("fail") == (77, "no")
        assert await error_of("nothing") == (404, "unknown command 'nothing'")
        assert (await error_of("rmb.nothing"))[0] == 404
        (version,) = await a.call_many([Call(twin_of(b), "rmb.version", session=b.session)], timeout_s=60)
        assert not isinstance(version, Exception)
        with pytest.raises(UnknownTwin) as caught:
            await a.call(4711, "x")
        assert caught.value.twin == 4711


async def test_silence_relays_and_forgers() -> None:
    """Nobody's answer counts but that of who was asked; an unsigned error of the relay counts for a uid that waits."""
    async with two() as (relay, a, b):
        relay.swallow = lambda envelope: True
        with pytest.raises(NoAnswer):
            await a.call(twin_of(b), "x", timeout_s=0.05)

        def forged(uid: str, source: int, **fields: Any) -> Envelope:
            envelope = Envelope(uid=uid, timestamp=int(time.time()), expiration=60, plain=b'"forged"', **fields)
            Address(source).write_to(envelope.source)
            Address(twin_of(a), a.session).write_to(envelope.destination)
            envelope.response.SetInParent()
            return envelope

        call = asyncio.create_task(a.call(twin_of(b), "x", timeout_s=60))
        await relay.until(lambda: len(relay.received) == 2)
        uid = relay.received[-1].uid
        await relay.deliver(twin_of(a), forged(uid, twin_of(b)))
        await relay.deliver(twin_of(a), forged(uid, twin_of(b), signature=b"e" + bytes(64)))
        await relay.deliver(twin_of(a), forged(uid, 0))
        await relay.deliver(twin_of(a), relay_error("another", "offline", int(time.time()), None))
        owner = Address(twin_of(a), a.session)
        await relay.deliver(twin_of(a), relay_error(uid, "destination offline", int(time.time()), owner))
        with pytest.raises(RelayError, match="destination offline"):
            await call


async def test_a_request_that_comes_twice_is_handled_once() -> None:
    """A replay, and an honest repeat of a relay."""
    async with two() as (relay, a, b):
        seen: list[str] = []

        @b.command("x")
        async def count(request: Request) -> None:
            seen.append(request.uid)

        for _ in range(2):
            await a.call_many([Call(twin_of(b), "x", session=b.session)], timeout_s=60)
            request = next(e for e in relay.received if e.WhichOneof("message") == "request")
            await relay.deliver(twin_of(b), request)
        await a.call_many([Call(twin_of(b), "x", session=b.session)], timeout_s=60)
        assert len(seen) == len(set(seen)) == 3


async def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit a request is refused with code 429, and its sender may come again."""
    monkeypatch.setattr(module, "HANDLING_MAX", 2)
    async with two() as (_, a, b):
        go = asyncio.Event()

        @b.command("x")
        async def wait(request: Request) -> None:
            await go.wait()

        def call() -> Any:
            return a.call_many([Call(twin_of(b), "x", session=b.session)], timeout_s=60)

        first = [asyncio.create_task(call()) for _ in range(2)]
        await until(lambda: b._handling == 2, 60)
        (refused,) = await call()
        assert isinstance(refused, RemoteError)
        assert refused.code == 429
        go.set()
        for (outcome,) in await asyncio.gather(*first):
            assert not isinstance(outcome, Exception)
        (fine,) = await call()
        assert not isinstance(fine, Exception)


async def test_expired_requests_are_refused() -> None:
    """A request whose life is over is answered with error 102."""
    registry = MemoryRegistry()
    async with scripted_relay() as relay, direct_peer(registry, relay.url) as peer, make(registry, relay) as client:
        late = peer.draft(twin_of(client), client.session, plain=b"", timestamp=1000)
        late.request.command = "x"
        await peer.send(peer.sign(late))
        reply = await peer.receive()
        assert (reply.uid, reply.error.code) == (late.uid, MessageExpired.default_code)


async def test_it_connects_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that was away carries what was asked meanwhile."""
    async with two() as (relay, a, b):
        b.command("x")(lambda request: "ok")
        await relay.stop()
        call = asyncio.create_task(a.call_many([Call(twin_of(b), "x", session=b.session)], timeout_s=60))
        await relay.start()
        (outcome,) = await call
        assert not isinstance(outcome, Exception)


async def test_what_hinders_connecting_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """No twin with this key, no relay; and who never connected cannot ask."""
    monkeypatch.setattr(module, "CONNECT_S_MAX", 0.3)
    registry = MemoryRegistry()
    unknown = DirectClient(new_identity(), ["ws://127.0.0.1:1"], registry=registry)
    with pytest.raises(RelayUnavailable, match="register=True"):
        await unknown.__aenter__()
    with pytest.raises(RelayUnavailable, match="not connected"):
        await unknown.call(1, "x")
    lonely = DirectClient(new_identity(), ["ws://127.0.0.1:1"], registry=registry, register=True)
    with pytest.raises(RelayUnavailable, match=r"no answer within 0\.3 s"):
        await lonely.__aenter__()


async def test_an_error_of_the_user_passes_through() -> None:
    """What is raised inside the block is what comes out of it."""
    with pytest.raises(KeyError):
        async with two():
            raise KeyError


def test_wrong_settings_are_explained() -> None:
    """Bad secrets, URLs and session ids are `ValueError`s without any part of the secret."""
    secret = "0x" + "11" * 32
    mistakes: list[tuple[Callable[[], object], str]] = [
        (lambda: DirectClient("no such words", ["ws://h"]), "mnemonic"),
        (lambda: DirectClient(secret, []), "1 to 4 relays"),
        (lambda: DirectClient(secret, ["ws://h"] * 5), "1 to 4 relays"),
        (lambda: DirectClient(secret, ["http://h"]), "not a relay URL"),
        (lambda: DirectClient(secret, ["ws://h"], session="s" * 65), "session id"),
    ]
    for wrong, words in mistakes:
        with pytest.raises(ValueError, match=words) as caught:
            wrong()
        assert "such" not in str(caught.value)
    DirectClient(secret, ["ws://h"], session="s" * 64)
