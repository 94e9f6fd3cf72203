"""A session that speaks rmb.2: frames of envelopes in both directions, each of which ends (protocol/link, DESIGN.md).

Beside the reader run the writer (everything that there is to say at one turn of the event loop leaves together), the
puller (the feed's entries, while the link has room for them) and the worker (envelopes that came and have to wait, for
the store or for a look-up: what a client says about what it got never waits behind what it sends). See `signed_in` for
what this shares with rmb.1; WebSocket pings are for liveness only.

What has not ended when the connection does: the client's envelopes are the client's again, entries are still in the
mailbox, and parcels are backed up (see `handover`).
"""

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine, Sequence

from relay.acknowledged_intake import AcknowledgedIntake
from relay.ends import LOST, End, rules_broken
from relay.handover import Handover, OnLink, Parcel
from relay.log_lines import printable
from relay.sessions import Session
from relay.signed_in import SignedIn, Spawn
from relay.switch import Refusal
from relay.tasks import end as end_tasks
from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.link.endings import Ending, LinkBroken, Outcome, Window
from rmb_peer.protocol.link.link import FRAME_BYTES_MAX, FRAME_OVERHEAD_BYTES, Link

WINDOW = Window(4096, 8 * 1024 * 1024)
"""What a client may have on its way here. A guess: 50,000 envelopes a second at 80 ms until the far gateway has settled
them, and no more memory per client than half of one largest message."""

IN_FLIGHT = Window(4096, 8 * 1024 * 1024)
"""What is on its way to a client at most, however much it would take; bounds our memory. A guess, as above."""

FLUSH_S_MAX = 1.0
"""At an orderly end, how long the last endings are waited for; a guess."""

TURN_ENVELOPES = 512
"""Envelopes of one client that are handled before others get their turn; a guess: some milliseconds."""

_LOG = get_logger("relay")


def frame_bytes_max(message_bytes_max: int) -> int:
    """Largest frame that a client may send."""
    return max(message_bytes_max, FRAME_BYTES_MAX) + FRAME_OVERHEAD_BYTES


class AcknowledgedConnection(SignedIn):
    """One session. Call `run` once."""

    def _prepare(self) -> None:
        self._intake: AcknowledgedIntake
        self._link: Link[OnLink] = Link(WINDOW)
        self._settle_on_link = self._link.settle
        self._metrics = self._exchange.metrics
        self._wake = asyncio.Event()
        self._wake.set()  # the first frame says our window
        self._handover = Handover(
            self._owner,
            self._link,
            self._feed,
            self._exchange.delivery,
            self._metrics,
            self._wake.set,
            patience_s=self._common.direct_s_max,
        )
        self._heard = False
        self._handled = 0
        self._inbox: deque[list[tuple[int, bytes]]] = deque()
        """Frames whose envelopes wait; bounded by the window."""
        self._inbox_filled = asyncio.Event()
        self._quiet = asyncio.Event()
        """Set by the writer when nothing is on its way in either direction."""

    # --- for those who got an envelope of this client -----------------------------------------------------------------

    def settle(self, number: int, outcome: Outcome) -> None:
        """See `handover.Sender`."""
        self._settle_on_link(number, outcome)
        self._metrics.endings[outcome.ending] += 1
        self._wake.set()

    def refuse(self, number: int, refusal: Refusal) -> None:
        """See `handover.Sender`."""
        self.settle(number, Outcome(Ending.REFUSED, refusal.code, refusal.text, refusal.retry_after_ms))

    def pong(self, pong: Parcel) -> None:
        """See `acknowledged_intake.Client`."""
        self._handover.pong(pong)

    # --- the session --------------------------------------------------------------------------------------------------

    @property
    def _unconfirmed(self) -> int:
        return self._link.unended

    def _register(self) -> Session:
        return self._sessions.register(self._owner, self._feed, self._superseded, self._handover)

    def _left(self) -> None:
        self._handover.close()

    async def _before_page(self) -> None:
        await self._handover.all_stored()

    def _begin(self, spawn: Spawn) -> Sequence[Coroutine[None, None, None]]:
        self._intake = AcknowledgedIntake(
            self._owner,
            self._exchange,
            self,
            spawn,
            message_bytes_max=self._common.message_bytes_max,
            session=self._session,
        )
        return [self._write(), self._pull(), self._work()]

    # --- reading ------------------------------------------------------------------------------------------------------

    async def _room(self) -> None:
        if self._handled >= TURN_ENVELOPES:
            self._handled = 0
            await asyncio.sleep(0)

    def _frame(self, data: bytes) -> End | None:
        self._metrics.link_frames_in += 1
        try:
            heard = self._link.received(data)
        except LinkBroken as error:
            self._metrics.refusals["link_broken"] += 1
            return rules_broken(str(error))
        if not self._heard:
            self._heard = True
            said = self._link.outgoing.window
            self._link.outgoing.window = Window(
                min(said.messages, IN_FLIGHT.messages), min(said.size_bytes, IN_FLIGHT.size_bytes)
            )
            self._wake.set()
        if heard.ended:
            self._handled += len(heard.ended)
            self._handover.settled(heard.ended)
            self._wake.set()
        if heard.envelopes:
            self._handled += len(heard.envelopes)
            if self._inbox or not self._intake.has_room:
                self._inbox.append(heard.envelopes)
                self._inbox_filled.set()
            else:
                self._intake.take(heard.envelopes)
        return None

    async def _late_frame(self, data: bytes) -> None:
        """What the client says about what it got counts; what it sends comes again on its next connection."""
        try:
            self._handover.settled(self._link.received(data).ended)
        except LinkBroken:
            self._metrics.refusals["link_broken"] += 1

    async def _work(self) -> None:
        while True:
            await self._inbox_filled.wait()
            self._inbox_filled.clear()
            while self._inbox:
                await self._intake.room()
                self._intake.take(self._inbox.popleft())
                await asyncio.sleep(0)

    # --- writing ------------------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._handover.pump()
            while (frame := self._link.take_frame()) is not None:
                try:
                    await self._socket.send(frame)
                except ConnectionError:
                    self._end(LOST)
                    return
                self._metrics.link_frames_out += 1
            if not self._link.unended and not self._link.unsettled:
                self._quiet.set()
            else:
                self._quiet.clear()

    async def _pull(self) -> None:
        while True:
            self._handover.add(await self._feed.take())
            await self._handover.entries_gone.wait()

    # --- the end ------------------------------------------------------------------------------------------------------

    async def _wind_up(self, end: End, reader: "asyncio.Task[None]", helpers: "list[asyncio.Task[None]]") -> None:
        """Nothing new is put on the link by now; endings still go both ways."""
        if end.flush:
            reader.add_done_callback(lambda _: self._quiet.set())
            self._wake.set()
            self._quiet.clear()
            try:
                async with asyncio.timeout(FLUSH_S_MAX):
                    await self._quiet.wait()
            except TimeoutError:
                event(_LOG, logging.DEBUG, "not everything has ended", session=printable(self._owner))
        await end_tasks(helpers)
