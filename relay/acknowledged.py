"""A session that speaks rmb.2: frames of envelopes in both directions, each of which ends (protocol/link, DESIGN.md).

Beside the reader run the writer (everything that there is to say at one turn of the event loop leaves together), the
puller (the feed's entries, while the link has room for them) and, once it is needed, the worker (envelopes that came
and have to wait, for the store or for a look-up: what a client says about what it got never waits behind what it
sends). See `signed_in` for what this shares with rmb.1; WebSocket pings are for liveness only.

What has not ended when the connection does: the client's envelopes are the client's again, entries are still in the
mailbox, and parcels are backed up (see `handover`).
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence

from relay.acknowledged_intake import AcknowledgedIntake
from relay.attended import Spawn
from relay.ends import LOST, End
from relay.frames import WINDOW, Frames, frame_bytes_max
from relay.handover import Handover, OnLink, Parcel
from relay.log_lines import printable
from relay.sessions import Session
from relay.signed_in import SignedIn
from relay.tasks import end as end_tasks
from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.envelope import MESSAGE_BYTES_MAX
from rmb_peer.protocol.large_envelope import source_twin
from rmb_peer.protocol.link.endings import Window
from rmb_peer.protocol.link.link import Link

IN_FLIGHT = Window(4096, 8 * 1024 * 1024 + MESSAGE_BYTES_MAX)
"""What is on its way to a client at most, however much it would take; bounds our memory. A guess, as above: with one of
the largest on its way there is room for others."""

TURN_ENVELOPES = 512
"""Envelopes of one client that are handled before others get their turn; a guess: some milliseconds."""

_LOG = get_logger("relay")


class AcknowledgedConnection(SignedIn):
    """One session. Call `run` once."""

    def _prepare(self) -> None:
        self._intake: AcknowledgedIntake
        self._metrics = self._exchange.metrics
        self._link: Link[OnLink] = Link(
            WINDOW, source_twin, envelope_bytes_max=frame_bytes_max(self._common.message_bytes_max)
        )
        self._frames = Frames(self._link, self._metrics, self._socket.send)
        self.settle = self._frames.settle
        """See `handover.Sender`."""
        self.refuse = self._frames.refuse
        """See `handover.Sender`."""
        self._handover = Handover(
            self._owner,
            self._link,
            self._feed,
            self._exchange.delivery,
            self._metrics,
            self._frames.wake.set,
            patience_s=self._common.direct_s_max,
            now_s=self._exchange.now_s,
        )
        self._heard = False

    # --- for those who got an envelope of this client -----------------------------------------------------------------

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
        return [self._write(), self._pull()]

    # --- reading ------------------------------------------------------------------------------------------------------

    @property
    def _roomy(self) -> bool:
        return self._frames.handled < TURN_ENVELOPES

    async def _room(self) -> None:
        self._frames.handled = 0
        await asyncio.sleep(0)

    def _frame(self, data: bytes) -> End | None:
        heard = self._frames.received(data)
        if isinstance(heard, End):
            return heard
        if not self._heard:
            self._heard = True
            said = self._link.outgoing.window
            self._link.outgoing.window = Window(
                min(said.messages, IN_FLIGHT.messages), min(said.size_bytes, IN_FLIGHT.size_bytes)
            )
            self._frames.wake.set()
        if heard.ended:
            self._handover.settled(heard.ended)
            self._frames.wake.set()
        if heard.envelopes:
            self._frames.take(heard.envelopes, self._intake, self._help)
        return None

    async def _late_frame(self, data: bytes) -> None:
        """What the client says about what it got counts; what it sends comes again on its next connection."""
        heard = self._frames.received(data)
        if not isinstance(heard, End):
            self._handover.settled(heard.ended)

    # --- writing ------------------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        try:
            await self._frames.write(self._handover.pump)
        except ConnectionError:
            self._end(LOST)

    async def _pull(self) -> None:
        while True:
            self._handover.add(await self._feed.take())
            await self._handover.entries_gone.wait()

    # --- the end ------------------------------------------------------------------------------------------------------

    async def _wind_up(self, end: End, reader: "asyncio.Task[None]", helpers: "list[asyncio.Task[None]]") -> None:
        """Nothing new is put on the link by now; endings still go both ways."""
        if end.flush and not await self._frames.flush(reader):
            event(_LOG, logging.DEBUG, "not everything has ended", session=printable(self._owner))
        await end_tasks(helpers)
