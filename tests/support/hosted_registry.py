"""A hosted registry as clients meet it: real HTTP on loopback, in front of a real Valkey or of a host that cheats."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from redis.asyncio import Redis

from relay.claim_limit import ClaimLimit
from relay.registry_api import add_registry_routes
from relay.registry_store import RegistryStore
from rmb_peer.protocol.signatures import KeyType, Signer, make_signer
from rmb_peer.protocol.twin import Twin
from rmb_peer.protocol.twin_record import SignedTwin, sign_twin
from rmb_peer.registry.base import Registry

PATIENCE_S = 60.0
"""How long a test waits for something that must happen."""


def signer(name: str, key_type: KeyType = "sr25519") -> Signer:
    """The key of a test twin, the same for the same name."""
    return make_signer(hashlib.sha256(name.encode()).digest(), key_type)


def record(name: str, twin_id: int, version: int = 1, relays: tuple[str, ...] = ("relay.test",)) -> SignedTwin:
    """A signed record."""
    key = signer(name)
    return sign_twin(Twin(twin_id, key.account, frozenset(relays), None, version), key)


@asynccontextmanager
async def serve(app: web.Application, port: int = 0) -> AsyncIterator[str]:
    """Run an application on loopback; yields `http://127.0.0.1:<port>`."""
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def hosted(
    redis: Redis, *, port: int = 0, claims_per_minute: float = 10_000, **limits: Any
) -> AsyncIterator[str]:
    """A relay's registry over `redis`; `limits` go to its store."""
    app = web.Application()
    names: set[str] = set()
    store = RegistryStore(redis, **limits)
    add_registry_routes(app, store, audience_names=names, claim_limit=ClaimLimit(claims_per_minute))
    async with serve(app, port) as url:
        names.add(url.removeprefix("http://"))
        yield url


class ScriptedHost:
    """A host whose answers the test writes: path and method to status and JSON, or to a coroutine that answers."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any] | Callable[[web.Request], Awaitable[web.StreamResponse]]] = {}
        self.asked: list[str] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        what = f"{request.method} {request.path.removeprefix('/registry/v1')}"
        self.asked.append(what)
        answer = self.answers.get(what, (404, {"error": "no such twin", "absent": True}))
        if isinstance(answer, tuple):
            return web.json_response(answer[1], status=answer[0])
        return await answer(request)


@asynccontextmanager
async def scripted_host() -> AsyncIterator[tuple[ScriptedHost, str]]:
    """A scripted host and its URL."""
    host = ScriptedHost()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", host.handle)
    async with serve(app) as url:
        yield host, url


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something in this process is true."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.001)


class Listener:
    """Collects what a registry tells about changes, in a task of its own."""

    def __init__(self, registry: Registry) -> None:
        self.heard: list[Twin] = []
        self._task = asyncio.create_task(self._listen(registry))

    async def _listen(self, registry: Registry) -> None:
        async for twin in registry.watch():
            self.heard.append(twin)

    async def stop(self) -> None:
        """End it."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
