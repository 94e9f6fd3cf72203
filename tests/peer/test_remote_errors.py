"""What happens to envelopes that must not be believed, and what their senders hear (C 16, 18, 19; spec rmb 2.5)."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from rmb_peer import downstream
from rmb_peer.arrivals import CLOCK_SKEW_S_MAX, LIFETIME_S_ACCEPTED
from rmb_peer.local import keys
from rmb_peer.local.queues import Delivery, Outcome
from rmb_peer.protocol.challenge import challenge
from rmb_peer.protocol.lifetime import LIFETIME_S_MAX
from rmb_peer.protocol.pb.envelope_pb2 import Envelope
from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.memory import MemoryRegistry
from rmb_peer.workers.pool import Workers
from tests.support.direct_peer import DirectPeer, direct_peer
from tests.support.gateways import Node, new_identity, running_node
from tests.support.scripted_relay import ScriptedRelay, scripted_relay
from tests.support.workers import running


@dataclass
class Scene:
    """A gateway, a peer that talks to it without a gateway, and their relay."""

    relay: ScriptedRelay
    node: Node
    peer: DirectPeer
    registry: MemoryRegistry

    async def nothing_reached_a_service(self) -> None:
        """Prove it by a request that does: everything before it has been handled by then."""
        await self.peer.send(self.peer.request(self.node.twin.id, "test.marker", b"1"))
        await self.node.popped("msgbus.test.marker")
        assert not any(name.startswith("msgbus.") and items for name, items in self.node.memory.lists.items())


@asynccontextmanager
async def scene(*, encrypted: bool = True, workers: int = 0) -> AsyncIterator[Scene]:
    registry, identity = MemoryRegistry(), new_identity()
    async with (
        scripted_relay() as relay,
        running(Workers(workers, identity)) as helpers,
        running_node(registry, [relay.url], identity=identity, workers=helpers if workers else None) as node,
        direct_peer(registry, relay.url, encrypted=encrypted) as peer,
    ):
        yield Scene(relay, node, peer, registry)


def expired(s: Scene) -> Envelope:
    return s.peer.request(s.node.twin.id, "test.echo", b"1", timestamp=int(time.time()) - 100, expiration=50)


def unsigned(s: Scene) -> Envelope:
    envelope = s.peer.request(s.node.twin.id, "test.echo", b"1")
    envelope.ClearField("signature")
    return envelope


def short_signature(s: Scene) -> Envelope:
    envelope = s.peer.request(s.node.twin.id, "test.echo", b"1")
    envelope.signature = b"e123"
    return envelope


def foreign_type(s: Scene) -> Envelope:
    envelope = s.peer.request(s.node.twin.id, "test.echo", b"1")
    envelope.signature = b"x" + envelope.signature[1:]
    return envelope


def changed(s: Scene) -> Envelope:
    envelope = s.peer.request(s.node.twin.id, "test.echo", b"1")
    envelope.plain = b"2"
    return envelope


def as_sr25519(s: Scene) -> Envelope:
    envelope = s.peer.request(s.node.twin.id, "test.echo", b"1")
    envelope.signature = b"s" + envelope.signature[1:]
    return envelope


def bad_cipher(s: Scene) -> Envelope:
    envelope = s.peer.draft(s.node.twin.id, cipher=bytes(40))
    envelope.request.command = "test.echo"
    return s.peer.sign(envelope)


def short_cipher(s: Scene) -> Envelope:
    envelope = s.peer.draft(s.node.twin.id, cipher=bytes(5))
    envelope.request.command = "test.echo"
    return s.peer.sign(envelope)


def system_local(s: Scene) -> Envelope:
    return s.peer.request(s.node.twin.id, "system.local", b"1")


def system_reply(s: Scene) -> Envelope:
    return s.peer.request(s.node.twin.id, "system.reply", b"1")


def backlog_x(s: Scene) -> Envelope:
    return s.peer.request(s.node.twin.id, "backlog.x", b"1")


def empty_command(s: Scene) -> Envelope:
    return s.peer.request(s.node.twin.id, "", b"1")


def unknown_built_in(s: Scene) -> Envelope:
    return s.peer.request(s.node.twin.id, "rmb.unknown", b"1")


def far_future(s: Scene) -> Envelope:
    return s.peer.request(s.node.twin.id, "test.echo", b"1", timestamp=int(time.time()) + CLOCK_SKEW_S_MAX + 60)


def long_life(s: Scene) -> Envelope:
    return s.peer.request(s.node.twin.id, "test.echo", b"1", expiration=LIFETIME_S_ACCEPTED + 60)


REFUSED_REQUESTS: list[tuple[Callable[[Scene], Envelope], int, str]] = [
    (expired, 102, "envelope validation error: message has expired"),
    (far_future, 102, "envelope validation error: timestamp is "),
    (long_life, 102, "envelope validation error: lifetime of "),
    (unsigned, 104, "invalid envelope signature: message is not signed"),
    (short_signature, 104, "invalid envelope signature: invalid signature length, expected: 65, found: 4"),
    (foreign_type, 104, "invalid envelope signature: invalid signature type (expected either sr25519 or ed25519)"),
    (changed, 104, "invalid envelope signature: ed25519 signature verification failed"),
    (as_sr25519, 104, "invalid envelope signature: sr25519 signature verification failed"),
    (bad_cipher, 106, "e2e error: invalid cipher data"),
    (short_cipher, 106, "e2e error: invalid cipher data"),
    (system_local, 403, "command refused: 'system.local' names a queue of the gateway itself"),
    (system_reply, 403, "command refused: 'system.reply' names a queue of the gateway itself"),
    (backlog_x, 403, "command refused: 'backlog.x' names a queue of the gateway itself"),
    (empty_command, 403, "command refused: it is empty"),
    (unknown_built_in, 404, "unknown command 'rmb.unknown': this gateway offers rmb.version"),
]


@pytest.mark.parametrize(("make", "code", "text"), REFUSED_REQUESTS, ids=lambda value: getattr(value, "__name__", None))
async def test_refused_requests_are_answered(make: Callable[[Scene], Envelope], code: int, text: str) -> None:
    """Code and text come back signed, with a 28-byte cipher for a requester with a key (C 16, 17, 19)."""
    async with scene() as s:
        request = make(s)
        await s.peer.send(request)
        answer = await s.peer.receive()
        assert (answer.uid, answer.WhichOneof("message")) == (request.uid, "error")
        assert (answer.error.code, answer.error.message[: len(text)]) == (code, text)
        assert (answer.source.twin, answer.destination.twin) == (s.node.twin.id, s.peer.twin.id)
        assert (len(answer.cipher), answer.expiration) == (28, min(request.expiration, LIFETIME_S_MAX))
        assert len(answer.signature) == 65
        await s.nothing_reached_a_service()


async def test_with_workers_the_same_is_refused() -> None:
    """With `--workers` each of these requests is answered with the same code and text."""
    async with scene(workers=2) as s:
        told = {}
        for make, code, text in REFUSED_REQUESTS:
            request = make(s)
            told[request.uid] = code, text
            await s.peer.send(request)
        for _ in REFUSED_REQUESTS:
            answer = await s.peer.receive()
            code, text = told.pop(answer.uid)
            assert (answer.error.code, answer.error.message[: len(text)]) == (code, text)
            assert (len(answer.cipher), len(answer.signature)) == (28, 65)
        await s.nothing_reached_a_service()


async def test_cipher_of_a_twin_without_key() -> None:
    """Code 105 with its exact text (C 16)."""
    async with scene(encrypted=False) as s:
        await s.peer.send(bad_cipher(s))
        answer = await s.peer.receive()
        assert (answer.error.code, answer.error.message) == (105, "sender twin has no public key")
        assert answer.WhichOneof("payload") is None


@pytest.mark.parametrize("make", [expired, unsigned, changed, bad_cipher])
async def test_only_requests_are_answered(make: Callable[[Scene], Envelope]) -> None:
    """The same faults in a response produce no error (C 16)."""
    async with scene() as s:
        response = make(s)
        response.response.SetInParent()
        if response.HasField("signature") and make is not changed:
            response.signature = s.peer.identity.signer.sign(challenge(response))
        await s.peer.send(response)
        await s.nothing_reached_a_service()
        assert all(envelope.source.twin == s.peer.twin.id for envelope in s.relay.received)


async def test_unsigned_requests_and_responses_of_twin_0_are_refused() -> None:
    """Nobody orders or answers anonymously, not even with the right uid (C 18; spec rmb 10.1)."""
    async with scene() as s:
        s.node.request(s.peer.twin.id)
        uid = (await s.peer.receive()).uid
        for kind in ("request", "response", "ping", "pong"):
            forged = Envelope(uid=uid, timestamp=int(time.time()), expiration=60, plain=b"forged")
            forged.destination.twin = s.node.twin.id
            getattr(forged, kind).SetInParent()
            if kind == "request":
                forged.request.command = "test.echo"
            await s.relay.deliver(s.node.twin.id, forged)
        await s.nothing_reached_a_service()
        assert not s.node.memory.lists.get("my-ret")


async def test_an_unsigned_error_for_a_waiting_uid_is_delivered() -> None:
    """An error of a relay reaches the client with src "0" (C 18)."""
    async with scene() as s:
        s.node.request(s.peer.twin.id)
        uid = (await s.peer.receive()).uid
        for error_uid in ("somebody-else's", uid):
            relay_error = Envelope(uid=error_uid, timestamp=int(time.time()), expiration=300)
            relay_error.error.message = "destination offline"
            await s.relay.deliver(s.node.twin.id, relay_error)
        answer = await s.node.popped("my-ret")
        assert (answer["src"], answer["ref"]) == ("0", "my-ref")
        assert answer["err"] == {"code": 0, "message": "destination offline"}
        await s.nothing_reached_a_service()


async def test_replayed_messages_are_delivered_once() -> None:
    """The same bytes twice, or a message signed anew with its `once`, reach the service once (spec rmb 10.3)."""
    async with scene() as s:
        request = s.peer.request(s.node.twin.id, "test.echo", b"1", once=bytes(16))
        await s.peer.send(request)
        await s.peer.send(request)
        again = s.peer.request(s.node.twin.id, "test.echo", b"1", once=bytes(16), tags="signed anew")
        await s.peer.send(again)
        await s.node.popped("msgbus.test.echo")
        await s.nothing_reached_a_service()
        assert s.node.downstream.counts["repeated"] == 2


async def test_genuine_repeats_with_one_uid_are_all_delivered() -> None:
    """Several messages may share a uid; only the signature tells repeats (spec rmb 10.3)."""
    async with scene() as s:
        for chunk in (b"1", b"2"):
            await s.peer.send(s.peer.request(s.node.twin.id, "test.echo", chunk, uid="shared"))
        assert [(await s.node.popped("msgbus.test.echo"))["ref"] for _ in range(2)] == ["shared", "shared"]


@pytest.mark.parametrize("destination", ["other twin", "session"])
async def test_messages_for_others_are_refused(destination: str) -> None:
    """A captured message for somebody else, or for a session that we are not, is not accepted (spec rmb 10.3)."""
    async with scene() as s:
        envelope = s.peer.draft(
            s.node.twin.id + (destination == "other twin"), "x" if destination == "session" else None, plain=b"1"
        )
        envelope.request.command = "test.echo"
        await s.relay.deliver(s.node.twin.id, s.peer.sign(envelope))
        await s.nothing_reached_a_service()
        assert s.node.downstream.counts["NotForUs"] == 1


async def test_an_answer_from_a_twin_that_was_not_asked_is_dropped() -> None:
    """Knowing the uid is not enough to answer (spec rmb 10.3)."""
    async with scene() as s:
        s.node.request(s.peer.twin.id)
        request = await s.peer.receive()
        async with direct_peer(s.registry, s.relay.url, encrypted=True) as stranger:
            await stranger.send(stranger.response(request, b"forged"))
            await s.node.until(lambda: s.node.downstream.counts["answer from a twin that was not asked"])
        await s.peer.send(s.peer.response(request, b'"true"'))
        assert (await s.node.popped("my-ret"))["src"] == str(s.peer.twin.id)
        await s.nothing_reached_a_service()


async def test_a_late_answer_is_dropped() -> None:
    """A response for a uid that nobody waits for goes nowhere (spec rmb 5.6)."""
    async with scene() as s:
        request = s.peer.request(s.node.twin.id, "test.echo", b"1", uid="never asked")
        await s.peer.send(s.peer.response(request, b"1"))
        await s.nothing_reached_a_service()


async def test_a_rotated_key_is_looked_up_before_giving_up() -> None:
    """A twin that changed its keys is asked for again instead of refused (spec rmb 10.10)."""
    async with scene() as s:
        await s.peer.send(s.peer.request(s.node.twin.id, "test.echo", b"1"))
        await s.node.popped("msgbus.test.echo")
        fresh = new_identity()
        envelope = s.peer.draft(s.node.twin.id)
        envelope.request.command = "test.echo"
        envelope.cipher = fresh.encryption.seal(b"2", s.node.twin.public_key or b"")
        await s.registry.put(s.peer.identity.signer, frozenset({"localhost"}), fresh.public_key)
        await s.peer.send(s.peer.sign(envelope))
        await s.node.popped("msgbus.test.echo")


@pytest.mark.parametrize(("code", "renews"), [(104, True), (106, True), (102, False)])
async def test_an_error_about_keys_renews_the_record(code: int, renews: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A twin that cannot verify or open what we sent may have other keys by now: its record is asked for anew."""
    async with scene() as s:
        renewed: list[int] = []

        async def refresh(twin_id: int) -> None:
            renewed.append(twin_id)

        monkeypatch.setattr(s.node.cache, "refresh", refresh)
        s.node.request(s.peer.twin.id)
        request = await s.peer.receive()
        envelope = s.peer.draft(s.node.twin.id, uid=request.uid)
        envelope.error.code, envelope.error.message = code, "no"
        await s.peer.send(s.peer.sign(envelope))
        assert (await s.node.popped("my-ret"))["err"]["code"] == code
        if renews:
            await s.node.until(lambda: renewed)
        assert renewed == ([s.peer.twin.id] if renews else [])


