"""The gateway and its relays: several at once, dead connections, refusals. Nothing is lost when a connection is."""

import asyncio
import base64
import os
import time
from collections.abc import Sequence
from http import HTTPStatus

import pytest

from rmb_peer import upstream
from rmb_peer.local import keys
from rmb_peer.local.memory_queues import MemoryQueues
from rmb_peer.local.queues import Delivery, Outcome
from rmb_peer.protocol.heartbeat import Rhythm
from rmb_peer.registry.memory import MemoryRegistry
from rmb_peer.transport import close_reasons, relay_link, rmb1
from tests.support.direct_peer import direct_peer
from tests.support.gateways import request_json, running_node, two_nodes
from tests.support.scripted_relay import scripted_relay
from tests.support.slow_line import slow_line


async def test_what_a_dead_connection_swallowed_is_sent_again() -> None:
    """Bytes that the kernel took for a connection that then died cost no message, and none comes twice."""
    async with scripted_relay() as relay, two_nodes(relay.url) as (a, b):
        relay.connections[a.twin.id].transport.pause_reading()
        for number in range(20):
            a.request(b.twin.id, ref=str(number), cmd=f"test.{number}")
        await a.until(lambda: a.pool._lanes[0].link.unconfirmed == 20)
        assert not relay.received
        relay.connections[a.twin.id].transport.abort()
        for number in range(20):
            await b.popped(f"msgbus.test.{number}")
        await a.until_idle()
        assert [envelope.request.command for envelope in relay.received] == [f"test.{n}" for n in range(20)]
        assert not a.memory.outbox


async def test_messages_wait_for_a_relay_that_is_away() -> None:
    """Requests pushed while no relay is up go out when one comes back, in order."""
    async with scripted_relay() as relay, two_nodes(relay.url) as (a, b):
        await relay.stop()
        await a.until(lambda: not a.pool.anyone_connected.is_set())
        for number in range(50):
            a.request(b.twin.id, ref=str(number), cmd=f"test.{number}")
        await relay.start()
        for number in range(50):
            await b.popped(f"msgbus.test.{number}")
        await a.until_idle()
        assert not a.memory.outbox


async def test_a_second_relay_takes_over() -> None:
    """When the preferred relay dies, sending moves to the next one that is connected; answers come by either."""
    registry = MemoryRegistry()
    async with (
        scripted_relay() as first,
        scripted_relay() as second,
        running_node(registry, [first.url, second.url]) as a,
        running_node(registry, [first.url, second.url]) as b,
    ):
        await second.until(lambda: len(second.connections) == 2)
        await first.until(lambda: len(first.connections) == 2)
        a.request(b.twin.id)
        b.respond(await b.popped("msgbus.test.echo"))
        await a.popped("my-ret")
        assert first.received or second.received
        preferred = first if first.received else second
        await preferred.stop()
        a.request(b.twin.id)
        b.respond(await b.popped("msgbus.test.echo"))
        assert (await a.popped("my-ret"))["err"] is None
        await preferred.start()


async def test_the_same_message_over_two_relays_is_delivered_once() -> None:
    """Both links feed one gateway; the copy is recognised (spec rmb 5.7)."""
    registry = MemoryRegistry()
    async with (
        scripted_relay() as first,
        scripted_relay() as second,
        running_node(registry, [first.url, second.url]) as b,
        running_node(registry, [first.url]) as a,
    ):
        await first.until(lambda: b.twin.id in first.connections)
        await second.until(lambda: b.twin.id in second.connections)
        first.swallow = lambda envelope: True
        a.request(b.twin.id)
        await first.until(lambda: first.received)
        envelope = first.received[0]
        await first.deliver(b.twin.id, envelope)
        await second.deliver(b.twin.id, envelope)
        await b.popped("msgbus.test.echo")
        await b.until(lambda: b.downstream.counts["repeated"] == 1)


async def test_a_refusing_relay_is_tried_again() -> None:
    """A 401 is no reason to give up: once the relay accepts, messages flow."""
    registry = MemoryRegistry()
    async with scripted_relay() as relay:
        relay.refuse = (HTTPStatus.UNAUTHORIZED, "invalid jwt: jwt has expired")
        async with running_node(registry, [relay.url], wait_connected=False) as a:
            await asyncio.sleep(0)  # let the first attempt begin
            a.request(a.twin.id)
            relay.refuse = None
            await a.popped("msgbus.test.echo")


