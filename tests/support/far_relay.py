"""The far end of a link between relays, scripted: it takes envelopes, and ends them as it is told.

The rules of the link are the product's (`protocol/link`); the WebSocket is not ours.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from relay.federation.link_speaker import Way
from rmb_peer.protocol.envelope import parse_envelope
from rmb_peer.protocol.link.endings import IS_SAFE, SUBPROTOCOL, LinkBroken, Outcome, Window
from rmb_peer.protocol.link.link import Link
from tests.support.relay import PATIENCE_S

AMPLE = Window(4096, 8 * 1024 * 1024)


class FarRelay:
    """See the module.

    Attributes:
        url: where it listens.
        window: announced to whoever connects.
        selects: whether rmb.2 is selected.
        refusal: status, headers and body that the next upgrades get.
        ends: how an envelope ends at once, by its uid; `None` leaves it.
        got: uids that came, in order, over all connections.
        most: the largest number that was on its way at once.
        frames: how many frames with envelopes came.
        upgrades: headers of the upgrades.
        sockets: connections, in order; the last one is the newest.
        broken: how the other side broke the rules.
    """

    def __init__(self) -> None:
        self.url = ""
        self.window = AMPLE
        self.selects = True
        self.refusal: tuple[int, dict[str, str], bytes] | None = None
        self.ends: Callable[[str], Outcome | None] = lambda uid: IS_SAFE
        self.got: list[str] = []
        self.most = 0
        self.frames = 0
        self.upgrades: list[Headers] = []
        self.sockets: list[ServerConnection] = []
        self.broken: list[str] = []
        self._numbers: dict[str, int] = {}
        self._changed = asyncio.Event()

    async def way(self) -> Way:
        """For a speaker."""
        return Way(self.url, ["127.0.0.1"])

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def until_got(self, count: int) -> None:
        await self.until(lambda: len(self.got) >= count)

    async def end(self, uid: str, outcome: Outcome = IS_SAFE) -> None:
        """End an envelope that was left, on the newest connection."""
        self._link.settle(self._numbers[uid], outcome)
        await self._flush()

    async def push(self, data: bytes) -> None:
        """Send an envelope on the newest connection."""
        self._link.put("", data)
        await self._flush()

    def answer(self, connection: ServerConnection, request: Request) -> Response | None:
        self.upgrades.append(request.headers)
        if self.refusal is None:
            return None
        status, headers, body = self.refusal
        return Response(status, "No", Headers({"Content-Length": str(len(body)), **headers}), body)

    def select(self, connection: ServerConnection, offered: object) -> Subprotocol | None:
        return Subprotocol(SUBPROTOCOL) if self.selects else None

    async def serve(self, socket: ServerConnection) -> None:
        self.sockets.append(socket)
        self._link: Link[str] = Link(self.window)
        try:
            await self._flush()
            async for frame in socket:
                assert isinstance(frame, bytes)
                heard = self._link.received(frame)
                self.frames += bool(heard.envelopes)
                self.most = max(self.most, self._link.unsettled)
                for number, data in heard.envelopes:
                    uid = parse_envelope(data).uid
                    self.got.append(uid)
                    self._numbers[uid] = number
                    if (outcome := self.ends(uid)) is not None:
                        self._link.settle(number, outcome)
                await self._flush()
                self._changed.set()
        except ConnectionClosed:
            pass
        except LinkBroken as error:
            self.broken.append(str(error))
        finally:
            self._changed.set()

    async def _flush(self) -> None:
        while (frame := self._link.take_frame()) is not None:
            await self.sockets[-1].send(frame)


@asynccontextmanager
async def far_relay() -> AsyncIterator[FarRelay]:
    """A running one."""
    far = FarRelay()
    async with serve(
        far.serve,
        "127.0.0.1",
        0,
        process_request=far.answer,
        select_subprotocol=far.select,
        compression=None,
        ping_interval=None,
        max_size=None,
    ) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        far.url = f"ws://127.0.0.1:{port}/"
        yield far
    assert not far.broken
