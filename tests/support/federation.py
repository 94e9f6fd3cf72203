"""Several of our relays that federate on loopback, each with a Valkey of its own."""

import random
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from websockets.asyncio.client import connect

from relay.app import RelayApp
from relay.config import RelayConfig
from relay.federation.outbound import RemoteStatus
from relay.federation.settings import FederationSettings
from relay.federation.speaker import Queued
from rmb_peer.protocol.address import Address
from tests.support.proxy import Proxy, proxy
from tests.support.relay import Directory, metric, request, token
from tests.support.services import valkey

QUICK = FederationSettings(retry_s_first=0.02, retry_s_max=0.2, look_s=0.1, connect_s_max=60.0, answer_s_max=60.0)
"""A test need not wait for pauses that operators want; a loaded machine is no sick relay."""


def seeded(seed: int) -> Callable[[], float]:
    return random.Random(seed).random


class Node:
    """One relay, which can be stopped, killed and started again on the same port and store."""

    def __init__(self, store_url: str, store: Redis, directory: Directory, settings: FederationSettings) -> None:
        self.store: Any = store
        self.door: Proxy | None = None
        self.directory = directory
        self.settings = settings
        self.port = 0
        self.now_s: Callable[[], float] = time.time
        self._store_url = self._own_url = store_url
        self._app: RelayApp | None = None
        self._reserved: socket.socket | None = None

    @property
    def app(self) -> RelayApp:
        assert self._app is not None
        return self._app

    @property
    def name(self) -> str:
        return f"localhost:{self.port}"

    async def start(self, **options: Any) -> None:
        config = RelayConfig(
            redis_url=self._store_url,
            listen_host="127.0.0.1",
            listen_port=self.port,
            federation=self.settings,
            **options,
        )
        app = RelayApp(config, lookup=self.directory, now_s=self.now_s)
        await app.__aenter__()
        self._app = app
        self.port = int(app.address.rpartition(":")[2])
        self._let_port_go()

    async def down(self) -> None:
        """Stop, and keep the port: whoever connects meanwhile is refused."""
        await self.stop()
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reserved.bind(("127.0.0.1", self.port))

    def _let_port_go(self) -> None:
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None

    async def stop(self) -> None:
        self._let_port_go()
        app, self._app = self._app, None
        if app is not None:
            await app.__aexit__(None, None, None)

    @asynccontextmanager
    async def another_process(self) -> AsyncIterator["Node"]:
        """A second relay on the same store, under the same name; it is called a process here."""
        node = Node(self._own_url, self.store, self.directory, self.settings)
        await node.start(domains=(self.name,))
        try:
            yield node
        finally:
            await node.stop()

    @asynccontextmanager
    async def dying(self) -> AsyncIterator["Node"]:
        """The same, for a process that dies inside the context: the store hears nothing of it from `cut` on."""
        async with proxy(self._own_url) as door:
            node = Node(door.url, self.store, self.directory, self.settings)
            node.door = door
            await node.start(domains=(self.name,), store_patience_s=0.1)
            try:
                yield node
            finally:
                await node.stop()

    def client(self, twin: int, session: str | None = None, **options: Any) -> connect:
        owner = Address(twin, session)
        url = f"ws://127.0.0.1:{self.port}/?{token(owner)}"
        return connect(url, compression=None, max_size=None, ping_interval=None, **options)

    def metric(self, name: str) -> float:
        return metric(self.app.metrics.text().decode(), name)

    def statuses(self) -> dict[str, RemoteStatus]:
        """What this process knows of other relays."""
        assert self.app.federation is not None
        return {status.name: status for status in self.app.federation.statuses()}

    def waits_for(self, name: str) -> int:
        """Envelopes that this process knows to wait for a relay."""
        status = self.statuses().get(name)
        return status.count if status else 0

    def fails(self, name: str) -> int:
        """Failures in a row that this process knows of."""
        status = self.statuses().get(name)
        return status.health.failures if status else 0

    async def lease(self, name: str) -> bytes | None:
        """The process that empties an outbox."""
        owner: bytes | None = await self.store.get(f"relay.outbox.lease:{{{name}}}")
        return owner

    async def waiting(self, name: str) -> int:
        """Envelopes in an outbox."""
        return int(await self.store.xlen(f"relay.outbox:{{{name}}}"))

    async def waiting_is(self, name: str, count: int) -> bool:
        """Whether so many wait in an outbox."""
        return await self.waiting(name) == count


@asynccontextmanager
async def nodes(
    folder: Path, count: int, directory: Directory | None = None, **settings: Any
) -> AsyncIterator[list[Node]]:
    """Relays that run."""
    directory = directory or Directory()
    async with AsyncExitStack() as stack:
        made = []
        for number in range(count):
            server, client = await stack.enter_async_context(valkey(folder / f"store{number}"))
            node = Node(server.url, client, directory, replace(QUICK, **settings))
            stack.push_async_callback(node.stop)
            await node.start()
            made.append(node)
        yield made


def queued(destination: int | str, uid: str, *, number: int = 1, **options: Any) -> Queued:
    """An entry of an outbox."""
    return Queued(f"{number}-0", request(7, destination, uid, **options).SerializeToString(), int(time.time()) + 300)