async def test_rmb_version() -> None:
    """The built-in command answers with a JSON string (spec rmb 5.8)."""
    async with scene() as s:
        await s.peer.send(s.peer.request(s.node.twin.id, "rmb.version", b""))
        answer = await s.peer.receive()
        assert (answer.WhichOneof("message"), answer.schema, answer.expiration) == ("response", "application/json", 300)
        payload = s.peer.identity.encryption.open(answer.cipher, s.node.twin.public_key or b"")
        assert payload == b'"0.1.0"'


async def test_a_repeated_built_in_request_is_answered_once() -> None:
    """A request that was sent again after a crash, signed anew, gets one answer like any other."""
    async with scene() as s:
        for tags in ("first", "signed anew"):
            await s.peer.send(s.peer.request(s.node.twin.id, "rmb.version", b"", once=bytes(16), tags=tags))
        await s.nothing_reached_a_service()
        await s.node.until(lambda: s.node.pool.idle)
        assert [envelope.source.twin for envelope in s.relay.received].count(s.node.twin.id) == 1


async def test_a_full_service_list_is_answered() -> None:
    """Nothing is trimmed silently: the requester hears 429, and the list keeps what it has."""
    async with scene() as s:
        for _ in range(keys.LIST_ENTRIES_MAX):
            s.node.memory.push("msgbus.busy", b"x")
        await s.peer.send(s.peer.request(s.node.twin.id, "busy", b"1"))
        answer = await s.peer.receive()
        assert answer.error.code == 429
        assert answer.error.message.startswith("queue of command 'busy' is full (10000 requests wait)")
        assert len(s.node.memory.lists["msgbus.busy"]) == keys.LIST_ENTRIES_MAX
        await s.node.until(lambda: s.node.memory.dead)
        assert s.node.memory.dead[0].reason == "the list 'msgbus.busy' could not take the request: full"


