"""A relay that calls ours: it publishes a key, and opens links with a WebSocket that is not ours."""

import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from aiohttp import web
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from relay.federation.link_signature import NONCE_BYTES, sign_link
from relay.identity import RelayIdentity
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.link.endings import SUBPROTOCOL, Window
from tests.support.link_client import WIDE, LinkClient, speaking
from tests.support.relay import DOMAIN, TestBed


class CallingRelay:
    """One of them.

    Attributes:
        name: where it is, `localhost:<port>`.
        identity: its key.
        card: what it publishes.
    """

    def __init__(self) -> None:
        self.name = ""
        self.identity = RelayIdentity(secrets.token_bytes(32))
        self.card: dict[str, Any] = {"relay_key": self.identity.public_key.hex()}

    def proof(
        self, *, to: str = DOMAIN, ago_s: float = 0.0, nonce: bytes | None = None, identity: RelayIdentity | None = None
    ) -> Mapping[str, str]:
        """Headers that open a link."""
        nonce = secrets.token_bytes(NONCE_BYTES) if nonce is None else nonce
        return sign_link(identity or self.identity, self.name, to, nonce, time.time() - ago_s)

    def dial(self, bed: TestBed, headers: Mapping[str, str], *, subprotocol: str = SUBPROTOCOL) -> connect:
        return connect(
            f"{bed.app.url}/",
            subprotocols=[Subprotocol(subprotocol)],
            additional_headers=headers,
            compression=None,
            ping_interval=None,
            max_size=None,
        )

    def link(self, bed: TestBed, *, window: Window = WIDE) -> AbstractAsyncContextManager[LinkClient]:
        """An open link."""
        return self._link(bed, window)

    @asynccontextmanager
    async def _link(self, bed: TestBed, window: Window) -> AsyncIterator[LinkClient]:
        async with (
            self.dial(bed, self.proof()) as socket,
            speaking(LinkClient(socket, Address(0), window, True)) as client,
        ):
            yield client


@asynccontextmanager
async def calling_relay() -> AsyncIterator[CallingRelay]:
    """A running one."""
    calling = CallingRelay()

    async def tell(request: web.Request) -> web.Response:
        return web.json_response(calling.card)

    app = web.Application()
    app.router.add_get("/.well-known/rmb", tell)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        calling.name = f"localhost:{runner.addresses[0][1]}"
        yield calling
    finally:
        await runner.cleanup()
