"""Our end of one acknowledged link: what came waits here for its turn, and all that there is to say at one turn of
the event loop leaves in as few frames as possible (protocol/link, DESIGN.md).

Clients that signed in (`acknowledged`) and other relays (`federation/link_serving`) are served alike. This module
refuses to know who the other side is, and where envelopes go.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Generic, Protocol, TypeVar

from relay.bell import Bell
from relay.ends import End, rules_broken
from relay.metrics import Metrics
from relay.switch import Refusal
from rmb_peer.protocol.envelope import MESSAGE_BYTES_MAX
from rmb_peer.protocol.link.endings import Ending, LinkBroken, Outcome, Window
from rmb_peer.protocol.link.link import FRAME_BYTES_MAX, FRAME_OVERHEAD_BYTES, Heard, Link

WINDOW = Window(4096, 8 * 1024 * 1024 + MESSAGE_BYTES_MAX)
"""What the other side may have on its way here. A guess: 50,000 envelopes a second at 80 ms until the far gateway has
settled them, beside one of the largest, which others go past."""

FLUSH_S_MAX = 1.0
"""At an orderly end, how long the last endings are waited for; a guess."""

Entry = TypeVar("Entry")


def frame_bytes_max(message_bytes_max: int) -> int:
    """Largest frame that may come."""
    return max(message_bytes_max, FRAME_BYTES_MAX) + FRAME_OVERHEAD_BYTES


class Intake(Protocol):
    """Whoever decides where envelopes go."""

    @property
    def has_room(self) -> bool:
        """Whether `room` would not wait."""
        ...

    async def room(self, held_since_s: float | None = None) -> None:
        """Wait while more is held than may be.

        Args:
            held_since_s: since when what comes next has been waiting, by the event loop's clock.
        """
        ...

    def take(self, envelopes: list[tuple[int, bytes]]) -> None:
        """Take what one frame held: numbers and bytes. Each is settled or refused once, in any order."""
        ...


class Frames(Generic[Entry]):
    """The frames of one connection; `Entry` is what we know an envelope of ours by.

    Attributes:
        link: the rules.
        wake: there may be something to say.
        handled: envelopes and endings that came; for whoever wants to give others their turn.
    """

    def __init__(self, link: Link[Entry], metrics: Metrics, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Begin with a connection that was just made.

        Args:
            link: the rules.
            metrics: counts.
            send: writes a frame, or raises `ConnectionError`.
        """
        self.link = link
        self.wake = Bell(rung=True)  # the first frame says our window
        self.handled = 0
        self._settle_on_link = link.settle
        self._metrics = metrics
        self._send = send
        self._inbox: list[tuple[float, list[tuple[int, bytes]]]] = []
        """Frames whose envelopes wait, and since when; bounded by the window."""
        self._inbox_filled = Bell()
        self._working = False
        self._patient = True
        """Whether acknowledgements may wait for envelopes that take them along."""
        self._timer: asyncio.TimerHandle | None = None
        """Not moved when what it was for has left earlier: that would cost more than a turn in vain now and then."""
        self._quiet = Bell()
        """Set by the writer when nothing is on its way in either direction."""

    def settle(self, number: int, outcome: Outcome) -> None:
        """See `handover.Sender`."""
        self._settle_on_link(number, outcome)
        self._metrics.endings[outcome.ending] += 1
        self.wake.set()

    def refuse(self, number: int, refusal: Refusal) -> None:
        """See `handover.Sender`."""
        self.settle(number, Outcome(Ending.REFUSED, refusal.code, refusal.text, refusal.retry_after_ms))

    def received(self, data: bytes) -> Heard[Entry] | End:
        """Read a frame; says why the connection has to end, if it breaks the rules."""
        self._metrics.link_frames_in += 1
        try:
            heard = self.link.received(data)
        except LinkBroken as error:
            self._metrics.refusals["link_broken"] += 1
            return rules_broken(str(error))
        self.handled += len(heard.ended) + len(heard.envelopes)
        return heard

    def take(
        self,
        envelopes: list[tuple[int, bytes]],
        intake: Intake,
        help_out: Callable[[Coroutine[None, None, None]], object],
    ) -> None:
        """Pass on what a frame held; if there is no room, a worker does it later.

        Args:
            envelopes: numbers and bytes.
            intake: decides where they go.
            help_out: runs the worker until the connection ends; called once, when it is needed first.
        """
        if self._inbox or not intake.has_room:
            self._inbox.append((asyncio.get_running_loop().time(), envelopes))
            self._inbox_filled.set()
            if not self._working:
                self._working = True
                help_out(self._work(intake))
        else:
            intake.take(envelopes)

    async def _work(self, intake: Intake) -> None:
        """Pass on what had to wait, for the store or for a look-up, until cancelled."""
        while True:
            await self._inbox_filled.wait()
            self._inbox_filled.clear()
            while self._inbox:
                await intake.room(self._inbox[0][0])
                intake.take(self._inbox.pop(0)[1])
                await asyncio.sleep(0)

    async def write(self, pump: Callable[[], None] | None = None) -> None:
        """Write what there is to say, until cancelled.

        Args:
            pump: puts envelopes on the link, as far as its window goes.

        Raises:
            ConnectionError: the connection is gone.
        """
        link, metrics, loop = self.link, self._metrics, asyncio.get_running_loop()
        try:
            while True:
                await self.wake.wait()
                self.wake.clear()
                if pump is not None:
                    pump()
                wait_s = link.wait_s(loop.time())
                if wait_s and self._patient:
                    if self._timer is None:
                        self._timer = loop.call_later(wait_s, self._waited)
                    continue
                while (frame := link.take_frame()) is not None:
                    await self._send(frame)
                    metrics.link_frames_out += 1
                    if link.outgoing.in_parts:
                        await asyncio.sleep(0)  # so that others get there between two parts
                        if pump is not None:
                            pump()
                if not link.unended and not link.unsettled:
                    self._quiet.set()
                else:
                    self._quiet.clear()
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def _waited(self) -> None:
        self._timer = None
        self.wake.set()

    async def flush(self, reader: "asyncio.Task[None]") -> bool:
        """Wait a moment until everything has ended, while `reader` and `write` still run; whether it has."""
        reader.add_done_callback(lambda _: self._quiet.set())
        self._patient = False
        self.wake.set()
        self._quiet.clear()
        try:
            async with asyncio.timeout(FLUSH_S_MAX):
                await self._quiet.wait()
        except TimeoutError:
            return False
        return True