async def test_a_full_ret_list_keeps_the_answer_as_a_dead_letter() -> None:
    """An answer that its client's list cannot take is kept with the reason."""
    async with scene() as s:
        s.node.request(s.peer.twin.id)
        request = await s.peer.receive()
        for _ in range(keys.LIST_ENTRIES_MAX):
            s.node.memory.push("my-ret", b"x")
        await s.peer.send(s.peer.response(request, b"1"))
        await s.node.until(lambda: s.node.memory.dead)
        assert s.node.memory.dead[0].reason == "the list 'my-ret' could not take the response: full"


@pytest.mark.parametrize("frame", [b"", b"\x00", b"noise", bytes(1000), b"\x0a\xff"])
async def test_noise_from_the_relay_harms_nobody(frame: bytes) -> None:
    """Frames that are no envelope are counted and the next message is served (spec rmb 2.5)."""
    async with scene() as s:
        await s.relay.connections[s.node.twin.id].send(frame)
        await s.relay.connections[s.node.twin.id].send("text")
        await s.nothing_reached_a_service()


@pytest.mark.parametrize(
    "changes", [{"tags": ""}, {"federation": "relay.grid.tf"}, {"relays": ["a", "b"]}, {"tags": "x", "schema": ""}]
)
async def test_envelopes_of_other_implementations_verify(changes: dict[str, Any]) -> None:
    """Deprecated and empty fields are part of what is signed (C 2; spec rmb 9, rows 6 to 8)."""
    async with scene() as s:
        envelope = s.peer.draft(s.node.twin.id, plain=b"1")
        for name, value in changes.items():
            if name == "relays":
                envelope.relays.extend(value)
            else:
                setattr(envelope, name, value)
        envelope.request.command = "test.echo"
        await s.peer.send(s.peer.sign(envelope))
        request = await s.node.popped("msgbus.test.echo")
        assert request["tag"] == changes.get("tags")
        assert request["shm"] == changes.get("schema")


