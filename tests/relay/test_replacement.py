"""One identity connects again and again: each replacement leaves one session, and nothing is lost (spec rmb 10.4)."""

import asyncio
import contextlib
import os
import time
from contextlib import AsyncExitStack

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from relay.websocket import SUPERSEDED
from rmb_peer.local.memory_queues import MemoryQueues
from rmb_peer.protocol.envelope import parse_envelope
from rmb_peer.registry.memory import MemoryRegistry
from tests.support.gateways import Node, new_identity, running_node
from tests.support.link_client import link_client
from tests.support.relay import DOMAIN, PATIENCE_S, TestBed, request, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

REPLACEMENTS = 100
TURNS = 30


async def take_all(client: ClientConnection, got: list[str]) -> None:
    """Note what comes until the connection ends."""
    with contextlib.suppress(ConnectionClosed):
        async for data in client:
            assert isinstance(data, bytes)
            got.append(parse_envelope(data).uid)


async def test_a_session_replaced_a_hundred_times(bed: TestBed) -> None:
    """Clients of both protocols take each other's place, with messages coming all the time: each of them arrives."""

    async def mailbox_is_empty() -> bool:
        return not await bed.waiting("9")

    plain_got: list[str] = []
    gots = [plain_got]
    sent = 0
    async with link_client(bed, 7) as sender, AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        older: ClientConnection | None = None
        for number in range(REPLACEMENTS + 1):
            await sender.send(request(7, 9, f"{sent}"), request(7, 9, f"{sent + 1}"))
            sent += 2
            if number % 2:
                linked = await stack.enter_async_context(link_client(bed, 9))
                newer = linked.socket
                gots.append(linked.got)
            else:
                newer = await stack.enter_async_context(bed.client(9))
                tasks.create_task(take_all(newer, plain_got))
            if older is not None:
                async with asyncio.timeout(PATIENCE_S):
                    await older.wait_closed()
                assert older.close_code == SUPERSEDED
            assert bed.app.metrics.sessions() == 2
            older = newer
        await until(lambda: {uid for got in gots for uid in got} == {f"{number}" for number in range(sent)})
        await until(mailbox_is_empty)
        assert bed.app.metrics.sessions() == 2
        await stack.aclose()
    await until(lambda: bed.app.metrics.sessions() == 0)


class Turns:
    """Gateways of one identity and one store that run one after another, each over the next."""

    def __init__(self, bed: TestBed, registry: MemoryRegistry) -> None:
        self._bed = bed
        self._registry = registry
        self._identity = new_identity("ed25519")
        self.queues = MemoryQueues(now=time.monotonic, random_bytes=os.urandom)

    async def start(self, stack: AsyncExitStack) -> Node:
        node = await stack.enter_async_context(
            running_node(
                self._registry, [self._bed.app.url], relay_names=(DOMAIN,), identity=self._identity, queues=self.queues
            )
        )
        self._bed.directory.twins[node.twin.id] = node.twin
        return node


async def test_two_gateways_take_turns(bed: TestBed) -> None:
    """Each takes over from the other while requests come in; each request is in their list once."""
    registry = MemoryRegistry()
    turns = Turns(bed, registry)
    identity = new_identity("ed25519")
    sender_twin = await registry.put(identity.signer, frozenset({DOMAIN}), identity.public_key)
    own_twin = await registry.put(turns._identity.signer, frozenset({DOMAIN}), turns._identity.public_key)
    for twin in (sender_twin, own_twin):
        bed.directory.twins[twin.id] = twin
    async with running_node(registry, [bed.app.url], relay_names=(DOMAIN,), identity=identity) as a:
        older: tuple[AsyncExitStack, Node] | None = None
        for number in range(TURNS):
            stack = AsyncExitStack()
            a.request(own_twin.id, ref=f"{number}", cmd="test.turn", now=int(time.time()))
            node = await turns.start(stack)
            if older is not None:
                old_link = older[1].pool._lanes[0].link
                await older[1].until(lambda link=old_link: not link.connected)  # type: ignore[misc]
                assert "another gateway with this identity took over" in str(old_link.status().last_error)
                await older[0].aclose()
            await node.until(lambda node=node: node.pool._lanes[0].link.connected)  # type: ignore[misc]
            older = stack, node
        assert older is not None
        await a.until_idle()
        for _ in range(TURNS):
            await older[1].popped("msgbus.test.turn")
        assert bed.app.metrics.sessions() == 2
        await older[0].aclose()
        await until(lambda: bed.app.metrics.sessions() == 1)
        assert turns.queues.pop_oldest("msgbus.test.turn") is None
