"""Gateways in this process: real parts, a store in memory or in a real Valkey, a registry in memory."""

import asyncio
import base64
import json
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from rmb_peer.conclusions import Conclusions
from rmb_peer.deadlines import Deadlines
from rmb_peer.downstream import Downstream
from rmb_peer.journal import Journal
from rmb_peer.local import keys
from rmb_peer.local.memory_queues import MemoryQueues
from rmb_peer.local.queues import JournalLimits, LocalQueues
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.envelope import MESSAGE_BYTES_MAX, Envelope, seal_and_sign
from rmb_peer.protocol.identity import Identity
from rmb_peer.protocol.signatures import KeyType
from rmb_peer.protocol.token import make_token
from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.base import Registry
from rmb_peer.registry.cached import CachedRegistry
from rmb_peer.registry.memory import MemoryRegistry
from rmb_peer.remembered import Remembered
from rmb_peer.sender import Sender
from rmb_peer.transport.inbox import Inbox
from rmb_peer.transport.relay_pool import RelayPool
from rmb_peer.upstream import Upstream
from rmb_peer.workers.pool import Workers

WAIT_S = 60.0


def new_identity(key_type: KeyType = "ed25519") -> Identity:
    """A fresh one."""
    return Identity.from_secret("0x" + os.urandom(32).hex(), key_type, os.urandom)


@dataclass
class Node:
    """A running gateway and its store."""

    twin: Twin
    identity: Identity
    queues: Any
    pool: RelayPool
    upstream: Upstream
    downstream: Downstream
    conclusions: Conclusions
    cache: CachedRegistry
    journal: Journal

    @property
    def memory(self) -> MemoryQueues:
        assert isinstance(self.queues, MemoryQueues)
        return self.queues

    def request(self, *destinations: int, ret: str = "my-ret", **changes: Any) -> None:
        """Push a request as a client would; `changes` replace or (with `...`) remove fields."""
        self.memory.push(keys.LOCAL_REQUESTS, request_json(*destinations, ret=ret, **changes))

    def respond(self, request: dict[str, Any], payload: bytes = b'"ok"', **changes: Any) -> None:
        """Push the answer to a popped request as a service would."""
        self.memory.push(keys.LOCAL_REPLIES, response_json(request, payload, **changes))

    async def popped(self, list_name: str) -> dict[str, Any]:
        """The oldest entry of a list, waiting for it."""
        async with asyncio.timeout(WAIT_S):
            while (raw := self.memory.pop_oldest(list_name)) is None:
                await asyncio.sleep(0.002)  # polls what another task fills
        value = json.loads(raw)
        assert isinstance(value, dict)
        return value

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something is true that another task makes true."""
        async with asyncio.timeout(WAIT_S):
            while not condition():
                await asyncio.sleep(0.002)

    async def until_idle(self) -> None:
        """Wait until what was pushed has been taken, and nothing is under way in this gateway."""
        lists = self.memory.lists
        await self.until(lambda: not lists.get(keys.LOCAL_REQUESTS) and not lists.get(keys.LOCAL_REPLIES))
        await self.until(lambda: self.pool.idle and self.downstream.idle and not self.upstream.in_flight)
        await self.conclusions.flush()

    def signed(self, envelope: Envelope, receiver: Twin) -> Envelope:
        """An envelope in this gateway's name, for tests that act as its sender."""
        envelope.source.twin = self.twin.id
        envelope.destination.twin = receiver.id
        seal_and_sign(envelope, self.identity.signer, self.identity.encryption, receiver.public_key, int(time.time()))
        return envelope


def request_json(*destinations: int, ret: str = "my-ret", **changes: Any) -> bytes:
    """What a client pushes (spec rmb 5.2)."""
    return _json(
        {
            "ver": 1,
            "ref": "my-ref",
            "cmd": "test.echo",
            "exp": 60,
            "dat": base64.b64encode(b"hello").decode(),
            "tag": None,
            "dst": list(destinations),
            "ret": ret,
            "shm": "application/json",
            "now": int(time.time()),
        },
        changes,
    )


def response_json(request: dict[str, Any], payload: bytes = b'"ok"', **changes: Any) -> bytes:
    """What a service pushes (spec rmb 5.4)."""
    return _json(
        {
            "ver": 1,
            "ref": request["ref"],
            "dat": base64.b64encode(payload).decode(),
            "dst": request["src"],
            "shm": "application/json",
            "now": int(time.time()),
            "err": None,
        },
        changes,
    )


def _json(fields: dict[str, Any], changes: dict[str, Any]) -> bytes:
    fields |= changes
    return json.dumps({name: value for name, value in fields.items() if value is not ...}).encode()


@asynccontextmanager
async def running_node(
    registry: Registry,
    relay_urls: Sequence[str],
    *,
    relay_names: Sequence[str] = ("localhost",),
    identity: Identity | None = None,
    queues: LocalQueues | None = None,
    message_bytes_max: int = MESSAGE_BYTES_MAX,
    wait_connected: bool = True,
    workers: Workers | None = None,
) -> AsyncIterator[Node]:
    """A gateway that registers itself and runs until the block ends."""
    identity = identity or new_identity()
    queues = queues or MemoryQueues(now=time.monotonic, random_bytes=os.urandom)
    twin = await registry.put(identity.signer, frozenset(relay_names), identity.public_key)
    cache = CachedRegistry(registry, absent_s=0.05, refresh_s=0.0)
    uid_key = await queues.uid_key()
    conclusions, remembered = Conclusions(queues), Remembered(queues)
    journal = Journal(JournalLimits(10**6, 3600))
    pool = RelayPool(
        relay_urls,
        Inbox(),
        make_token=lambda: make_token(identity.signer, Address(twin.id), int(time.time())),
        clock=time.monotonic,
        wall_clock=time.time,
        random=random.random,
        message_bytes_max=message_bytes_max,
        twin=twin.id,
    )
    async with asyncio.TaskGroup() as tasks:
        sender = Sender(
            twin_id=twin.id,
            identity=identity,
            cache=cache,
            pool=pool,
            tasks=tasks,
            wall_clock=time.time,
            message_bytes_max=message_bytes_max,
            journal=journal,
            workers=workers,
        )
        upstream = Upstream(
            queues=queues,
            remembered=remembered,
            sender=sender,
            conclusions=conclusions,
            uid_key=uid_key,
            wall_clock=time.time,
            message_bytes_max=message_bytes_max,
            journal=journal,
        )
        downstream = Downstream(
            twin_id=twin.id,
            encryption=identity.encryption,
            cache=cache,
            inbox=pool.inbox,
            queues=queues,
            remembered=remembered,
            sender=sender,
            conclusions=conclusions,
            tasks=tasks,
            wall_clock=time.time,
            journal=journal,
            workers=workers,
        )
        deadlines = Deadlines(queues, time.time, journal)
        running = [tasks.create_task(part.run()) for part in (upstream, downstream, conclusions, deadlines, pool)]
        if wait_connected:
            async with asyncio.timeout(WAIT_S):
                await pool.anyone_connected.wait()
        yield Node(twin, identity, queues, pool, upstream, downstream, conclusions, cache, journal)
        for task in running:
            task.cancel()


@asynccontextmanager
async def two_nodes(relay_url: str, *key_types: KeyType) -> AsyncIterator[tuple[Node, Node]]:
    """Two gateways with one registry and one relay."""
    registry = MemoryRegistry()
    first, second = key_types or ("ed25519", "ed25519")
    async with (
        running_node(registry, [relay_url], identity=new_identity(first)) as a,
        running_node(registry, [relay_url], identity=new_identity(second)) as b,
    ):
        yield a, b
