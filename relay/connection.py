"""One signed-in session from handshake to end: reads frames, writes what its feed gives, keeps the link honest.

Three things run side by side: the reader (frames go to the intake, pongs to the heartbeat), the writer (the feed's
entries, in order) and the replier (envelopes for this connection alone). A timer asks the heartbeat for pings. Whatever
ends first ends all; `run` says why.

An entry leaves the mailbox only when a pong proves that the client has read it; see `heartbeat`. What was written and
not confirmed when the link breaks is delivered again.
"""

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from itertools import count

from aiohttp import WebSocketError, WSCloseCode, WSMessage, WSMsgType

from relay.feed import Feed
from relay.intake import Exchange, Intake, printable
from relay.mailboxes import EntryId, Mailboxes, MailboxFailed, Page
from relay.metrics import Eviction
from relay.sessions import RelayFull, Session, Sessions
from relay.tasks import end as end_tasks
from relay.websocket import SUPERSEDED, ClientSocket
from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.errors import InvalidPayloadData
from rmb_peer.protocol.heartbeat import Heartbeat, LinkDead, Rhythm
from rmb_peer.transport.tcp import arriving_at

UNCONFIRMED_MAX = 4096
"""Entries written and not confirmed, beyond which nothing more is written; a guess: well below what a mailbox holds,
and with a confirmation every 100 ms still 40,000 a second."""

FLUSH_S_MAX = 1.0
"""At an orderly end, how long the last pong is waited for; a guess."""

TURN_FRAMES = 64
"""Frames of one client that are handled before others get their turn; a guess: a few milliseconds."""

PING_EVERY_ENTRIES = 64
PING_EVERY_BYTES = 256 * 1024
"""Within a long run of entries, how often a ping is due, so that a client that never stays long makes progress, too;
guesses."""

REPLIES_MAX = 256
REPLIES_BYTES_MAX = 1024 * 1024
"""Envelopes for this connection alone that wait to be written; while there are as many, it is not read. Guesses."""

REPLIES_HELD_MAX = 16_384
"""Errors about a failing store come later than what they are about; this many are held. A guess: about 4 MB."""

READ_RETRY_S_MAX = 2.0
"""Longest pause between attempts to read the mailbox while the store fails; a guess."""

_READ_RETRY_S_FIRST = 0.05
NO_ENVELOPE = "no_envelope"
_LOG = get_logger("relay")


@dataclass(frozen=True, slots=True)
class _End:
    """Why and how a connection ends.

    Attributes:
        reason: for the log.
        eviction: for the metrics.
        code: our Close code; `None` when there is nobody to say it to, or the client said Close first.
        flush: whether the client gets a moment to confirm what it has read.
        listen: whether frames that the client sent before it hears our Close still count.
    """

    reason: str
    eviction: Eviction
    code: int | None = None
    flush: bool = False
    listen: bool = False


_LOST = _End("connection lost", "closed")
_CLIENT_CLOSED = _End("closed by the client", "closed")
_SILENT = _End("no answer to a ping", "closed")
_STUCK = _End("takes nothing any more", "back_pressure_timeout")
_SUPERSEDED = _End("superseded by a newer connection", "cancelled", SUPERSEDED, listen=True)
_SHUTDOWN = _End("relay is shutting down", "cancelled", WSCloseCode.GOING_AWAY, flush=True, listen=True)
_TEXT = _End("text frame", "closed", WSCloseCode.UNSUPPORTED_DATA)
_NO_ENVELOPE = _End("frame is no envelope", "closed", WSCloseCode.INVALID_TEXT)


