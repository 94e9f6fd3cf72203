"""Several relays on one store, in this process: each is what a process of its own would be."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from websockets.asyncio.client import connect

from relay.app import RelayApp
from relay.config import RelayConfig
from relay.process_settings import Timing
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.envelope import parse_envelope
from tests.support.proxy import Proxy, proxy
from tests.support.relay import DOMAIN, Directory, token
from tests.support.services import valkey

PATIENT = Timing(beat_s=0.1, life_s=600.0, check_s=600.0)
"""Nobody is taken for dead, and nothing is found by checking: what is told has to arrive."""

QUICK = Timing(beat_s=0.1, life_s=1.0, check_s=0.2)
"""Deaths and losses are noticed soon."""


class ManyRelays:
    """Relays that share a store.

    Attributes:
        apps: those that run.
        store: a client of the store.
        directory: the twins that all of them know.
        doors: for each relay, what is between it and the store.
    """

    def __init__(self, url: str, store: Redis, directory: Directory, timing: Timing) -> None:
        self.url = url
        self.store: Any = store
        self.directory = directory
        self.apps: list[RelayApp] = []
        self.doors: list[Proxy] = []
        self._timing = timing
        self._stack = AsyncExitStack()

    async def add(self, **config: Any) -> RelayApp:
        """Start one more."""
        door = await self._stack.enter_async_context(proxy(self.url))
        options: dict[str, Any] = {
            "domains": (DOMAIN,),
            "listen_host": "127.0.0.1",
            "listen_port": 0,
            "presence": self._timing,
        }
        options |= {"redis_url": door.url, "direct_s_max": 600.0, **config}
        app = RelayApp(RelayConfig(**options), lookup=self.directory)
        await self._stack.enter_async_context(app)
        await app.presence.listens()
        self.apps.append(app)
        self.doors.append(door)
        return app

    def client(self, number: int, twin: int, session: str | None = None, **options: Any) -> connect:
        """A signed-in WebSocket client of one of them."""
        options = {"compression": None, "max_size": None, "ping_interval": None, **options}
        return connect(f"{self.apps[number].url}/?{token(Address(twin, session))}", **options)

    def at(self, number: int) -> "Place":
        """One of them, for those who connect to only one."""
        return Place(self, number)

    async def waiting(self, owner: str) -> list[str]:
        """The uids in a mailbox, oldest first."""
        return [parse_envelope(fields[b"_"]).uid for _, fields in await self.store.xrange(f"stream:{owner}")]

    async def know_each_other(self) -> None:
        """Wait until each relay knows that it is not alone."""
        async with asyncio.timeout(60):
            while not all(app.presence.others for app in self.apps):
                await asyncio.sleep(0.005)

    async def close(self) -> None:
        for door in self.doors:
            door.down = False
        await self._stack.aclose()


class Place:
    """One relay of many."""

    def __init__(self, relays: ManyRelays, number: int) -> None:
        self._relays = relays
        self._number = number

    def client(self, twin: int, session: str | None = None, **options: Any) -> connect:
        return self._relays.client(self._number, twin, session, **options)


@asynccontextmanager
async def many_relays(
    folder: Path, count: int, *twins: int, timing: Timing = PATIENT, **config: Any
) -> AsyncIterator[ManyRelays]:
    """So many relays on one Valkey, which know each other."""
    async with valkey(folder) as (server, client):
        relays = ManyRelays(server.url, client, Directory(*twins), timing)
        try:
            for _ in range(count):
                await relays.add(**config)
            if count > 1:
                await relays.know_each_other()
            yield relays
        finally:
            await relays.close()