async def test_a_silent_connection_is_noticed() -> None:
    """A relay that stops reading is left for a fresh connection, and nothing is lost."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relay_link, "RHYTHM", Rhythm(idle_s=0.1, dead_s=0.3, gap_s=0.0))
        async with scripted_relay() as relay, two_nodes(relay.url) as (a, b):
            before = relay.accepted
            relay.connections[a.twin.id].transport.pause_reading()
            a.request(b.twin.id)
            await relay.until(lambda: relay.accepted > before)
            await b.popped("msgbus.test.echo")


async def test_a_large_message_on_a_slow_line_is_no_dead_link() -> None:
    """Sending it takes several times as long as a link may be silent, and it arrives over the first connection."""
    registry = MemoryRegistry()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relay_link, "RHYTHM", Rhythm(idle_s=0.1, dead_s=1.5, gap_s=0.0))
        async with (
            scripted_relay() as relay,
            slow_line(relay.port, 1_000_000) as slow_port,
            running_node(registry, [f"ws://localhost:{slow_port}"]) as a,
            running_node(registry, [relay.url]) as b,
        ):
            size_bytes = 4_500_000
            a.request(b.twin.id, dat=base64.b64encode(bytes(size_bytes)).decode())
            request = await b.popped("msgbus.test.echo")
            assert len(base64.b64decode(request["dat"])) == size_bytes
            assert relay.accepted == 2


async def test_the_window_bounds_what_is_under_way() -> None:
    """With a relay that reads nothing, at most one window leaves the outbox's care at a time."""
    async with scripted_relay() as relay, two_nodes(relay.url) as (a, b):
        relay.connections[a.twin.id].transport.pause_reading()
        for _ in range(3 * rmb1.WINDOW_PARCELS):
            a.memory.push(keys.LOCAL_REQUESTS, request_json(b.twin.id))
        link = a.pool._lanes[0].link
        await a.until(lambda: not link.has_room)
        assert link.unconfirmed == rmb1.WINDOW_PARCELS
        relay.connections[a.twin.id].transport.resume_reading()
        for _ in range(3 * rmb1.WINDOW_PARCELS):
            await b.popped("msgbus.test.echo")


async def test_a_request_to_many_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies for further destinations are made when there is room, and all of them arrive."""
    monkeypatch.setattr(upstream, "IN_FLIGHT_ENTRIES_MAX", 20)
    async with scripted_relay() as relay, two_nodes(relay.url) as (a, b):
        relay.connections[a.twin.id].transport.pause_reading()
        a.request(*[b.twin.id] * 50)
        await a.until(lambda: a.pool._lanes[0].link.unconfirmed >= 20)
        for _ in range(100):
            await asyncio.sleep(0)
        assert a.upstream.in_flight == 20
        relay.connections[a.twin.id].transport.resume_reading()
        for _ in range(50):
            await b.popped("msgbus.test.echo")
        await a.until_idle()
        assert not a.memory.outbox


class GatedQueues(MemoryQueues):
    """A store that takes nothing until it is told to."""

    def __init__(self) -> None:
        super().__init__(now=time.monotonic, random_bytes=os.urandom)
        self.gate = asyncio.Event()

    async def deliver(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        if deliveries:
            await self.gate.wait()
        return await super().deliver(deliveries)


@pytest.mark.only("rmb.1")
async def test_a_ping_is_answered_when_the_messages_before_it_are_safe() -> None:
    """The relay hears "read" only of what a crash can no longer lose; what is refused counts as dealt with."""
    registry, queues = MemoryRegistry(), GatedQueues()
    async with (
        scripted_relay() as relay,
        running_node(registry, [relay.url], queues=queues) as b,
        direct_peer(registry, relay.url) as peer,
    ):
        socket = relay.connections[b.twin.id]
        async with asyncio.timeout(60):
            await (await socket.ping(b"idle"))
        await socket.send(b"noise")
        async with asyncio.timeout(60):
            await (await socket.ping(b"after noise"))
        await relay.deliver(b.twin.id, peer.request(b.twin.id, "test.echo", b"1"))
        pong = await socket.ping(b"after a message")
        await relay.deliver(b.twin.id, peer.request(b.twin.id, "test.echo", b"2"))
        await b.until(lambda: b.downstream._delivering)
        assert not pong.done()  # type: ignore[attr-defined]
        queues.gate.set()
        async with asyncio.timeout(60):
            await pong


async def test_superseded_gateways_do_not_evict_each_other_all_the_time() -> None:
    """A connection closed because another took its place is not dialled again at once."""
    async with scripted_relay() as relay, two_nodes(relay.url) as (a, _):
        await relay.connections[a.twin.id].close(close_reasons.SUPERSEDED, "superseded")
        link = a.pool._lanes[0].link
        await a.until(lambda: "took over" in (link.status().last_error or (0, ""))[1])
        told = (link.status().last_error or (0, ""))[1]
        assert told.startswith(
            "another gateway with this identity took over: stop one of the two; this one tries again"
        )
        assert float(told.split()[-2]) >= close_reasons.SUPERSEDED_RETRY_S / 2
