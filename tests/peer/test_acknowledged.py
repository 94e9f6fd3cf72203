"""The gateway over rmb.2: what the relay acknowledges is forgotten here, and nothing else is."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest

from rmb_peer.local import keys
from rmb_peer.local.memory_queues import MemoryQueues
from rmb_peer.local.queues import Delivery, Outcome
from rmb_peer.protocol.envelope import Envelope
from rmb_peer.protocol.link.endings import IS_SAFE, Ending
from rmb_peer.protocol.link.endings import Outcome as LinkOutcome
from rmb_peer.registry.memory import MemoryRegistry
from tests.support.gateways import Node, new_identity, running_node, two_nodes
from tests.support.linked_relay import LinkedRelay, linked_relay


async def test_an_entry_is_forgotten_when_the_relay_has_acknowledged_it() -> None:
    """Read is not enough: the outbox keeps the message until the link says how it ended."""
    async with linked_relay() as relay, two_nodes(relay.url) as (a, b):
        relay.swallow = lambda envelope: True
        a.request(b.twin.id)
        await relay.until(lambda: relay.held)
        await a.conclusions.flush()
        assert len(a.memory.outbox) == 1
        assert a.upstream.in_flight == 1
        assert not a.pool.idle
        relay.held[0].end(IS_SAFE)
        await a.until_idle()
        assert not a.memory.outbox


async def test_it_is_at_the_peer_when_the_peer_has_it_in_a_list() -> None:
    """The sender's entry goes when the receiver's list has grown, not when the receiver's socket was read."""
    registry, queues = MemoryRegistry(), GatedQueues()
    async with (
        linked_relay() as relay,
        running_node(registry, [relay.url]) as a,
        running_node(registry, [relay.url], queues=queues) as b,
    ):
        a.request(b.twin.id)
        await b.until(lambda: b.downstream._delivering)
        await a.conclusions.flush()
        assert len(a.memory.outbox) == 1
        queues.gate.set()
        await a.until_idle()
        assert not a.memory.outbox
        await b.popped("msgbus.test.echo")


REFUSAL = LinkOutcome(Ending.REFUSED, 0, "destination offline")


async def test_a_refused_request_reads_like_the_relays_own_error() -> None:
    """Code, text and source are those of an error envelope of a relay; the entry is forgotten after that."""
    async with linked_relay() as relay, two_nodes(relay.url) as (a, b):
        relay.ends = lambda envelope: REFUSAL
        began_s = int(time.time())
        a.request(b.twin.id)
        answer = await a.popped("my-ret")
        assert (answer["ref"], answer["src"], answer["dat"], answer["shm"]) == ("my-ref", "0", "", None)
        assert answer["err"] == {"code": 0, "message": "destination offline"}
        assert began_s <= answer["now"] <= time.time()
        await a.until_idle()
        assert not a.memory.outbox
        assert not a.memory.dead


async def test_one_refused_destination_of_several() -> None:
    """Its error, and the answers of the others."""
    registry = MemoryRegistry()
    async with (
        linked_relay() as relay,
        running_node(registry, [relay.url]) as a,
        running_node(registry, [relay.url]) as b,
        running_node(registry, [relay.url]) as c,
    ):
        relay.ends = lambda envelope: REFUSAL if envelope.destination.twin == b.twin.id else IS_SAFE
        a.request(b.twin.id, c.twin.id)
        c.respond(await c.popped("msgbus.test.echo"))
        answers = [await a.popped("my-ret") for _ in range(2)]
        assert sorted(answer["src"] for answer in answers) == ["0", str(c.twin.id)]
        await a.until_idle()
        assert not a.memory.outbox


async def test_a_refused_response_becomes_a_dead_letter() -> None:
    """Its service is not waiting for anything, so it is kept with the relay's reason."""
    async with linked_relay() as relay, two_nodes(relay.url) as (a, b):
        relay.ends = lambda envelope: REFUSAL if envelope.WhichOneof("message") == "response" else IS_SAFE
        a.request(b.twin.id)
        b.respond(await b.popped("msgbus.test.echo"))
        await b.until(lambda: b.memory.dead)
        await b.until_idle()
        (letter,) = b.memory.dead
        assert (letter.kind, letter.reason) == ("response", "destination offline")
        assert not b.memory.outbox