async def test_answers_that_cannot_leave_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that sends and does not read cannot fill the memory with errors; what is answered later is answered."""
    monkeypatch.setattr(downstream, "ANSWERS_MAX", 10)
    async with scene() as s:
        s.relay.connections[s.node.twin.id].transport.pause_reading()
        for _ in range(25):
            await s.peer.send(unknown_built_in(s))
        await s.node.until(lambda: s.node.downstream.counts["UnknownBuiltin"] == 25)
        assert s.node.downstream.counts["answer dropped"] == 15
        s.relay.connections[s.node.twin.id].transport.resume_reading()
        for _ in range(10):
            await s.peer.receive()
        await s.node.until(lambda: s.node.pool.idle)
        await s.peer.send(unknown_built_in(s))
        await s.peer.receive()


async def test_answers_are_bounded_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests with a huge uid make huge errors."""
    monkeypatch.setattr(downstream, "ANSWERS_BYTES_MAX", 1000)
    async with scene() as s:
        s.relay.connections[s.node.twin.id].transport.pause_reading()
        for number in range(3):
            await s.peer.send(s.peer.request(s.node.twin.id, "rmb.unknown", b"%d" % number, uid="u" * 2000))
        await s.node.until(lambda: s.node.downstream.counts["UnknownBuiltin"] == 3)
        assert s.node.downstream.counts["answer dropped"] == 2
        s.relay.connections[s.node.twin.id].transport.resume_reading()
        await s.peer.receive()


