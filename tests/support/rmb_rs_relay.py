"""A relay for federation tests that answers `POST /` exactly as rmb-rs does (spec rmb 6.8), and can be told to be sick.

It shares no code with ours: the envelope is read with the generated protobuf class only.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import hdrs, web
from google.protobuf.message import DecodeError

from rmb_peer.protocol.pb.envelope_pb2 import Envelope


class Whim:
    """One way to be sick."""

    def __init__(
        self,
        status: int = 0,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        *,
        hang: bool = False,
        cut: bool = False,
        raw: bytes = b"",
        accept: bool = False,
    ) -> None:
        """Answer this status, or never, or by breaking the connection, or with bytes that are no HTTP; `accept`: the
        envelope is taken all the same."""
        self.status = status
        self.body = body
        self.headers = headers or {}
        self.hang = hang
        self.cut = cut
        self.raw = raw
        self.accept = accept


class RmbRsRelay:
    """What was posted, and what shall happen next.

    Attributes:
        name: `localhost:PORT`.
        received: envelopes that were taken, in order.
        posts: how many requests came.
        at_once: the most that were being answered at one time.
        connected: destinations (twin, session) that `fail-fast` finds.
        whim: what happens to every request; `None` for the ordinary thing.
        whims: what happens to the next requests, before `whim`.
        twin_whims: what happens to requests for these twins.
        gate: requests wait for it.
        connections: how many were opened.
        headers: of the last request.
    """

    def __init__(self) -> None:
        self.name = ""
        self.received: list[Envelope] = []
        self.posts = 0
        self.at_once = 0
        self.connected: set[tuple[int, str | None]] = set()
        self.whim: Whim | None = None
        self.whims: deque[Whim] = deque()
        self.twin_whims: dict[int, Whim] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.connections = 0
        self.headers: dict[str, str] = {}
        self.card: bytes | None = None
        self._busy = 0
        self._released = asyncio.Event()
        self._seen: set[int] = set()

    @property
    def uids(self) -> list[str]:
        return [envelope.uid for envelope in self.received]

    def uids_for(self, twin: int) -> list[str]:
        return [envelope.uid for envelope in self.received if envelope.destination.twin == twin]

    def release(self) -> None:
        """Whoever hangs is let go."""
        self._released.set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.method != "POST" or request.path != "/":
            if request.path == "/.well-known/rmb" and self.card is not None:
                return web.Response(body=self.card, content_type="application/json")
            return web.Response(status=404, text="page not found")
        self.posts += 1
        self._busy += 1
        self.at_once = max(self.at_once, self._busy)
        self._count_connection(request)
        self.headers = dict(request.headers)
        try:
            await self.gate.wait()
            return await self._answer(request)
        finally:
            self._busy -= 1

    def _count_connection(self, request: web.Request) -> None:
        if id(request.transport) not in self._seen:
            self._seen.add(id(request.transport))
            self.connections += 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        try:
            envelope = Envelope.FromString(body)
        except DecodeError as error:
            return web.Response(status=400, text=f"bad request: {error}")
        whim = self.whims.popleft() if self.whims else self.twin_whims.get(envelope.destination.twin, self.whim)
        if whim is None:
            return self._route(envelope)
        if whim.accept:
            self.received.append(envelope)
        if whim.hang:
            await self._released.wait()
        if whim.raw or whim.cut:
            assert request.transport is not None
            request.transport.write(whim.raw)
            request.transport.close()
        return web.Response(status=whim.status or 200, body=whim.body, headers=whim.headers)

    def _route(self, envelope: Envelope) -> web.Response:
        address = envelope.destination
        destination = (address.twin, address.connection if address.HasField("connection") else None)
        if "fail-fast" in envelope.tags.replace(",", " ").split() and destination not in self.connected:
            return web.Response(status=404, text="destination offline")
        self.received.append(envelope)
        return web.Response(status=202)


@asynccontextmanager
async def rmb_rs_relay() -> AsyncIterator[RmbRsRelay]:
    """One on a free port of loopback."""
    relay = RmbRsRelay()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route(hdrs.METH_ANY, "/{path:.*}", relay.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    relay.name = f"localhost:{port}"
    try:
        yield relay
    finally:
        relay.release()
        relay.gate.set()
        await runner.cleanup()
