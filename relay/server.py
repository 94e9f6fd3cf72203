"""The port of the relay: WebSocket upgrades on any path, federation, what clients are told (spec rmb 6.1).

This module turns requests into calls and results into answers. It refuses to know how anything is stored.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import orjson
from aiohttp import hdrs, web

from relay.acknowledged import AcknowledgedConnection
from relay.admission import RETRY_S as ADMISSION_RETRY_S
from relay.admission import Admission, Admitted
from relay.attended import Attended
from relay.connection import Connection
from relay.draining import WIND_UP_S_MAX, stop_one_by_one
from relay.exchange import Exchange
from relay.federation.admission import Caller
from relay.federation.answers import Answer, bad_request
from relay.federation.gate import Gate
from relay.federation.inbound import accept_post
from relay.federation.link_serving import LINKS_PER_RELAY_MAX, RelayConnection, claims_relay
from relay.federation.link_signature import NONCE_HEADER
from relay.frames import frame_bytes_max
from relay.http_refusal import SERVER, refusal_headers
from relay.mailboxes import Mailboxes
from relay.occupancy import Occupancy
from relay.probe import PROBE_TWIN
from relay.session_log import SessionLog
from relay.sessions import Sessions
from relay.signed_in import Common, SignedIn
from relay.signin import SignInRefused, sign_in, sign_in_by_header
from relay.switch import Refusal
from relay.tasks import end as end_tasks
from relay.tickets import ticket_of, token_of
from relay.upgrade import AtEnd, Upgraded
from relay.visitors import door_of
from relay.websocket import BadHandshake, ClientSocket, check_handshake, offers, wants_websocket
from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.heartbeat import Rhythm
from rmb_peer.protocol.link.endings import SUBPROTOCOL
from rmb_peer.registry.lookup import TwinLookup

BODIES_BYTES_MAX = 128 * 1024 * 1024
"""Bytes of posted bodies held at once; a guess: eight of the largest."""

STOPPING_RETRY_S = 2
"""When a relay that is stopping may be back; a guess."""

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
        gate: Gate,
        *,
        rhythm: Rhythm,
        message_bytes_max: int,
        direct_s_max: float,
        well_known: dict[str, Any],
        admits: TwinLookup,
        session_log: SessionLog,
        admission: Admission,
        body_s: float,
    ) -> None:
        """Set up.

        Args:
            exchange: what all sessions share.
            sessions: who is connected.
            mailboxes: the store.
            gate: what posts of other relays come through.
            rhythm: pings.
            message_bytes_max: largest envelope.
            direct_s_max: see `RelayConfig`.
            well_known: what `/.well-known/rmb` tells clients.
            admits: says who may sign in.
            session_log: says who comes and goes.
            admission: who may sign in.
            body_s: how long a posted body may take to arrive.
        """
        self._exchange = exchange
        self._gate = gate
        self._admits = admits
        self._message_bytes_max = message_bytes_max
        self._common = Common(exchange, sessions, mailboxes, rhythm, message_bytes_max, direct_s_max, session_log)
        self._well_known = orjson.dumps(well_known)
        self._links: Occupancy[str] = Occupancy(LINKS_PER_RELAY_MAX)
        exchange.metrics.links = lambda: self._links.total
        self._admission = admission
        self._body_s = body_s
        self._connections: dict[Attended[Any], asyncio.Task[None]] = {}
        """Sessions, and links of other relays, with what serves them."""
        self._admitted: dict[SignedIn, Admitted] = {}
        """The sessions among them, and why each was let in."""
        self._all_gone = asyncio.Event()
        self._all_gone.set()
        self._stopping = False
        self._bodies_bytes = 0

    def add_to(self, app: web.Application) -> None:
        """Register everything. Upgrades come before any route, since their path does not count."""
        app.middlewares.append(self._entrance)
        app.router.add_post("/", self._post)
        app.router.add_get("/.well-known/rmb", self._tell_clients)
        app.on_response_prepare.append(prepare)

    def admit(self, admission: Admission) -> None:
        """From now on this is who may sign in; whoever may not any more has to go."""
        self._admission = admission
        for connection, admitted in tuple(self._admitted.items()):
            if connection.twin != PROBE_TWIN and not admission.still(connection.twin, admitted):
                connection.not_admitted()

    async def drain(self, spread_s: float) -> None:
        """End all sessions, one after another: what clients have read is confirmed, then they are told to go elsewhere.

        Args:
            spread_s: over how long at most they are told.
        """
        self._stopping = True
        await stop_one_by_one(self._connections, spread_s)
        try:
            async with asyncio.timeout(WIND_UP_S_MAX):
                await self._all_gone.wait()
        except TimeoutError:
            event(_LOG, logging.WARNING, "sessions did not end in time", count=len(self._connections))
            await end_tasks(tuple(self._connections.values()))

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
            if acknowledged and claims_relay(request.headers.get(hdrs.AUTHORIZATION)):
                return await self._upgrade_relay(request)
            return await self._upgrade_client(request, acknowledged)
        except SignInRefused as refused:
            self._exchange.metrics.refusals["sign_in"] += 1
            return _Plain(refused.status, refused.text)
        except BadHandshake as error:
            self._exchange.metrics.refusals["handshake"] += 1
            return _Plain(500, str(error))

    async def _upgrade_client(self, request: web.Request, acknowledged: bool) -> web.StreamResponse:
        owner = await self._sign_in(request, acknowledged)
        check_handshake(request.headers)
        probes = owner.twin == PROBE_TWIN  # of this process: it has signed in
        admitted = Admitted() if probes else self._admission.admit(owner.twin, ticket_of(request))
        if isinstance(admitted, Refusal):
            self._exchange.metrics.refusals[admitted.reason] += 1
            return _Plain(admitted.code, admitted.text, refusal_headers(admitted.reason, ADMISSION_RETRY_S))
        if self._stopping:
            return _stopping()
        connection = await self._accept(request, owner, acknowledged)
        self._admitted[connection] = admitted
        return self._upgraded(request, connection)

    async def _upgrade_relay(self, request: web.Request) -> web.StreamResponse:
        headers = request.headers
        proof = headers.get(hdrs.AUTHORIZATION), headers.get(NONCE_HEADER)
        caller = await self._gate.open_link(*proof, request.remote or "")
        if isinstance(caller, Answer):
            return _answer(caller)
        check_handshake(headers)
        if self._stopping:
            return _stopping()
        return self._upgraded(request, await self._accept_relay(request, caller))

    def _upgraded(self, request: web.Request, connection: Attended[Any]) -> Upgraded:
        """The connection begins at once: a session takes its place before its client can know that it has one."""
        connection.enter()
        if (door := door_of(request)) is not None:
            door.session_began()
        upgraded = Upgraded(connection.protocol, connection.go_on)
        serving = asyncio.get_running_loop().create_task(connection.run())
        self._connections[connection] = serving
        self._all_gone.clear()
        serving.add_done_callback(partial(self._ended, connection, upgraded.at_end))
        if self._stopping:  # it began while the handshake was under way
            connection.stop()
        return upgraded

    def _ended(self, connection: Attended[Any], at_end: list[AtEnd], serving: "asyncio.Task[None]") -> None:
        del self._connections[connection]
        if isinstance(connection, SignedIn):
            del self._admitted[connection]
        if not self._connections:
            self._all_gone.set()
        for hear in at_end:
            hear()
        if not serving.cancelled() and (error := serving.exception()) is not None:
            connection.abort()
            _LOG.error("a session failed", exc_info=error)

    async def _sign_in(self, request: web.Request, acknowledged: bool) -> Address:
        """A client that offers rmb.2 may hand its token over in a header, where no log of a proxy shows it."""
        lookup, names, now_s = self._admits, self._exchange.domains, int(self._exchange.now_s())
        scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if acknowledged and scheme.lower() == "bearer":
            return await sign_in_by_header(token.strip(), lookup, now_s, names)
        return await sign_in(token_of(request), lookup, now_s, names)

    async def _accept(self, request: web.Request, owner: Address, acknowledged: bool) -> SignedIn:
        size_max = self._message_bytes_max
        if acknowledged:
            socket = await ClientSocket.accept(request, frame_bytes_max(size_max), SUBPROTOCOL, size_max)
            return AcknowledgedConnection(socket, owner, self._common)
        return Connection(await ClientSocket.accept(request, size_max), owner, self._common)

    async def _accept_relay(self, request: web.Request, caller: Caller) -> RelayConnection:
        return RelayConnection(
            await ClientSocket.accept(request, frame_bytes_max(self._message_bytes_max), SUBPROTOCOL),
            caller.name,
            self._exchange,
            self._links,
            rhythm=self._common.rhythm,
            message_bytes_max=self._message_bytes_max,
            refuse_rate=partial(self._gate.refuse_rate, caller),
        )

    async def _post(self, request: web.Request) -> web.StreamResponse:
        if (request.content_length or 0) > self._message_bytes_max:
            return self._too_large()
        entrant = await self._gate.enter(request.headers.get(hdrs.AUTHORIZATION), request.remote or "")
        if isinstance(entrant, Answer):
            return _answer(entrant)
        body = bytearray()
        try:
            refused = await self._read(request, body)
            if refused is not None:
                return refused
            handle = partial(accept_post, exchange=self._exchange)
            return _answer(await self._gate.accept(entrant, bytes(body), handle))
        finally:
            self._bodies_bytes -= len(body)

    async def _read(self, request: web.Request, body: bytearray) -> web.Response | None:
        """Fill `body`; what is in it counts as held. Returns the answer when it cannot be had."""
        try:
            async with asyncio.timeout(self._body_s):
                async for chunk in request.content.iter_chunked(_READ_BYTES):
                    self._bodies_bytes += len(chunk)
                    body += chunk
                    if len(body) > self._message_bytes_max:
                        return self._too_large()
                    if self._bodies_bytes > BODIES_BYTES_MAX:
                        self._exchange.metrics.refusals["busy"] += 1
                        return _Plain(503, "too many messages at once: try again in 1 s", refusal_headers("busy", 1))
        except TimeoutError:
            self._exchange.metrics.refusals["slow_body"] += 1
            return _answer(bad_request(f"the body did not arrive within {self._body_s:g} seconds"))
        except web.RequestPayloadError as error:
            return _answer(bad_request(str(error)))
        return None

    def _too_large(self) -> web.Response:
        self._exchange.metrics.refusals["too_large"] += 1
        return _Plain(413, f"message is too large: at most {self._message_bytes_max} bytes are accepted")

    async def _tell_clients(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=self._well_known, content_type="application/json")


class _Plain(web.Response):
    """A text without a content type, as other relays send it (spec rmb 4.3)."""

    def __init__(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(status=status, body=text.encode(), headers=headers)


async def prepare(request: web.Request, response: web.StreamResponse) -> None:
    """Last look at the headers: aiohttp adds a content type to every body, and the versions of its parts."""
    if isinstance(response, _Plain):
        response.headers.popall(hdrs.CONTENT_TYPE, None)
    response.headers[hdrs.SERVER] = SERVER


def _answer(answer: Answer) -> web.Response:
    headers: dict[str, str] | None = {hdrs.RETRY_AFTER: str(answer.retry_after_s)} if answer.retry_after_s else None
    return _Plain(answer.status, answer.text, headers)


def _stopping() -> web.Response:
    return _Plain(503, "relay is shutting down", refusal_headers("shutting_down", STOPPING_RETRY_S))
