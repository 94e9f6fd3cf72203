"""One connection to a relay in rmb.2 (protocol/link/DESIGN.md): frames of envelopes, acknowledged in both directions.

What is there in one turn of the loop goes into one frame. An envelope that came is settled when it is in a list of a
local program together with its marks, and no sooner. The rules are `protocol/link`'s; this only moves frames.
"""

import asyncio
import logging
from dataclasses import replace
from functools import partial

from websockets.exceptions import ConnectionClosed

from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.link.endings import IS_SAFE, SUBPROTOCOL, Ending, LinkBroken, Outcome, Window
from rmb_peer.protocol.link.link import FRAME_BYTES_MAX, FRAME_MESSAGES_MAX, FRAME_OVERHEAD_BYTES, Link
from rmb_peer.transport.client_socket import ClientSocket
from rmb_peer.transport.inbox import Received
from rmb_peer.transport.parcels import Parcel, Reached
from rmb_peer.transport.pulse import Pulse
from rmb_peer.transport.speaker import Surroundings, until_one_fails

WINDOW = Window(1024, 32 * 1024 * 1024)
"""What the relay may send before earlier envelopes are in local lists. A guess: what a gateway with a local store
settles in 50 ms; two of the largest messages."""

PING_GAP_S = 0.2
"""While frames go out, pings do so this often: the relay's silence is noticed, and the round-trip time known. A guess,
well below the second in which another relay is to take over (`relay_pool`)."""

LAST_WORDS_S_MAX = 0.5
"""How long a relay that takes nothing holds up our end; a guess, as for its Close."""

_LOG = get_logger("link")
_WRITTEN = None
"""What the pings need to know: that something was written."""


def frame_bytes_max(message_bytes_max: int) -> int:
    """The largest frame that can come, when envelopes have at most this size."""
    return max(message_bytes_max, FRAME_BYTES_MAX) + FRAME_OVERHEAD_BYTES


class Rmb2:
    """See `Speaker`."""

    name = SUBPROTOCOL

    def __init__(self, socket: ClientSocket, around: Surroundings) -> None:
        """Begin with a connection that was just made."""
        self._socket = socket
        self._around = around
        rhythm = replace(around.rhythm, gap_s=PING_GAP_S)
        self._pulse: Pulse[None] = Pulse(socket, rhythm, around.clock, lambda frames: None)
        self._link: Link[Parcel] = Link(WINDOW)
        self._understood = False
        self._soon = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        socket.on_ping = lambda messages_before, payload: self._pulse.heard()

    @property
    def pulse(self) -> Pulse[None]:
        """See `Speaker.pulse`."""
        return self._pulse

    @property
    def in_flight(self) -> int:
        """See `Speaker.in_flight`."""
        return self._link.unended

    @property
    def understood(self) -> bool:
        """See `Speaker.understood`: it has sent a frame."""
        return self._understood

    def has_room(self, size_bytes: int = 0) -> bool:
        """See `Speaker.has_room`: as the relay's window allows."""
        return self._link.has_room(size_bytes)

    def wake(self) -> None:
        """See `Speaker.wake`."""
        self._soon.set()

    def probe(self) -> None:
        """See `Speaker.probe`."""
        if not self._pulse.unconfirmed:
            self._pulse.writes(0, _WRITTEN)  # makes a ping due
        self._pulse.soon()

    def take_unended(self) -> list[Parcel]:
        """See `Speaker.take_unended`."""
        return self._link.take_unended()

    async def run(self) -> None:
        """See `Speaker.run`.

        Raises:
            LinkBroken: the relay does not keep to the rules.
        """
        try:
            await until_one_fails(self._pulse.run(), self._read(), self._write())
        except asyncio.CancelledError:
            await self._last_words()
            raise
        finally:
            if self._timer is not None:
                self._timer.cancel()

    async def _read(self) -> None:
        inbox = self._around.inbox
        while True:
            data = await self._socket.recv()
            self._pulse.heard()
            if isinstance(data, str):
                raise LinkBroken("a text message")
            heard = self._link.received(data)
            self._understood = True
            for parcel, outcome in heard.ended:
                self._end(parcel, outcome)
            self._soon.set()  # there may be room now
            for number, envelope in heard.envelopes:
                self._pulse.reading_held_up = not inbox.has_room()
                await inbox.put(Received(envelope, partial(self._settle, number)))
            self._pulse.reading_held_up = False

    async def _write(self) -> None:
        while True:
            self._soon.clear()
            self._fill()
            if wait_s := self._link.wait_s(self._around.clock()):
                if self._timer is None:  # one that comes too early costs less than moving it
                    self._timer = asyncio.get_running_loop().call_later(wait_s, self._waited)
                await self._soon.wait()
                continue
            while (frame := self._link.take_frame()) is not None:
                # One mark is enough: what is written while a ping is on its way or due needs no other.
                marks = () if self._pulse.unconfirmed else (_WRITTEN,)
                self._pulse.writes(len(frame), *marks)
                await self._socket.send(frame)
                if marks:
                    self._pulse.soon()
                self._fill()
            await self._soon.wait()

    def _waited(self) -> None:
        self._timer = None
        self._soon.set()

    async def _last_words(self) -> None:
        """We end the connection: say what is in local lists by now, or the relay would keep it and send it again."""
        try:
            async with asyncio.timeout(LAST_WORDS_S_MAX):
                while (frame := self._link.take_last_frame()) is not None:
                    await self._socket.send(frame)
        except (TimeoutError, ConnectionClosed):
            return  # its marks recognise it

    def _fill(self) -> None:
        """Take what one frame holds, and no more: what is not here can still leave by another relay."""
        messages = size_bytes = 0
        while messages < FRAME_MESSAGES_MAX and size_bytes < FRAME_BYTES_MAX:
            parcel = self._around.next_parcel()
            if parcel is None:
                return
            self._link.put(parcel, parcel.data)
            messages += 1
            size_bytes += len(parcel.data)
            event(
                _LOG,
                logging.DEBUG,
                "sent",
                uid=parcel.uid,
                destination=parcel.destination,
                relay=self._around.url,
                bytes=len(parcel.data),
            )

    def _settle(self, number: int) -> None:
        self._link.settle(number, IS_SAFE)
        self._soon.set()

    def _end(self, parcel: Parcel, outcome: Outcome) -> None:
        match outcome.ending:
            case Ending.SAFE:
                self._around.arrived(parcel, Reached.STORED_AT_RELAY)
            case Ending.AT_PEER:
                self._around.arrived(parcel, Reached.STORED_AT_PEER)
            case Ending.REFUSED:
                self._around.refused(parcel, outcome)
