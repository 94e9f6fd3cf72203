"""The pings of one connection on a real socket: `protocol/heartbeat.py` decides, this sends and measures."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar, cast

from websockets.asyncio.client import ClientConnection

from rmb_peer.protocol.heartbeat import Heartbeat, LinkDead, Rhythm
from rmb_peer.transport.tcp import arriving_at, silent_s

Entry = TypeVar("Entry")


class Pulse(Generic[Entry]):
    """Notices a dead connection, and which entries a pong proves to be read.

    Attributes:
        round_trip_s: of the last ping that was answered.
        reading_held_up: whether we ourselves do not read at the moment; nobody is dead then.
    """

    def __init__(
        self,
        socket: ClientConnection,
        rhythm: Rhythm,
        clock: Callable[[], float],
        confirmed: Callable[[list[Entry]], None],
    ) -> None:
        """Begin with a connection that was just made.

        Args:
            socket: the connection.
            rhythm: when to ping, when to give up.
            clock: monotonic seconds.
            confirmed: hears which entries a pong confirmed.
        """
        self.round_trip_s: float | None = None
        self.reading_held_up = False
        self._socket = socket
        self._rhythm = rhythm
        self._clock = clock
        self._confirmed = confirmed
        self._heartbeat: Heartbeat[Entry] = Heartbeat(clock(), rhythm)
        self._sent_bytes = 0
        self._soon = asyncio.Event()

    @property
    def unconfirmed(self) -> int:
        """Entries that no pong has confirmed."""
        return self._heartbeat.unconfirmed

    def take_unconfirmed(self) -> list[Entry]:
        """These entries, when the connection is gone."""
        return self._heartbeat.take_unconfirmed()

    def unanswered_s(self) -> float:
        """How long a ping has been waiting for its answer while nothing moved; as of the last look, see `soon`."""
        return self._heartbeat.unanswered_s(self._clock())

    def heard(self) -> None:
        """A complete frame came."""
        self._heartbeat.heard(self._clock())

    def writes(self, size_bytes: int, *entries: Entry) -> None:
        """So many bytes are being written, and with them these entries; call `soon` when they have been."""
        self._sent_bytes += size_bytes
        for entry in entries:
            self._heartbeat.wrote(entry)

    def soon(self) -> None:
        """Look at the connection now, and ping if that is due."""
        self._soon.set()

    async def run(self) -> None:
        """Send the pings that are due, in a task of its own, because the writer may wait for a slow line.

        Raises:
            TimeoutError: the other end is dead.
        """
        while True:
            self._soon.clear()
            now_s = self._clock()
            heard_s = self._heartbeat.heard_at
            transport = self._socket.transport
            arriving_s = now_s if self.reading_held_up else arriving_at(now_s, heard_s, silent_s(transport))
            try:
                ping = self._heartbeat.expire(now_s, self._sent_bytes - transport.get_write_buffer_size(), arriving_s)
            except LinkDead:
                transport.abort()
                raise TimeoutError(f"no answer to a ping for {self._rhythm.dead_s:g} s") from None
            if ping is not None:
                sent_s = self._clock()
                pong = cast("asyncio.Future[float]", await self._socket.ping(ping))
                pong.add_done_callback(partial(self._ponged, ping, sent_s))
            await self._wait(self._heartbeat.deadline() - now_s)

    def _ponged(self, ping: bytes, sent_s: float, pong: "asyncio.Future[float]") -> None:
        if pong.cancelled() or pong.exception() is not None:
            return  # the connection ended; what it left unproven is given back
        # The library's own figure is in whole milliseconds where the event loop's clock is (uvloop).
        self.round_trip_s = self._clock() - sent_s
        self.heard()
        self._confirmed(self._heartbeat.pong(ping))
        self._soon.set()

    async def _wait(self, seconds: float) -> None:
        timer = asyncio.get_running_loop().call_later(max(seconds, 0.0), self._soon.set)
        await self._soon.wait()
        timer.cancel()
