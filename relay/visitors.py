"""Every request: who asks, and that its connection is busy while it is answered.

Behind a trusted proxy many clients share its address, so that their number is bounded here, request by request (a
session belongs to the request that began it), and `request.remote` and `request.scheme` become those of the client. It
refuses to know what is asked.
"""

import logging
from collections.abc import Awaitable, Callable
from functools import partial

from aiohttp import web

from relay.client_address import LOOPBACK, Client, client_of, read_address, site_of, within
from relay.entrance import RETRY_S, Door, too_many_connections
from relay.http_refusal import refusal_headers
from relay.limit_settings import LimitSettings
from relay.metrics import Metrics
from relay.occupancy import Occupancy
from relay.upgrade import Upgraded
from rmb_peer.logs import event, get_logger

FORWARDED_FOR, FORWARDED_PROTO = "X-Forwarded-For", "X-Forwarded-Proto"

_LOG = get_logger("relay")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Visitors:
    """The outermost middleware."""

    def __init__(self, settings: LimitSettings, metrics: Metrics, occupancy: Occupancy[str]) -> None:
        """Set up.

        Args:
            settings: limits, and who is trusted.
            metrics: counts refusals.
            occupancy: connections by address.
        """
        self._settings = settings
        self._metrics = metrics
        self._occupancy = occupancy
        self._warned = False

    def add_to(self, app: web.Application) -> None:
        """Come before everything else."""
        app.middlewares.insert(0, self._middleware)

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        door = door_of(request)
        if door is not None:
            door.request_began()
        try:
            return await self._visit(request, handler)
        finally:
            if door is not None:
                door.request_ended()

    async def _visit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        client = self._client(request)
        if client.address != request.remote or client.secure != request.secure:
            request = request.clone(remote=client.address, scheme="https" if client.secure else "http")
        if not client.proxied or within(read_address(client.address), self._settings.uncounted):
            return await handler(request)
        site = site_of(client.address)
        if not self._occupancy.enter(site):
            refusal = too_many_connections(site, self._settings)
            self._metrics.refusals[refusal.reason] += 1
            headers = refusal_headers(refusal.reason, RETRY_S)
            return web.Response(status=429, text=refusal.text, headers=headers)
        response: web.StreamResponse | None = None
        try:
            response = await handler(request)
        finally:
            if isinstance(response, Upgraded):
                response.at_end.append(partial(self._occupancy.leave, site))
            else:
                self._occupancy.leave(site)
        return response

    def _client(self, request: web.Request) -> Client:
        peer = request.remote or ""
        forwarded_for = request.headers.getall(FORWARDED_FOR, [])
        trusted = self._settings.trusted_proxies
        if forwarded_for and not trusted and not self._warned and within(read_address(peer), LOOPBACK):
            self._warned = True
            event(
                _LOG,
                logging.WARNING,
                "a proxy on this machine tells who its clients are, and is not believed: give --trusted-proxy",
                proxy=peer,
            )
        return client_of(peer, request.secure, forwarded_for, request.headers.getall(FORWARDED_PROTO, []), trusted)


def door_of(request: web.Request) -> Door | None:
    """The door of the connection that a request came on; `None` when that is gone, or has none."""
    transport = request.transport
    protocol = None if transport is None else transport.get_protocol()
    return protocol if isinstance(protocol, Door) else None