async def test_messages_that_wait_for_a_fresh_record_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the registry is slow, bad signatures beyond a number are refused by the record at hand."""
    monkeypatch.setattr(downstream, "RECHECKS_MAX", 5)
    async with scene() as s:
        answering = asyncio.Event()

        async def slow(twin_id: int) -> Twin | None:
            await answering.wait()
            return await s.registry.get(twin_id)

        monkeypatch.setattr(s.node.cache, "refresh", slow)
        for _ in range(8):
            await s.peer.send(changed(s))
        await s.node.until(lambda: s.node.downstream.counts["InvalidSignature"] == 3)
        answering.set()
        await s.node.until(lambda: s.node.downstream.counts["InvalidSignature"] == 8)
        await s.nothing_reached_a_service()


async def test_messages_that_wait_for_the_store_are_bounded_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the store is away, large messages wait in the sockets and not all in memory; then all are delivered."""
    monkeypatch.setattr(downstream, "READY_BYTES_MAX", 10_000)
    monkeypatch.setattr(downstream, "BATCH_FRAMES", 1)
    async with scene() as s:
        await s.nothing_reached_a_service()  # now the peer is known, and nothing waits for a look-up
        back, deliver = asyncio.Event(), s.node.queues.deliver

        async def away(deliveries: Sequence[Delivery]) -> list[Outcome]:
            await back.wait()
            return list(await deliver(deliveries))

        monkeypatch.setattr(s.node.queues, "deliver", away)
        for _ in range(20):
            await s.peer.send(s.peer.request(s.node.twin.id, "test.echo", bytes(5000)))
        await s.node.until(lambda: not s.node.downstream._room.is_set())
        await s.node.until(lambda: len(s.node.pool.inbox) > 10)
        assert s.node.downstream._ready_bytes < 20_000
        back.set()
        for _ in range(20):
            await s.node.popped("msgbus.test.echo")
