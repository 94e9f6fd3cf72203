"""A relay of the existing protocol (rmb.1), small enough to be told how to misbehave.

It reads tokens, forwards binary frames or keeps them for who is not connected, and remembers everything. It is written
from the specification and shares no code with `relay/`: the gateway is tested against a relay that is not its sibling.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from rmb_peer.protocol.pb.envelope_pb2 import Envelope

WAIT_S = 60.0


class ScriptedRelay:
    """See the module.

    Attributes:
        received: every envelope that arrived, in order.
        swallow: called for each; when it is true the envelope goes no further.
        connections: by twin.
        accepted: how many connections were made.
        refuse: status and body with which new connections are refused.
    """

    def __init__(self) -> None:
        self.received: list[Envelope] = []
        self.swallow: Callable[[Envelope], bool] = lambda envelope: False
        self.connections: dict[int, ServerConnection] = {}
        self.accepted = 0
        self.refuse: tuple[HTTPStatus, str] | None = None
        self._server: Server | None = None
        self._changed = asyncio.Condition()
        self._kept: dict[int, list[bytes]] = {}
        self.port = 0

    @property
    def url(self) -> str:
        return f"ws://localhost:{self.port}"

    @property
    def name(self) -> str:
        return f"localhost:{self.port}"

    async def start(self) -> None:
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            self.port,
            process_request=self._process_request,
            select_subprotocol=lambda connection, offered: self._select(offered),
            compression=None,
            max_size=64 * 1024 * 1024,
            ping_interval=None,
            close_timeout=0.2,
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def stop(self) -> None:
        """Close every connection without a word, as a crash would."""
        assert self._server is not None
        for connection in list(self.connections.values()):
            connection.transport.abort()
        self._server.close()
        await self._server.wait_closed()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something about this relay is true."""
        async with asyncio.timeout(WAIT_S), self._changed:
            await self._changed.wait_for(lambda: bool(condition()))

    async def deliver(self, twin: int, envelope: Envelope) -> None:
        """Send an envelope to a connected twin, as if it had been routed here."""
        await self._hand_over(twin, envelope.SerializeToString())

    def _select(self, offered: Sequence[Subprotocol]) -> Subprotocol | None:
        """What the answer to the handshake names: nothing, as relays do that know no subprotocols."""
        return None

    def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        if self.refuse is not None:
            return connection.respond(*self.refuse)
        claims = request.path.partition("?")[2].split(".")[1]
        padded = claims + "=" * (-len(claims) % 4)
        connection.twin = json.loads(base64.urlsafe_b64decode(padded))["sub"]  # type: ignore[attr-defined]
        return None

    async def _serve(self, connection: ServerConnection) -> None:
        twin: int = connection.twin  # type: ignore[attr-defined]
        self.connections[twin] = connection
        self.accepted += 1
        await self._notify()
        for frame in self._kept.pop(twin, []):
            await connection.send(frame)
        try:
            async for data in connection:
                assert isinstance(data, bytes)
                await self._route(data)
        except ConnectionClosed:
            pass
        finally:
            if self.connections.get(twin) is connection:
                del self.connections[twin]
            await self._notify()

    async def _route(self, frame: bytes) -> None:
        envelope = Envelope.FromString(frame)
        self.received.append(envelope)
        await self._notify()
        if not self.swallow(envelope):
            if envelope.destination.twin in self.connections:
                await self._hand_over(envelope.destination.twin, frame)
            else:
                self._kept.setdefault(envelope.destination.twin, []).append(frame)

    async def _hand_over(self, twin: int, frame: bytes) -> None:
        await self.connections[twin].send(frame)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


KIND: type[ScriptedRelay] = ScriptedRelay
"""What `scripted_relay` makes; tests/peer/conftest.py puts one in place that speaks rmb.2."""


@asynccontextmanager
async def scripted_relay() -> AsyncIterator[ScriptedRelay]:
    """A running one."""
    relay = KIND()
    await relay.start()
    try:
        yield relay
    finally:
        await relay.stop()