class Connection:
    """One session. Call `run` once."""

    def __init__(
        self,
        socket: ClientSocket,
        owner: Address,
        *,
        exchange: Exchange,
        sessions: Sessions,
        mailboxes: Mailboxes,
        rhythm: Rhythm,
    ) -> None:
        """Take over an accepted WebSocket whose token was in order."""
        self._socket = socket
        self._owner = owner
        self._exchange = exchange
        self._sessions = sessions
        self._mailboxes = mailboxes
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[_End] = self._loop.create_future()
        self._feed = Feed(self._read_page)
        self._heartbeat: Heartbeat[EntryId] = Heartbeat(self._loop.time(), rhythm)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._reading_paused = False
        """While we do not read, the client cannot be blamed for a pong that we do not see."""
        self._ponged = asyncio.Event()
        self._pings: set[asyncio.Task[None]] = set()
        self._replies: deque[bytes] = deque()
        self._replies_bytes = 0
        self._replies_in = asyncio.Event()
        self._replies_out = asyncio.Event()
        self._tasks: asyncio.TaskGroup

    async def run(self) -> None:
        """Serve the session until it ends. Look-ups that its last envelopes wait for are finished first."""
        try:
            session = self._sessions.register(self._owner, self._feed, lambda: self._end(_SUPERSEDED))
        except RelayFull:
            self._exchange.metrics.refusals["relay_full"] += 1
            await self._socket.close(WSCloseCode.TRY_AGAIN_LATER, "relay is full")
            return
        limiter, metrics = self._exchange.limiter, self._exchange.metrics
        metrics.signins += 1
        event(_LOG, logging.INFO, "session opened", session=printable(self._owner), generation=session.generation)
        if limiter is not None:
            limiter.connect(self._owner.twin)
        end = _LOST
        try:
            async with asyncio.TaskGroup() as self._tasks:
                end = await self._serve(session)
        finally:
            self._sessions.unregister(session)
            if limiter is not None:
                limiter.disconnect(self._owner.twin)
            metrics.evictions[end.eviction] += 1
            event(
                _LOG,
                logging.INFO,
                "session closed",
                session=printable(self._owner),
                generation=session.generation,
                reason=end.reason,
                unconfirmed=self._heartbeat.unconfirmed,
            )

    def stop(self) -> None:
        """End the session because the relay stops."""
        self._end(_SHUTDOWN)

    async def _serve(self, session: Session) -> _End:
        intake = Intake(self._owner, self._exchange, self._reply, self._tasks.create_task)
        reader = self._tasks.create_task(self._read(intake))
        writers = [self._tasks.create_task(self._write()), self._tasks.create_task(self._write_replies())]
        self._arm()
        try:
            end = await self._ended
            self._sessions.unregister(session)
            await end_tasks(writers)
            if end.flush:
                await self._flush(reader)
            await end_tasks([reader])
            await self._say_goodbye(end, intake)
        finally:
            if self._timer is not None:
                self._timer.cancel()
            for task in (reader, *writers, *self._pings):
                task.cancel()
        return end

    def _end(self, end: _End) -> None:
        if not self._ended.done():
            self._ended.set_result(end)

    # --- reading ------------------------------------------------------------------------------------------------------

    async def _read(self, intake: Intake) -> None:
        for number in count():
            if number % TURN_FRAMES == 0:
                await asyncio.sleep(0)
            self._reading_paused = True
            await intake.room()
            self._reading_paused = False
            await self._replies_room()  # for this the client itself is to blame
            message = await self._socket.receive()
            self._heartbeat.heard(self._loop.time())
            if message.type is WSMsgType.BINARY:
                try:
                    intake.frame(message.data)
                except InvalidPayloadData:
                    self._exchange.metrics.refusals[NO_ENVELOPE] += 1
                    self._end(_NO_ENVELOPE)
                    return
            elif message.type is WSMsgType.PING:
                await self._answer_ping(message.data)
            elif message.type is WSMsgType.PONG:
                self._on_pong(message.data)
            elif message.type is WSMsgType.TEXT:
                self._end(_TEXT)
                return
            else:
                self._end(_how_it_ended(message))
                return

    async def _answer_ping(self, payload: bytes) -> None:
        try:
            await self._socket.pong(payload)
        except ConnectionError:
            self._end(_LOST)

    def _on_pong(self, payload: bytes) -> None:
        confirmed = self._heartbeat.pong(payload)
        if confirmed:
            self._exchange.metrics.confirmations += len(confirmed)
            deleted = self._mailboxes.delete(self._owner, confirmed)
            deleted.add_done_callback(lambda _: self._feed.forget(confirmed))
        self._ponged.set()
        self._arm()

    # --- writing ------------------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        while True:
            while self._heartbeat.unconfirmed >= UNCONFIRMED_MAX:
                self._ponged.clear()
                await self._ponged.wait()
            entries = await self._feed.take()
            run_entries = run_bytes = 0
            for entry in entries:
                if not await self._send(entry.data):
                    return
                self._heartbeat.wrote(entry.id)
                if _LOG.isEnabledFor(logging.DEBUG):
                    stream_id = f"{entry.id[0]}-{entry.id[1]}"
                    event(_LOG, logging.DEBUG, "written", id=stream_id, destination=printable(self._owner))
                run_entries += 1
                run_bytes += len(entry.data)
                if run_entries >= PING_EVERY_ENTRIES or run_bytes >= PING_EVERY_BYTES:
                    run_entries = run_bytes = 0
                    await self._ping_if_due()
            await self._ping_if_due()

    async def _send(self, data: bytes) -> bool:
        """Write an envelope; false when the connection is gone."""
        try:
            await self._socket.send(data)
        except ConnectionError:
            self._end(_LOST)
            return False
        self._exchange.metrics.message_tx += 1
        self._exchange.metrics.message_tx_bytes += len(data)
        return True

    async def _read_page(self, after: EntryId) -> Page:
        """A page of the mailbox. A store that fails is asked again until it answers; the session stays."""
        pause_s = _READ_RETRY_S_FIRST
        while True:
            try:
                return await self._mailboxes.read(self._owner, after)
            except MailboxFailed as error:
                level = logging.WARNING if pause_s == _READ_RETRY_S_FIRST else logging.DEBUG
                shown = printable(self._owner)
                event(_LOG, level, "mailbox cannot be read, trying again", session=shown, reason=str(error))
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, READ_RETRY_S_MAX)

    def _reply(self, data: bytes) -> None:
        """Queue an envelope for this connection alone."""
        if self._ended.done() or len(self._replies) >= REPLIES_HELD_MAX:
            self._exchange.metrics.replies_dropped += 1
            return
        self._replies.append(data)
        self._replies_bytes += len(data)
        self._replies_in.set()

    async def _write_replies(self) -> None:
        while True:
            while self._replies:
                data = self._replies.popleft()
                if not await self._send(data):
                    return
                self._replies_bytes -= len(data)
                self._replies_out.set()
            self._replies_in.clear()
            await self._replies_in.wait()

    async def _replies_room(self) -> None:
        while len(self._replies) >= REPLIES_MAX or self._replies_bytes >= REPLIES_BYTES_MAX:
            self._replies_out.clear()
            await self._replies_out.wait()

    # --- the link -----------------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        if self._ended.done():
            return
        deadline = self._heartbeat.deadline()
        if self._timer is not None:
            if self._timer_at <= deadline:
                return
            self._timer.cancel()
        self._timer_at = deadline  # uvloop's handles do not always tell theirs
        self._timer = self._loop.call_at(deadline, self._on_timer)

    async def _ping_if_due(self) -> None:
        if not self._heartbeat.waiting and (payload := self._due_ping()) is not None:
            await self._ping(payload)
        self._arm()

    def _on_timer(self) -> None:
        """Never waits: a client that takes nothing must not stop us from noticing."""
        self._timer = None
        payload = self._due_ping()
        if payload is not None:
            ping = self._tasks.create_task(self._ping(payload))
            self._pings.add(ping)
            ping.add_done_callback(self._pings.discard)
        self._arm()

    def _due_ping(self) -> bytes | None:
        """Ask the heartbeat what is due; a dead link ends the connection."""
        if self._ended.done():
            return None
        now = self._loop.time()
        try:
            return self._heartbeat.expire(now, self._socket.drained_bytes, self._arriving_at(now))
        except LinkDead:
            self._end(_STUCK if self._socket.blocked else _SILENT)
            return None

    def _arriving_at(self, now: float) -> float:
        if self._reading_paused:
            return now
        return arriving_at(now, self._heartbeat.heard_at, self._socket.silent_s())

    async def _ping(self, payload: bytes) -> None:
        try:
            await self._socket.ping(payload)
        except ConnectionError:
            self._end(_LOST)

    async def _flush(self, reader: "asyncio.Task[None]") -> None:
        """Wait a moment for the pong that confirms what has been written; the reader is still running."""
        reader.add_done_callback(lambda _: self._ponged.set())
        try:
            async with asyncio.timeout(FLUSH_S_MAX):
                while self._heartbeat.unconfirmed and not reader.done():
                    self._ponged.clear()
                    if not self._heartbeat.waiting:
                        await self._ping(self._heartbeat.ping(self._loop.time()))
                    await self._ponged.wait()
        except TimeoutError:
            event(_LOG, logging.DEBUG, "no last pong", session=printable(self._owner))

    async def _say_goodbye(self, end: _End, intake: Intake) -> None:
        async def on_frame(message: WSMessage) -> None:
            if end.listen and message.type is WSMsgType.BINARY:
                await intake.room()
                try:
                    intake.frame(message.data)
                except InvalidPayloadData:
                    self._exchange.metrics.refusals[NO_ENVELOPE] += 1

        if end is _CLIENT_CLOSED:
            await self._socket.answer_close()
        elif end.code is None:
            self._socket.abort()
        else:
            await self._socket.close(end.code, end.reason, on_frame)


def _how_it_ended(message: WSMessage) -> _End:
    if message.type is WSMsgType.CLOSE:
        return _CLIENT_CLOSED
    if message.type is WSMsgType.ERROR and isinstance(message.data, WebSocketError):
        return _End(f"WebSocket rules broken: {message.data}", "closed")  # aiohttp has told the client
    return _LOST