async def test_a_refused_answer_of_our_own_ends_too() -> None:
    """Errors and built-in answers that the relay refuses are counted, and make room for others."""
    async with linked_relay() as relay, two_nodes(relay.url) as (a, b):
        relay.ends = lambda envelope: REFUSAL if envelope.WhichOneof("message") == "response" else IS_SAFE
        a.request(b.twin.id, cmd="rmb.version")
        await b.until(lambda: b.downstream.counts["answer not sent"] == 1)
        await b.until_idle()


async def test_order_is_kept_over_reconnects() -> None:
    """Connections of both sides die again and again while messages flow: each arrives once, in the order pushed."""
    async with linked_relay() as relay, two_nodes(relay.url) as (a, b):
        count, popped = 300, []
        pushing = asyncio.create_task(push_slowly(a, b.twin.id, count))
        for number in range(count):
            request = await b.popped("msgbus.test.echo")
            popped.append(request["dat"])
            if number in (30, 90, 170):
                await break_connection(relay, a.twin.id)
            if number in (60, 120, 200):
                await break_connection(relay, b.twin.id)
        await pushing
        assert popped == [data(number) for number in range(count)]
        await a.until_idle()
        await b.until_idle()
        assert b.memory.pop_oldest("msgbus.test.echo") is None
        assert not a.memory.outbox


async def break_connection(relay: LinkedRelay, twin: int) -> None:
    """Cut it, and wait for the next."""
    old = relay.sessions[twin]
    relay.connections[twin].transport.abort()
    await relay.until(lambda: relay.sessions.get(twin, old) is not old)


def data(number: int) -> str:
    return f"{number:04}"  # four characters of base64


async def push_slowly(node: Node, twin: int, count: int) -> None:
    for number in range(count):
        node.request(twin, dat=data(number))
        if number % 10 == 0:
            await asyncio.sleep(0.002)  # spreads the requests over the losses of connections


@pytest.mark.parametrize("how", ["cut", "pause"])
async def test_another_relay_takes_over(how: str) -> None:
    """The preferred relay is cut off, or stops answering: what is pushed afterwards leaves by the other one."""
    registry = MemoryRegistry()
    async with (
        linked_relay() as first,
        linked_relay() as second,
        running_node(registry, [first.url, second.url]) as a,
        running_node(registry, [first.url, second.url]) as b,
    ):
        for relay in (first, second):
            await relay.until(lambda relay=relay: len(relay.sessions) == 2)  # type: ignore[misc]
        preferred, other = sorted((first, second), key=lambda relay: relay.url != a.pool.status()[0].url)
        await a.until(lambda: a.pool.status()[0].round_trip_s is not None)
        if how == "cut":
            preferred.swallow = lambda envelope: True
            a.request(b.twin.id, ref="lost at first")
            await preferred.until(lambda: preferred.held)
            await preferred.stop()
        else:
            preferred.connections[a.twin.id].transport.pause_reading()
            a.request(b.twin.id, ref="waits there")
            await a.until(lambda: a.pool.status()[0].url == other.url)
        a.request(b.twin.id, ref="goes on")
        await other.until(lambda: len(other.received) >= (2 if how == "cut" else 1))
        await b.popped("msgbus.test.echo")
        if how == "cut":
            await preferred.start()
        else:
            preferred.connections[a.twin.id].transport.resume_reading()
        await b.popped("msgbus.test.echo")
        await a.until_idle()
        assert not a.memory.outbox


