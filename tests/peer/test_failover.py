"""A gateway with two relays of ours, and the ways in which one of them can fail. Each request is answered once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from rmb_peer.protocol.link.endings import IS_SAFE
from rmb_peer.registry.memory import MemoryRegistry
from tests.support.gateways import Node, running_node
from tests.support.linked_relay import LinkedRelay, linked_relay

REQUESTS = 20


@asynccontextmanager
async def scene() -> AsyncIterator[tuple[LinkedRelay, LinkedRelay, Node, Node]]:
    """Two relays, and two gateways that prefer the first."""
    registry = MemoryRegistry()
    async with linked_relay() as first, linked_relay() as second:
        urls = [first.url, second.url]
        async with running_node(registry, urls) as a, running_node(registry, urls) as b:
            for node in (a, b):
                for relay in (first, second):
                    await relay.until(lambda relay=relay, node=node: node.twin.id in relay.sessions)  # type: ignore[misc]
                await node.until(lambda node=node: all(link.connected for link in node.pool.status()))  # type: ignore[misc]
                for lane in tuple(node.pool._lanes):
                    if lane.link.url == first.url:
                        node.pool._lanes.remove(lane)
                        node.pool._lanes.insert(0, lane)
            yield first, second, a, b


async def answer_all(a: Node, b: Node) -> None:
    """Every request reaches the service once, and its answer the asker."""
    for number in range(REQUESTS):
        b.respond(await b.popped(f"msgbus.test.{number}"))
        assert b.memory.pop_oldest(f"msgbus.test.{number}") is None
    refs = [(await a.popped("my-ret"))["ref"] for _ in range(REQUESTS)]
    assert sorted(refs) == sorted(str(number) for number in range(REQUESTS))
    assert a.memory.pop_oldest("my-ret") is None


@pytest.mark.parametrize("kind", ["aborted", "1001", "away"])
async def test_a_relay_that_is_lost(kind: str) -> None:
    """Its connections break, or end in order, or it refuses new ones: what it had goes out by the other."""
    async with scene() as (first, _, a, b):
        first.swallow = lambda envelope: True
        for number in range(REQUESTS):
            a.request(b.twin.id, ref=str(number), cmd=f"test.{number}")
        await first.until(lambda: len(first.received) == REQUESTS)
        if kind == "away":
            await first.stop()
        else:
            for connection in tuple(first.connections.values()):
                if kind == "aborted":
                    connection.transport.abort()
                else:
                    await connection.close(1001)
        await answer_all(a, b)
        if kind == "away":
            await first.start()


async def test_a_relay_that_falls_silent() -> None:
    """Its connections stand, and it reads nothing: the other takes over, long before they are given up."""
    async with scene() as (first, _, a, b):
        for connection in first.connections.values():
            connection.transport.pause_reading()
        for number in range(REQUESTS):
            a.request(b.twin.id, ref=str(number), cmd=f"test.{number}")
        await answer_all(a, b)
        assert all(link.connected for link in a.pool.status())
        assert a.pool.copies
        for connection in first.connections.values():
            connection.transport.resume_reading()
        await a.until(lambda: not any(lane.offered for lane in a.pool._lanes))
        await b.until(lambda: b.downstream.idle)
        for number in range(REQUESTS):
            assert b.memory.pop_oldest(f"msgbus.test.{number}") is None
        assert a.memory.pop_oldest("my-ret") is None


async def test_a_request_offered_over_both_relays_is_delivered_once() -> None:
    """The first relay answers pings and is late with it: a copy goes by the second. Both hear that it is settled."""
    async with scene() as (first, second, a, b):
        first.ends = lambda envelope: None
        a.request(b.twin.id)
        request = await b.popped("msgbus.test.echo")
        assert len(first.held) == 1
        assert [envelope.uid for envelope in second.received] == [first.received[0].uid]
        await a.until(lambda: a.pool.idle)
        settled = second.sessions[b.twin.id].settles
        assert settled == 1
        carried = first.held.pop()
        first.ends = lambda envelope: IS_SAFE
        first._carry(b.twin.id, carried)
        await first.until(lambda: True)
        await b.until(lambda: first.sessions[b.twin.id].settles == 1)
        await a.until(lambda: not any(lane.offered for lane in a.pool._lanes))
        assert b.memory.pop_oldest("msgbus.test.echo") is None
        assert b.downstream.counts["repeated"] == 1
        b.respond(request)
        assert (await a.popped("my-ret"))["err"] is None
        await asyncio.sleep(0)
        assert a.memory.pop_oldest("my-ret") is None
