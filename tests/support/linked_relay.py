"""A scripted relay that also speaks rmb.2, and can be told how envelopes end, or that they do not.

The rules of the link are the product's (`protocol/link`); what a relay does with envelopes is written here anew. It
forwards to who is connected, which ends AT_PEER when that gateway has settled, and keeps the rest, which ends SAFE.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from rmb_peer.protocol.link.endings import IS_AT_PEER, IS_SAFE, SUBPROTOCOL, LinkBroken, Outcome, Window
from rmb_peer.protocol.link.link import Link
from rmb_peer.protocol.pb.envelope_pb2 import Envelope
from tests.support.scripted_relay import ScriptedRelay


@dataclass
class Carried:
    """An envelope on its way, and who is to hear how it ended: a session and the number there, or nobody."""

    data: bytes
    origin: "tuple[LinkedSession, int] | None"

    def end(self, outcome: Outcome) -> None:
        if self.origin is not None:
            session, number = self.origin
            session.settle(number, outcome)


class LinkedSession:
    """One connection in rmb.2.

    Attributes:
        link: our end of it.
        frames: every frame that came, as it came.
        settles: how many of what was sent here has been settled.
    """

    def __init__(self, relay: "LinkedRelay", connection: ServerConnection) -> None:
        self.link: Link[Carried] = Link(relay.window)
        self.frames: list[bytes] = []
        self.settles = 0
        self._relay = relay
        self._connection = connection
        self._waiting: deque[Carried] = deque()
        self._soon = asyncio.Event()

    def send(self, carried: Carried) -> None:
        self._waiting.append(carried)
        self._soon.set()

    def settle(self, number: int, outcome: Outcome) -> None:
        self.link.settle(number, outcome)
        self._soon.set()

    def take_unended(self) -> list[Carried]:
        return [*self.link.take_unended(), *self._waiting]

    async def run(self) -> None:
        writing = asyncio.create_task(self._write())
        try:
            await self._read()
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    async def _read(self) -> None:
        async for frame in self._connection:
            assert isinstance(frame, bytes)
            self.frames.append(frame)
            heard = self.link.received(frame)
            for carried, outcome in heard.ended:
                assert outcome == IS_SAFE
                self.settles += 1
                carried.end(IS_AT_PEER)
            for number, data in heard.envelopes:
                await self._relay.take(self, number, data)
            self._soon.set()

    async def _write(self) -> None:
        while True:
            self._soon.clear()
            while self._waiting and self.link.has_room(len(self._waiting[0].data)):
                carried = self._waiting.popleft()
                self.link.put(carried, carried.data)
            while (frame := self.link.take_frame()) is not None:
                await self._connection.send(frame)
            await self._soon.wait()


class LinkedRelay(ScriptedRelay):
    """See the module.

    Attributes:
        window: announced to whoever connects.
        selects: whether rmb.2 is selected where it is offered.
        ends: how an envelope ends at once; `IS_SAFE` means that it is routed, `None` that nothing happens to it.
        held: what has not ended because of that; `Carried.end` ends one.
        sessions: those in rmb.2, by twin.
        broken: how sessions broke the rules.
    """

    def __init__(self) -> None:
        super().__init__()
        self.window = Window(1024, 64 * 1024 * 1024)
        self.selects = True
        self.ends: Callable[[Envelope], Outcome | None] = lambda envelope: IS_SAFE
        self.held: list[Carried] = []
        self.sessions: dict[int, LinkedSession] = {}
        self.broken: list[str] = []

    def _select(self, offered: Sequence[Subprotocol]) -> Subprotocol | None:
        return Subprotocol(SUBPROTOCOL) if self.selects and SUBPROTOCOL in offered else None

    async def take(self, source: LinkedSession, number: int, data: bytes) -> None:
        """An envelope came over rmb.2."""
        envelope = Envelope.FromString(data)
        self.received.append(envelope)
        carried = Carried(data, (source, number))
        outcome = None if self.swallow(envelope) else self.ends(envelope)
        if outcome is None:
            self.held.append(carried)
        elif outcome != IS_SAFE:
            carried.end(outcome)
        else:
            self._carry(envelope.destination.twin, carried)
            if envelope.destination.twin in self.connections and envelope.destination.twin not in self.sessions:
                await super()._hand_over(envelope.destination.twin, data)  # to a client of rmb.1
        await self._notify()

    def _carry(self, twin: int, carried: Carried) -> None:
        if twin in self.sessions:
            self.sessions[twin].send(carried)
            return
        if twin not in self.connections:
            self._kept.setdefault(twin, []).append(carried.data)
        carried.end(IS_SAFE)

    async def _hand_over(self, twin: int, frame: bytes) -> None:
        if twin in self.sessions:
            self.sessions[twin].send(Carried(frame, None))
        else:
            await super()._hand_over(twin, frame)

    async def _serve(self, connection: ServerConnection) -> None:
        if connection.subprotocol is None:
            await super()._serve(connection)
            return
        twin: int = connection.twin  # type: ignore[attr-defined]
        session = LinkedSession(self, connection)
        self.connections[twin], self.sessions[twin] = connection, session
        self.accepted += 1
        for frame in self._kept.pop(twin, []):
            session.send(Carried(frame, None))
        await self._notify()
        try:
            await session.run()
        except ConnectionClosed:
            pass
        except LinkBroken as error:
            self.broken.append(str(error))
        finally:
            if self.sessions.get(twin) is session:
                del self.connections[twin], self.sessions[twin]
            for carried in session.take_unended():
                self._carry(twin, carried)
            await self._notify()


@asynccontextmanager
async def linked_relay() -> AsyncIterator[LinkedRelay]:
    """A running one."""
    relay = LinkedRelay()
    await relay.start()
    try:
        yield relay
    finally:
        await relay.stop()
        assert not relay.broken
