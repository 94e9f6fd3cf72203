"""A scripted client of rmb.2: the pure state machine over a raw WebSocket, and a diary of what happened."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from rmb_peer.protocol.address import Address
from rmb_peer.protocol.envelope import Envelope, parse_envelope
from rmb_peer.protocol.link.endings import IS_SAFE, SUBPROTOCOL, Ending, Outcome, Window
from rmb_peer.protocol.link.link import Link
from rmb_peer.protocol.link.parts import Conversation
from tests.support.federation import Node
from tests.support.relay import PATIENCE_S, TestBed, request


class Dialler(Protocol):
    """Whoever makes WebSocket clients of a relay."""

    def client(self, twin: int, session: str | None = None, **options: Any) -> connect: ...


class Ended(Exception):
    """The connection ended first."""


WIDE = Window(4096, 64 * 1024 * 1024)


class LinkClient:
    """One connection.

    Attributes:
        link: its end of the link.
        outcomes: how what it sent has ended, by uid.
        got: uids that came, in order.
        on_outcome: hears of each outcome at once.
    """

    def __init__(
        self,
        socket: ClientConnection,
        owner: Address,
        window: Window,
        auto: bool,
        conversation: Conversation | None = None,
    ) -> None:
        self._owner = owner
        self.socket = socket
        self.link: Link[str] = Link(window, conversation)
        self.outcomes: dict[str, Outcome] = {}
        self.got: list[str] = []
        self.on_outcome: Callable[[str, Outcome], None] = lambda uid, outcome: None
        self._auto = auto
        self._came: asyncio.Queue[tuple[int, Envelope]] = asyncio.Queue()
        self._changed = asyncio.Event()
        self._ended = False

    async def send(self, *envelopes: Envelope) -> None:
        """Send these in as few frames as possible, as far as the window goes; wait for it where it ends."""
        for envelope in envelopes:
            data = envelope.SerializeToString()
            if not self.link.has_room(len(data)):
                await self.flush()
                await self._until(partial(self.link.has_room, len(data)))
            self.link.put(envelope.uid, data)
        await self.flush()

    async def warm(self) -> "LinkClient":
        """Wait until the way to this client is direct: its mailbox is known to be empty. Leaves no trace."""
        auto, self._auto = self._auto, True
        ending = Ending.SAFE
        while ending is not Ending.AT_PEER:
            await self.send(request(str(self._owner), str(self._owner), "warm"))
            assert (await self.receive_uids(1)) == ["warm"]
            ending = (await self.outcome("warm")).ending
            del self.outcomes["warm"]
        self.got.clear()
        self._auto = auto
        return self

    async def receive(self) -> tuple[int, Envelope]:
        """The next envelope and its number."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._came.get()

    @property
    def waiting(self) -> int:
        """Envelopes that came and were not received by the test."""
        return self._came.qsize()

    async def receive_uids(self, count: int) -> list[str]:
        return [(await self.receive())[1].uid for _ in range(count)]

    async def settle(self, *numbers: int) -> None:
        for number in numbers:
            self.link.settle(number, IS_SAFE)
        await self.flush()

    async def outcome(self, uid: str) -> Outcome:
        """How this ended; waits until it has."""
        await self._until(lambda: uid in self.outcomes)
        return self.outcomes[uid]

    async def closed(self) -> tuple[int, str]:
        """The relay's Close; waits for it."""
        async with asyncio.timeout(PATIENCE_S):
            await self.socket.wait_closed()
        received = self.socket.protocol.close_rcvd
        assert received is not None
        return received.code, received.reason

    def abort(self) -> None:
        """Vanish without a word."""
        self.socket.transport.abort()

    async def flush(self) -> None:
        """Write what there is to say."""
        while (frame := self.link.take_frame()) is not None:
            await self.socket.send(frame)

    async def read(self) -> None:
        """Take frames until the end."""
        try:
            async for frame in self.socket:
                assert isinstance(frame, bytes)
                heard = self.link.received(frame)
                for uid, outcome in heard.ended:
                    assert uid not in self.outcomes, f"{uid} ended twice"
                    self.outcomes[uid] = outcome
                    self.on_outcome(uid, outcome)
                for number, data in heard.envelopes:
                    envelope = parse_envelope(data)
                    self.got.append(envelope.uid)
                    self._came.put_nowait((number, envelope))
                    if self._auto:
                        self.link.settle(number, IS_SAFE)
                self._changed.set()
                await self.flush()
        except ConnectionClosed:
            pass
        finally:
            self._ended = True
            self._changed.set()

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                if self._ended:
                    raise Ended
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def link_client(
    bed: "TestBed | Node | Dialler",
    twin: int,
    session: str | None = None,
    *,
    window: Window = WIDE,
    auto: bool = True,
    conversation: Conversation | None = None,
) -> AsyncIterator[LinkClient]:
    """A signed-in client of rmb.2.

    Args:
        bed: the relay.
        twin, session: who.
        window: what it accepts.
        auto: whether it settles what comes, at once; else the test does that.
        conversation: see `protocol/link/parts`; without it nothing is sent in parts.
    """
    async with bed.client(twin, session, subprotocols=[SUBPROTOCOL]) as socket:
        assert socket.subprotocol == SUBPROTOCOL
        async with speaking(LinkClient(socket, Address(twin, session), window, auto, conversation)) as client:
            yield client


@asynccontextmanager
async def speaking(client: LinkClient) -> AsyncIterator[LinkClient]:
    """A client that says its window and reads, until it is closed."""
    await client.flush()
    reading = asyncio.create_task(client.read())
    try:
        yield client
    finally:
        await client.socket.close()
        await reading
