"""A request crosses gateways and a relay of the existing protocol, and its answer comes back."""

import base64
import time
from typing import Any

import pytest

from rmb_peer.protocol.signatures import KeyType
from rmb_peer.registry.memory import MemoryRegistry
from tests.support.direct_peer import direct_peer
from tests.support.gateways import running_node, two_nodes
from tests.support.scripted_relay import scripted_relay


def payload(message: dict[str, Any]) -> bytes:
    return base64.b64decode(message["dat"])


@pytest.mark.parametrize("key_types", [("sr25519", "ed25519"), ("ed25519", "sr25519")])
async def test_encrypted_to_encrypted(key_types: tuple[KeyType, KeyType]) -> None:
    """Request and answer between two gateways are sealed, complete, and leave nothing behind (C 17)."""
    async with scripted_relay() as relay, two_nodes(relay.url, *key_types) as (a, b):
        a.request(b.twin.id, tag="t", dat=base64.b64encode(b"ping").decode())
        request = await b.popped("msgbus.test.echo")
        assert list(request) == ["ver", "ref", "src", "cmd", "exp", "dat", "tag", "ret", "shm", "now"]
        assert (request["src"], request["cmd"], request["tag"]) == (str(a.twin.id), "test.echo", "t")
        assert (request["ret"], payload(request)) == ("msgbus.system.reply", b"ping")
        b.respond(request, b"pong")
        response = await a.popped("my-ret")
        assert list(response) == ["ver", "ref", "dat", "src", "shm", "now", "err"]
        assert (response["ref"], response["src"], response["err"]) == ("my-ref", str(b.twin.id), None)
        assert payload(response) == b"pong"
        await a.until_idle()
        await b.until_idle()
        assert not a.memory.outbox
        assert not b.memory.outbox
        assert [envelope.WhichOneof("payload") for envelope in relay.received] == ["cipher", "cipher"]


async def test_encrypted_to_plain() -> None:
    """A gateway asks a peer that publishes no key: both payloads travel in clear (C 17)."""
    registry = MemoryRegistry()
    async with (
        scripted_relay() as relay,
        running_node(registry, [relay.url]) as a,
        direct_peer(registry, relay.url) as peer,
    ):
        a.request(peer.twin.id)
        request = await peer.receive()
        assert request.plain == b"hello"
        await peer.send(peer.response(request, b'"plain"'))
        assert payload(await a.popped("my-ret")) == b'"plain"'


async def test_plain_to_encrypted() -> None:
    """A gateway accepts a plain request although it publishes a key, and answers in clear (C 17)."""
    registry = MemoryRegistry()
    async with (
        scripted_relay() as relay,
        running_node(registry, [relay.url]) as b,
        direct_peer(registry, relay.url) as peer,
    ):
        await peer.send(peer.request(b.twin.id, "test.echo", b"1"))
        request = await b.popped("msgbus.test.echo")
        assert payload(request) == b"1"
        b.respond(request, b"2")
        response = await peer.receive()
        assert (response.WhichOneof("message"), response.plain) == ("response", b"2")


@pytest.mark.parametrize("session", [None, "", "js-1"])
async def test_a_responder_echoes_the_session_of_the_requester(session: str | None) -> None:
    """`src` names the session, and `dst` with that value reaches it: absent, empty and chosen ids differ (C 14)."""
    registry = MemoryRegistry()
    async with (
        scripted_relay() as relay,
        running_node(registry, [relay.url]) as b,
        direct_peer(registry, relay.url, session=session, encrypted=True) as peer,
    ):
        await peer.send(peer.request(b.twin.id, "test.echo", b"1"))
        request = await b.popped("msgbus.test.echo")
        assert request["src"] == (str(peer.twin.id) if session is None else f"{peer.twin.id}:{session}")
        b.respond(request)
        response = await peer.receive()
        assert response.destination.HasField("connection") == (session is not None)
        assert response.destination.connection == (session or "")
        assert response.WhichOneof("payload") == "cipher"


async def test_several_destinations_share_one_uid() -> None:
    """One request to three twins is three envelopes with one uid, and three answers come back (spec rmb 1)."""
    registry = MemoryRegistry()
    async with (
        scripted_relay() as relay,
        running_node(registry, [relay.url]) as a,
        running_node(registry, [relay.url]) as b,
        running_node(registry, [relay.url]) as c,
    ):
        a.request(b.twin.id, c.twin.id, a.twin.id)
        for node in (a, b, c):
            node.respond(await node.popped("msgbus.test.echo"), str(node.twin.id).encode())
        answers = [await a.popped("my-ret") for _ in range(3)]
        assert {answer["src"] for answer in answers} == {str(node.twin.id) for node in (a, b, c)}
        assert len({envelope.uid for envelope in relay.received}) == 1


@pytest.mark.parametrize("ref", [None, "", "x", ..., 'ü\n"\\'])
async def test_the_reference_comes_back_as_it_was(ref: Any) -> None:
    """Null, empty, missing and any text: it stays here and is given back with the answer (C 13)."""
    async with scripted_relay() as relay, two_nodes(relay.url) as (a, b):
        a.request(b.twin.id, ref=ref, tag=..., shm=...)
        request = await b.popped("msgbus.test.echo")
        assert (request["tag"], request["shm"]) == (None, None)
        b.respond(request, shm=...)
        answer = await a.popped("my-ret")
        assert answer["ref"] == (None if ref is ... else ref)
        assert answer["shm"] is None


@pytest.mark.parametrize("offset_s", ["zero", -100, 100])
async def test_the_time_of_an_answer(offset_s: Any) -> None:
    """`now` 0 means now, an old one shortens the life of the answer, a future one is pulled back (C 14)."""
    async with scripted_relay() as relay, two_nodes(relay.url) as (a, b):
        a.request(b.twin.id)
        before_s = int(time.time())
        now_s = 0 if offset_s == "zero" else before_s + offset_s
        b.respond(await b.popped("msgbus.test.echo"), now=now_s)
        assert (await a.popped("my-ret"))["err"] is None
        answer = relay.received[-1]
        assert before_s <= answer.timestamp <= time.time()
        expected_s = 1800 + min(0, offset_s) if offset_s != "zero" else 1800
        assert expected_s - 5 <= answer.expiration <= expected_s


async def test_an_error_of_a_service_reaches_the_client() -> None:
    """Code and text as the service gave them, without its payload (C 14)."""
    async with scripted_relay() as relay, two_nodes(relay.url) as (a, b):
        a.request(b.twin.id)
        b.respond(await b.popped("msgbus.test.echo"), dat="!", err={"code": 255, "message": "no such file"})
        answer = await a.popped("my-ret")
        assert (answer["err"], answer["dat"]) == ({"code": 255, "message": "no such file"}, "")
        assert len(relay.received[-1].cipher) == 28
