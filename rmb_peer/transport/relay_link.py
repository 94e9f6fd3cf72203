"""One gateway, one relay, one WebSocket after another (spec rmb 5.7): dial, write, read, notice silence, dial again.

What a dead connection may have swallowed goes back to the sender's queue. This module refuses to know envelopes,
registries and Redis: it moves parcels and frames.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, Protocol, cast

from websockets.asyncio.client import ClientConnection, connect
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.frames import Frame, Opcode

from rmb_peer import __version__
from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.backoff import Backoff
from rmb_peer.protocol.errors import InvalidPayloadType
from rmb_peer.protocol.heartbeat import Heartbeat, LinkDead, Rhythm
from rmb_peer.protocol.held_pongs import HeldPongs
from rmb_peer.transport.inbox import Inbox, Received
from rmb_peer.transport.tcp import arriving_at, limit_unsent, silent_s

WINDOW_PARCELS = 1024
"""Parcels on one connection that are not yet proven to be read. A guess: about what a relay reads in 50 ms."""

WINDOW_BYTES = 32 * 1024 * 1024
"""The same in bytes: two of the largest messages."""

DIAL_S_MAX = 10.0
"""Longest wait for a connection. A guess; the relay's own handshake limit is of this order."""

RETRY_S_FIRST, RETRY_S_MAX = 0.2, 30.0
"""Pauses between attempts. The Rust gateway waits 2 s each time; ours begins sooner and backs off further."""

STABLE_S = 10.0
"""A connection that held this long counts as a success: the next failure begins with the shortest pause."""

RHYTHM = Rhythm(gap_s=0.0)
"""A relay reads all the time, so what was sent may be proven as often as round trips allow."""

SUPERSEDED = 4001
"""Close code of our relay: another connection with this identity has taken this one's place."""

SUPERSEDED_RETRY_S = 30.0
"""Pause after that, so that two gateways with one identity do not evict each other all the time."""

_LOG = get_logger("link")


@dataclass(frozen=True, slots=True)
class Parcel:
    """One envelope to send.

    Attributes:
        data: serialised envelope.
        expires_at_s: Unix seconds after which sending it is pointless.
        arrived: called once the relay has provably read it.
        expired: called instead when its time ran out before a relay took it.
        uid, destination: for log lines.
    """

    data: bytes
    expires_at_s: int
    arrived: Callable[[], None]
    expired: Callable[[], None]
    uid: str
    destination: str


class ParcelSource(Protocol):
    """Where a link gets its parcels: the pool that all links of a gateway share."""

    def next_parcel(self, link: "RelayLink") -> Parcel | None:
        """The next parcel for this link; `None` when there is none, or another link is preferred."""
        ...

    def give_back(self, parcels: list[Parcel]) -> None:
        """Parcels of a connection that died; they go out again, before all others."""
        ...

    def link_changed(self, link: "RelayLink") -> None:
        """A link was connected or disconnected."""
        ...


class _Connection(ClientConnection):
    """Leaves the answering of pings to the link; the library's own protocol would answer each when it reads it.

    Attributes:
        on_ping: called with the number of messages that came before the ping, and its payload.
    """

    def __init__(self, protocol: ClientProtocol, **options: Any) -> None:
        super().__init__(protocol, **options)
        self.on_ping: Callable[[int, bytes], None] = lambda messages_before, payload: None
        self._messages = 0
        self._recv_frame = protocol.recv_frame
        protocol.recv_frame = self._frame_came  # type: ignore[method-assign]

    def _frame_came(self, frame: Frame) -> None:
        if frame.opcode is Opcode.PING:
            self.on_ping(self._messages, bytes(frame.data))
            return
        self._recv_frame(frame)
        if frame.fin and frame.opcode in (Opcode.BINARY, Opcode.TEXT, Opcode.CONT):
            self._messages += 1


