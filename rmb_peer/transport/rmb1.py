"""One connection to a relay in rmb.1 (spec rmb 5.7): one envelope in each binary message, and no acknowledgement.

What a relay has provably read is known from the answers to WebSocket pings (`protocol/heartbeat.py`), and our own
answers wait until what came before is safe (`protocol/held_pongs.py`).
"""

import asyncio
import logging
from functools import partial
from itertools import count

from websockets.frames import CloseCode

from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.errors import InvalidPayloadType
from rmb_peer.protocol.held_pongs import HeldPongs
from rmb_peer.transport.client_socket import ClientSocket
from rmb_peer.transport.inbox import Received
from rmb_peer.transport.parcels import Parcel, Reached
from rmb_peer.transport.pulse import Pulse
from rmb_peer.transport.speaker import Surroundings, until_one_fails

WINDOW_PARCELS = 1024
"""Parcels on one connection that are not yet proven to be read. A guess: about what a relay reads in 50 ms."""

WINDOW_BYTES = 32 * 1024 * 1024
"""The same in bytes: two of the largest messages."""

_LOG = get_logger("link")


class Rmb1:
    """See `Speaker`."""

    name = "rmb.1"

    def __init__(self, socket: ClientSocket, around: Surroundings) -> None:
        """Begin with a connection that was just made."""
        self._socket = socket
        self._around = around
        self._pulse: Pulse[Parcel] = Pulse(socket, around.rhythm, around.clock, self._confirmed)
        self._unconfirmed_bytes = 0
        self._pongs = HeldPongs()
        self._wake = asyncio.Event()
        self._answer_soon = asyncio.Event()
        socket.on_ping = self._pinged

    @property
    def pulse(self) -> Pulse[Parcel]:
        """See `Speaker.pulse`."""
        return self._pulse

    @property
    def in_flight(self) -> int:
        """See `Speaker.in_flight`: sent, and not yet proven to be read."""
        return self._pulse.unconfirmed

    @property
    def understood(self) -> bool:
        """See `Speaker.understood`: every relay speaks it."""
        return True

    def has_room(self, size_bytes: int = 0) -> bool:
        """See `Speaker.has_room`; the last parcel may exceed the window, whatever its size."""
        return self._pulse.unconfirmed < WINDOW_PARCELS and self._unconfirmed_bytes < WINDOW_BYTES

    def wake(self) -> None:
        """See `Speaker.wake`."""
        self._wake.set()

    def probe(self) -> None:
        """See `Speaker.probe`: whatever is in flight has a ping behind it."""
        self._pulse.soon()

    def take_unended(self) -> list[Parcel]:
        """See `Speaker.take_unended`."""
        return self._pulse.take_unconfirmed()

    async def run(self) -> None:
        """See `Speaker.run`."""
        await until_one_fails(self._pulse.run(), self._read(), self._write(), self._answer())

    async def _read(self) -> None:
        around = self._around
        for number in count(1):
            frame = await self._socket.recv()
            self._pulse.heard()
            done = partial(self._dealt_with, number)
            if isinstance(frame, str):
                error = InvalidPayloadType()
                event(_LOG, logging.WARNING, str(error), code=error.code, relay=around.url)
                done()
            elif len(frame) > around.message_bytes_max:
                await self._socket.close(CloseCode.MESSAGE_TOO_BIG)
            else:
                self._pulse.reading_held_up = not around.inbox.has_room()
                await around.inbox.put(Received(frame, done))
                self._pulse.reading_held_up = False

    async def _write(self) -> None:
        while True:
            self._wake.clear()
            while (parcel := self._around.next_parcel()) is not None:
                size_bytes = len(parcel.data)
                self._unconfirmed_bytes += size_bytes
                self._pulse.writes(size_bytes, parcel)
                await self._socket.send(parcel.data, more=True)
                event(
                    _LOG,
                    logging.DEBUG,
                    "sent",
                    uid=parcel.uid,
                    destination=parcel.destination,
                    relay=self._around.url,
                    bytes=size_bytes,
                )
                self._pulse.soon()
            self._socket.flush()
            await self._wake.wait()

    async def _answer(self) -> None:
        """Send the pongs that are due; a task of its own, because the writer may wait for a slow line."""
        while True:
            self._answer_soon.clear()
            for payload in self._pongs.take_answerable():
                await self._socket.pong(payload)
            await self._answer_soon.wait()

    def _pinged(self, messages_before: int, payload: bytes) -> None:
        self._pulse.heard()
        self._pongs.pinged(messages_before, payload)
        if self._pongs.answerable():
            self._answer_soon.set()

    def _dealt_with(self, number: int) -> None:
        self._pongs.dealt_with(number)
        if self._pongs.answerable():
            self._answer_soon.set()

    def _confirmed(self, parcels: list[Parcel]) -> None:
        for parcel in parcels:
            self._unconfirmed_bytes -= len(parcel.data)
            self._around.arrived(parcel, Reached.READ_BY_RELAY)
        self._wake.set()