class GatedQueues(MemoryQueues):
    """A store that takes nothing until it is told to."""

    def __init__(self) -> None:
        super().__init__(now=time.monotonic, random_bytes=lambda count: bytes(count))
        self.gate = asyncio.Event()

    async def deliver(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        if deliveries:
            await self.gate.wait()
        return await super().deliver(deliveries)


class DyingQueues(MemoryQueues):
    """A store whose gateway never hears that something was delivered, because it is killed in that instant."""

    def __init__(self) -> None:
        super().__init__(now=time.monotonic, random_bytes=lambda count: bytes(count))
        self.delivered = asyncio.Event()
        self.alive = False

    async def deliver(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        outcomes = await super().deliver(deliveries)
        if deliveries and not self.alive:
            self.delivered.set()
            await asyncio.Event().wait()
        return outcomes


async def test_killed_between_delivery_and_settling() -> None:
    """The relay delivers again to the gateway's next life, which recognises it: in the list once, and acknowledged."""
    registry, queues, identity = MemoryRegistry(), DyingQueues(), new_identity()
    async with linked_relay() as relay, running_node(registry, [relay.url]) as a:
        async with running_node(registry, [relay.url], queues=queues, identity=identity) as b:
            a.request(b.twin.id)
            await queues.delivered.wait()
            relay.connections[b.twin.id].transport.abort()
        assert len(queues.lists["msgbus.test.echo"]) == 1
        queues.alive = True
        async with running_node(registry, [relay.url], queues=queues, identity=identity) as b:
            await b.until(lambda: b.downstream.counts["repeated"] == 1)
            await relay.until(lambda: b.twin.id in relay.sessions)
            await b.until(lambda: relay.sessions[b.twin.id].settles == 1)
            assert len(queues.lists["msgbus.test.echo"]) == 1


async def test_killed_before_the_relay_acknowledged() -> None:
    """The sender's next life sends it again, under the same uid; the receiver recognises it."""
    registry, identity = MemoryRegistry(), new_identity()
    queues = MemoryQueues(now=time.monotonic, random_bytes=lambda count: bytes(count))
    async with linked_relay() as relay, running_node(registry, [relay.url]) as b:
        relay.ends = hold_and_forward(relay)
        async with running_node(registry, [relay.url], queues=queues, identity=identity) as a:
            a.request(b.twin.id)
            await b.popped("msgbus.test.echo")
            relay.connections[a.twin.id].transport.abort()
        assert len(queues.outbox) == 1
        relay.ends = lambda envelope: IS_SAFE
        queues = next_life(queues)
        async with running_node(registry, [relay.url], queues=queues, identity=identity) as a:
            await b.until(lambda: b.downstream.counts["repeated"] == 1)
            await a.until_idle()
            assert not queues.outbox
        assert b.memory.pop_oldest("msgbus.test.echo") is None
        assert len({envelope.uid for envelope in relay.received}) == 1


def hold_and_forward(relay: LinkedRelay) -> Any:
    """A relay that forwards, and is slow to say so."""
    forwarding: set[asyncio.Task[None]] = set()

    def end(envelope: Envelope) -> None:
        forwarding.add(asyncio.create_task(relay.deliver(envelope.destination.twin, envelope)))

    return end


def next_life(queues: MemoryQueues) -> MemoryQueues:
    """The same store, seen by a gateway that starts: what is in the outbox is found there."""
    started = MemoryQueues(now=time.monotonic, random_bytes=lambda count: bytes(count))
    for taken in queues.outbox.values():
        started.push(keys.LOCAL_REQUESTS, taken.raw)
    return started


async def test_one_message_over_two_relays_is_delivered_once() -> None:
    """Both relays hear that it is settled; the list has it once."""
    registry = MemoryRegistry()
    async with (
        linked_relay() as first,
        linked_relay() as second,
        running_node(registry, [first.url, second.url]) as b,
        running_node(registry, [first.url]) as a,
    ):
        for relay in (first, second):
            await relay.until(lambda relay=relay: b.twin.id in relay.sessions)  # type: ignore[misc]
        first.swallow = lambda envelope: True
        a.request(b.twin.id)
        await first.until(lambda: first.received)
        for relay in (first, second):
            await relay.deliver(b.twin.id, first.received[0])
        await b.until(lambda: first.sessions[b.twin.id].settles == second.sessions[b.twin.id].settles == 1)
        await b.popped("msgbus.test.echo")
        assert b.memory.pop_oldest("msgbus.test.echo") is None
        assert b.downstream.counts["repeated"] == 1


async def test_what_cannot_be_believed_is_settled_too() -> None:
    """Noise and forgeries are acknowledged, or the relay would deliver them for ever."""
    async with linked_relay() as relay, two_nodes(relay.url) as (a, b):
        forged = a.signed(Envelope(uid="u", expiration=60), b.twin)
        forged.request.command = "test.echo"
        for envelope in (forged, Envelope(uid="x"), Envelope(plain=b"\xff")):
            await relay.deliver(b.twin.id, envelope)
        await b.until(lambda: relay.sessions[b.twin.id].settles == 3)
        assert not b.memory.lists.get("msgbus.test.echo")