class _Connect(connect):
    """Follows no redirects: our record names this relay, and the `Location` is the relay's to choose."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class RelayLink:
    """The connection to one relay.

    Attributes:
        url: of the relay, without the token.
        connected: whether a WebSocket is open.
        version: of the link protocol that is spoken.
        rtt_s: how long the last ping took, there and back; `None` before the first one.
        last_error: when the last failure was, by `clock`, and what it was; `None` when there was none.
    """

    def __init__(
        self,
        url: str,
        source: ParcelSource,
        inbox: Inbox,
        *,
        make_token: Callable[[], str],
        clock: Callable[[], float],
        random: Callable[[], float],
        message_bytes_max: int,
        twin: int,
    ) -> None:
        """Describe the link; `run` makes it.

        Args:
            url: `ws://…` or `wss://…`.
            source: where parcels come from.
            inbox: where frames go.
            make_token: a fresh token for each attempt.
            clock: monotonic seconds.
            random: numbers in [0, 1), for jitter.
            message_bytes_max: larger frames from the relay end the connection.
            twin: whose link it is, for log lines.
        """
        self.url = url
        self.connected = False
        self._source = source
        self._inbox = inbox
        self._make_token = make_token
        self._clock = clock
        self._backoff = Backoff(RETRY_S_FIRST, RETRY_S_MAX, random)
        self._message_bytes_max = message_bytes_max
        self._twin = twin
        self._heartbeat: Heartbeat[Parcel] = Heartbeat(clock(), RHYTHM)
        self._unconfirmed_bytes = 0
        self._sent_bytes = 0
        self._wake = asyncio.Event()
        self._beat_soon = asyncio.Event()
        self._reading_held_up = False
        self.version = "rmb.1"
        self.rtt_s: float | None = None
        self.last_error: tuple[float, str] | None = None

    @property
    def unconfirmed(self) -> int:
        """Parcels sent and not yet proven to be read."""
        return self._heartbeat.unconfirmed

    @property
    def has_room(self) -> bool:
        """Whether the window lets another parcel out."""
        return self._heartbeat.unconfirmed < WINDOW_PARCELS and self._unconfirmed_bytes < WINDOW_BYTES

    def wake(self) -> None:
        """There may be something to send."""
        self._wake.set()

    async def run(self) -> None:
        """Keep the link up until cancelled."""
        while True:
            began_s = self._clock()
            try:
                await self._one_connection()
            except InvalidStatus as error:
                body = (error.response.body or b"").decode(errors="replace")[:200]
                self._report("relay refused the connection", f"{error.response.status_code} {body}")
            except ConnectionClosed as error:
                self._report("relay closed the connection", str(error))
                if error.rcvd is not None and error.rcvd.code == SUPERSEDED:
                    self._report("another gateway with this identity took over", "stop one of the two")
                    self._backoff.raise_to(SUPERSEDED_RETRY_S)
            except (OSError, TimeoutError, WebSocketException) as error:
                self._report("no connection to the relay", str(error) or type(error).__name__)
            if self._clock() - began_s > STABLE_S:
                self._backoff.reset()
            await asyncio.sleep(self._backoff.next_s())

    async def _one_connection(self) -> None:
        async with _Connect(
            f"{self.url}?{self._make_token()}",
            compression=None,  # payloads are encrypted; the Rust relay offers none (spec rmb appendix B)
            max_size=self._message_bytes_max,
            ping_interval=None,  # pings confirm messages here, see protocol/heartbeat.py
            open_timeout=DIAL_S_MAX,
            close_timeout=1.0,
            user_agent_header=f"rmb-peer/{__version__}",
            create_connection=_Connection,
        ) as socket:
            pongs = HeldPongs()
            cast(_Connection, socket).on_ping = partial(self._pinged, pongs)
            limit_unsent(socket.transport)
            self._heartbeat = Heartbeat(self._clock(), RHYTHM)
            self._unconfirmed_bytes = self._sent_bytes = 0
            self._set_connected(True)
            try:
                await _until_one_fails(self._read(socket, pongs), self._write(socket), self._beat(socket, pongs))
            finally:
                self._source.give_back(self._heartbeat.take_unconfirmed())
                self._set_connected(False)

    async def _read(self, socket: ClientConnection, pongs: HeldPongs) -> None:
        for number in count(1):
            frame = await socket.recv()
            self._heartbeat.heard(self._clock())
            done = partial(self._dealt_with, pongs, number)
            if isinstance(frame, str):
                error = InvalidPayloadType()
                event(_LOG, logging.WARNING, str(error), code=error.code, relay=self.url)
                done()
            else:
                self._reading_held_up = not self._inbox.has_room()
                await self._inbox.put(Received(frame, done))
                self._reading_held_up = False

    async def _write(self, socket: ClientConnection) -> None:
        while True:
            self._wake.clear()
            while self.has_room and (parcel := self._source.next_parcel(self)) is not None:
                size_bytes = len(parcel.data)
                self._heartbeat.wrote(parcel)
                self._unconfirmed_bytes += size_bytes
                self._sent_bytes += size_bytes
                await socket.send(parcel.data)
                event(
                    _LOG,
                    logging.DEBUG,
                    "sent",
                    uid=parcel.uid,
                    destination=parcel.destination,
                    relay=self.url,
                    bytes=size_bytes,
                )
                self._beat_soon.set()
            await self._wake.wait()

    async def _beat(self, socket: ClientConnection, pongs: HeldPongs) -> None:
        """Send the pings and pongs that are due; a task of its own, because the writer may wait for a slow line."""
        while True:
            self._beat_soon.clear()
            for payload in pongs.take_answerable():
                await socket.pong(payload)
            now_s = self._clock()
            heard_s = self._heartbeat.heard_at
            transport = socket.transport
            arriving_s = now_s if self._reading_held_up else arriving_at(now_s, heard_s, silent_s(transport))
            try:
                ping = self._heartbeat.expire(now_s, self._sent_bytes - transport.get_write_buffer_size(), arriving_s)
            except LinkDead:
                transport.abort()
                raise TimeoutError(f"no answer to a ping for {RHYTHM.dead_s:g} s") from None
            if ping is not None:
                pong = cast("asyncio.Future[float]", await socket.ping(ping))
                pong.add_done_callback(partial(self._ponged, self._heartbeat, ping, self._clock()))
            await self._wait_beat(self._heartbeat.deadline() - now_s)

    def _pinged(self, pongs: HeldPongs, messages_before: int, payload: bytes) -> None:
        self._heartbeat.heard(self._clock())
        pongs.pinged(messages_before, payload)
        if pongs.answerable():
            self._beat_soon.set()

    def _dealt_with(self, pongs: HeldPongs, number: int) -> None:
        pongs.dealt_with(number)
        if pongs.answerable():
            self._beat_soon.set()

    def _ponged(
        self, heartbeat: Heartbeat[Parcel], ping: bytes, pinged_s: float, pong: "asyncio.Future[float]"
    ) -> None:
        if pong.cancelled() or pong.exception() is not None:
            return  # the connection ended; what it left unproven has been given back
        heartbeat.heard(self._clock())
        self.rtt_s = self._clock() - pinged_s  # by our clock: that of uvloop knows milliseconds only
        for parcel in heartbeat.pong(ping):
            self._unconfirmed_bytes -= len(parcel.data)
            parcel.arrived()
        self._wake.set()
        self._beat_soon.set()

    async def _wait_beat(self, seconds: float) -> None:
        timer = asyncio.get_running_loop().call_later(max(seconds, 0.0), self._beat_soon.set)
        await self._beat_soon.wait()
        timer.cancel()

    def _set_connected(self, connected: bool) -> None:
        self.connected = connected
        if connected:
            event(_LOG, logging.INFO, "now connected", relay=self.url, twin=self._twin)
        self._source.link_changed(self)

    def _report(self, text: str, reason: str) -> None:
        self.last_error = self._clock(), f"{text}: {reason}"
        event(_LOG, logging.WARNING, text, relay=self.url, reason=reason)


async def _until_one_fails(*parts: Coroutine[None, None, None]) -> None:
    """Run endless parts together; the first error ends them all.

    No task group: before Python 3.13 one that is ending with an error swallows a cancellation, and the link would dial
    again instead of ending.
    """
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        done.pop().result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
