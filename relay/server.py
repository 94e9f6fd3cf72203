"""The one port of the relay: WebSocket upgrades on any path, federation, health, metrics (spec rmb 6.1).

This module turns requests into calls and results into answers. It refuses to know how anything is stored.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import hdrs, web

from relay.acknowledged import AcknowledgedConnection, frame_bytes_max
from relay.connection import Connection
from relay.exchange import Exchange
from relay.federation.inbound import Answer, accept_post, bad_request
from relay.mailboxes import Mailboxes, MailboxFailed
from relay.metrics import CONTENT_TYPE
from relay.sessions import Sessions
from relay.signed_in import Common, SignedIn
from relay.signin import SignInRefused, sign_in, sign_in_by_header
from relay.websocket import BadHandshake, ClientSocket, check_handshake, offers, wants_websocket
from rmb_peer import __version__
from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.heartbeat import Rhythm
from rmb_peer.protocol.link.endings import SUBPROTOCOL

BODIES_BYTES_MAX = 128 * 1024 * 1024
"""Bytes of posted bodies held at once; a guess: eight of the largest."""

BODY_S_MAX = 30.0
"""How long a body may take to arrive; ten times what other relays wait before they give up (spec rmb 6.8)."""

_READ_BYTES = 64 * 1024
_LOG = get_logger("relay")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """All requests."""

    def __init__(
        self,
        exchange: Exchange,
        sessions: Sessions,
        mailboxes: Mailboxes,
        *,
        rhythm: Rhythm,
        message_bytes_max: int,
        direct_s_max: float,
        well_known: dict[str, Any],
    ) -> None:
        """Set up.

        Args:
            exchange: what all sessions share.
            sessions: who is connected.
            mailboxes: the store.
            rhythm: pings.
            message_bytes_max: largest envelope.
            direct_s_max: see `RelayConfig`.
            well_known: what `/.well-known/rmb` tells clients.
        """
        self._exchange = exchange
        self._mailboxes = mailboxes
        self._message_bytes_max = message_bytes_max
        self._common = Common(exchange, sessions, mailboxes, rhythm, message_bytes_max, direct_s_max)
        self._well_known = orjson.dumps(well_known)
        self._connections: set[SignedIn] = set()
        self._all_gone = asyncio.Event()
        self._all_gone.set()
        self._stopping = False
        self._bodies_bytes = 0
        self.scrape: Callable[[], Awaitable[bytes]] = self._own_metrics
        """The metrics: of this process, or of all of them."""

    def add_to(self, app: web.Application) -> None:
        """Register everything. Upgrades come before any route, since their path does not count."""
        app.middlewares.append(self._entrance)
        app.router.add_post("/", self._post)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._health)
        app.router.add_get("/.well-known/rmb", self._tell_clients)
        app.on_response_prepare.append(_prepare)

    async def drain(self, drain_s_max: float) -> None:
        """End all sessions: what clients have read is confirmed, then they are told to go elsewhere."""
        self._stopping = True
        for connection in tuple(self._connections):
            connection.stop()
        try:
            async with asyncio.timeout(drain_s_max):
                await self._all_gone.wait()
        except TimeoutError:
            event(_LOG, logging.WARNING, "sessions did not end in time", count=len(self._connections))

    @web.middleware
    async def _entrance(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if wants_websocket(request.headers):
            return await self._upgrade(request)
        if request.match_info.http_exception is not None:  # no such path, or not with this method
            return _Plain(404, "page not found")
        return await handler(request)

    async def _upgrade(self, request: web.Request) -> web.StreamResponse:
        acknowledged = offers(request.headers, SUBPROTOCOL)
        try:
            owner = await self._sign_in(request, acknowledged)
            check_handshake(request.headers)
        except SignInRefused as refused:
            self._exchange.metrics.refusals["sign_in"] += 1
            return _Plain(refused.status, refused.text)
        except BadHandshake as error:
            self._exchange.metrics.refusals["handshake"] += 1
            return _Plain(500, str(error))
        if self._stopping:
            return _Plain(503, "relay is shutting down")
        connection = await self._accept(request, owner, acknowledged)
        self._connections.add(connection)
        self._all_gone.clear()
        if self._stopping:  # it began while the handshake was under way
            connection.stop()
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
            if not self._connections:
                self._all_gone.set()
        return connection.response

    async def _sign_in(self, request: web.Request, acknowledged: bool) -> Address:
        """A client that offers rmb.2 may hand its token over in a header, where no log of a proxy shows it."""
        lookup, names, now_s = self._exchange.lookup, self._exchange.domains, int(self._exchange.now_s())
        scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if acknowledged and scheme.lower() == "bearer":
            return await sign_in_by_header(token.strip(), lookup, now_s, names)
        return await sign_in(request.raw_path.partition("?")[2], lookup, now_s, names)

    async def _accept(self, request: web.Request, owner: Address, acknowledged: bool) -> SignedIn:
        size_max = self._message_bytes_max
        if acknowledged:
            socket = await ClientSocket.accept(request, frame_bytes_max(size_max), SUBPROTOCOL)
            return AcknowledgedConnection(socket, owner, self._common)
        return Connection(await ClientSocket.accept(request, size_max), owner, self._common)

    async def _post(self, request: web.Request) -> web.StreamResponse:
        held = 0
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_S_MAX):
                if (request.content_length or 0) > self._message_bytes_max:
                    return self._too_large()
                async for chunk in request.content.iter_chunked(_READ_BYTES):
                    held += len(chunk)
                    self._bodies_bytes += len(chunk)
                    body += chunk
                    if held > self._message_bytes_max:
                        return self._too_large()
                    if self._bodies_bytes > BODIES_BYTES_MAX:
                        self._exchange.metrics.refusals["busy"] += 1
                        return _Plain(503, "too many messages at once: try again later", {hdrs.RETRY_AFTER: "1"})
            return _answer(await accept_post(bytes(body), self._exchange))
        except TimeoutError:
            return _answer(bad_request(f"the body did not arrive within {BODY_S_MAX:g} seconds"))
        except web.RequestPayloadError as error:
            return _answer(bad_request(str(error)))
        finally:
            self._bodies_bytes -= held

    def _too_large(self) -> web.Response:
        self._exchange.metrics.refusals["too_large"] += 1
        return _Plain(413, f"message is too large: at most {self._message_bytes_max} bytes are accepted")

    async def _own_metrics(self) -> bytes:
        return self._exchange.metrics.text()

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=await self.scrape(), headers={hdrs.CONTENT_TYPE: CONTENT_TYPE})

    async def _health(self, request: web.Request) -> web.StreamResponse:
        try:
            await self._mailboxes.ping()
        except MailboxFailed as error:
            return _json({"status": "failing", "reason": str(error)}, 503)
        return _json({"status": "ok"})

    async def _tell_clients(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=self._well_known, content_type="application/json")


class _Plain(web.Response):
    """A text without a content type, as other relays send it (spec rmb 4.3)."""

    def __init__(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(status=status, body=text.encode(), headers=headers)


async def _prepare(request: web.Request, response: web.StreamResponse) -> None:
    """Last look at the headers: aiohttp adds a content type to every body, and the versions of its parts."""
    if isinstance(response, _Plain):
        response.headers.popall(hdrs.CONTENT_TYPE, None)
    response.headers[hdrs.SERVER] = f"rmb-relay/{__version__}"


def _answer(answer: Answer) -> web.Response:
    return _Plain(answer.status, answer.text)


def _json(value: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(value), content_type="application/json")
