"""One end of a link, without a socket: what came waits while there is no room, and what ended is said."""

import asyncio
from collections.abc import Coroutine

from relay.ends import End
from relay.frames import WINDOW, Frames
from relay.metrics import Metrics
from relay.switch import EXPIRED
from rmb_peer.protocol.link.endings import IS_SAFE, Ending, Window
from rmb_peer.protocol.link.link import Link
from tests.support.relay import PATIENCE_S, until


class Desk:
    """An intake that takes when it is told to."""

    def __init__(self) -> None:
        self.roomy = asyncio.Event()
        self.taken: list[tuple[int, bytes]] = []

    @property
    def has_room(self) -> bool:
        return self.roomy.is_set()

    async def room(self, held_since_s: float | None = None) -> None:
        await self.roomy.wait()

    def take(self, envelopes: list[tuple[int, bytes]]) -> None:
        self.taken += envelopes


class Wire:
    """Two ends: ours, and a link that stands for the other side."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.other: Link[str] = Link(Window(10, 1000))
        self.ended: dict[str, Ending] = {}
        self.gone = False
        self.frames: Frames[None] = Frames(Link(WINDOW), self.metrics, self.send)

    async def send(self, data: bytes) -> None:
        if self.gone:
            raise ConnectionResetError
        for uid, outcome in self.other.received(data).ended:
            self.ended[uid] = outcome.ending

    def receive(self, *uids: str) -> list[tuple[int, bytes]]:
        for uid in uids:
            self.other.put(uid, uid.encode())
        frame = self.other.take_frame()
        assert frame is not None
        heard = self.frames.received(frame)
        assert not isinstance(heard, End)
        return heard.envelopes


async def test_what_waits_keeps_its_order() -> None:
    """While there is no room, and also behind what waits already when there is again."""
    wire, desk = Wire(), Desk()
    working: list[asyncio.Task[None]] = []

    def help_out(work: Coroutine[None, None, None]) -> None:
        working.append(asyncio.create_task(work))

    wire.frames.take(wire.receive("a"), desk, help_out)
    desk.roomy.set()
    wire.frames.take(wire.receive("b"), desk, help_out)
    assert desk.taken == []
    await until(lambda: len(desk.taken) == 2)
    wire.frames.take(wire.receive("c"), desk, help_out)
    (worker,) = working
    worker.cancel()
    assert desk.taken == [(1, b"a"), (2, b"b"), (3, b"c")]


async def test_endings_are_said_and_counted() -> None:
    """And `flush` tells whether everything has ended."""
    wire = Wire()
    forever = asyncio.create_task(asyncio.Event().wait())  # a reader that goes on
    writing = asyncio.create_task(wire.frames.write())
    wire.receive("a", "b")
    wire.frames.settle(1, IS_SAFE)
    wire.frames.refuse(2, EXPIRED)
    async with asyncio.timeout(PATIENCE_S):
        assert await wire.frames.flush(forever)  # type: ignore[arg-type]
    assert wire.ended == {"a": Ending.SAFE, "b": Ending.REFUSED}
    assert wire.metrics.endings == [1, 0, 1]
    for task in (writing, forever):
        task.cancel()


async def test_a_broken_rule_ends_the_link() -> None:
    """With 1002, counted; nothing of the frame counts."""
    wire = Wire()
    end = wire.frames.received(b"\xff")
    assert isinstance(end, End)
    assert end.code == 1002
    assert wire.metrics.refusals["link_broken"] == 1
    assert wire.frames.handled == 0


async def test_a_connection_that_is_gone() -> None:
    """Whoever writes hears so."""
    wire = Wire()
    wire.gone = True
    writing = asyncio.create_task(wire.frames.write())
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.wait([writing])
    assert isinstance(writing.exception(), ConnectionResetError)
