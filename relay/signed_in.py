"""One signed-in session from handshake to end: what both ways of speaking share.

It registers the session, reads frames, keeps the link honest (a timer asks the heartbeat for pings), and ends in order.
Whatever ends first ends all; `run` says why. The two ways are `connection` (rmb.1) and `acknowledged` (rmb.2); this
module refuses to know what a frame means.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from itertools import count

from aiohttp import WSCloseCode, WSMessage, WSMsgType
from aiohttp.web import StreamResponse

from relay.ends import CLIENT_CLOSED, LOST, SHUTDOWN, SILENT, STUCK, SUPERSEDED, TEXT, End, how_it_ended
from relay.exchange import Exchange
from relay.feed import Feed
from relay.log_lines import printable
from relay.mailboxes import EntryId, Mailboxes, MailboxFailed, Page
from relay.presence import Presence
from relay.sessions import RelayFull, Session, Sessions
from relay.tasks import end as end_tasks
from relay.websocket import ClientSocket
from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.heartbeat import Heartbeat, LinkDead, Rhythm
from rmb_peer.transport.tcp import arriving_at

TURN_FRAMES = 64
"""Frames of one client that are handled before others get their turn; a guess: a few milliseconds."""

READ_RETRY_S_MAX = 2.0
"""Longest pause between attempts to read the mailbox while the store fails; a guess."""

CLOSE_TEXT_BYTES_MAX = 123
"""Reason in a Close frame (RFC 6455, 5.5)."""

ENTER_S_MAX = 2.0
"""How long a new session waits until the store knows of it; then it is served all the same, as far as that goes. A
guess."""

_READ_RETRY_S_FIRST = 0.05
_LOG = get_logger("relay")

Spawn = Callable[[Coroutine[None, None, None]], object]


@dataclass(frozen=True, slots=True)
class Common:
    """What every connection of this process gets.

    Attributes:
        exchange: what all sessions share.
        sessions: who is connected.
        mailboxes: the store.
        rhythm: pings.
        message_bytes_max: largest envelope.
        direct_s_max: see `RelayConfig`.
    """

    exchange: Exchange
    sessions: Sessions
    mailboxes: Mailboxes
    rhythm: Rhythm
    message_bytes_max: int
    direct_s_max: float


class SignedIn(ABC):
    """One session. Call `run` once."""

    def __init__(self, socket: ClientSocket, owner: Address, common: Common) -> None:
        """Take over an accepted WebSocket whose token was in order."""
        self._socket = socket
        self._owner = owner
        self._common = common
        self._exchange = common.exchange
        self._sessions = common.sessions
        self._mailboxes = common.mailboxes
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[End] = self._loop.create_future()
        self._presence: Presence = common.exchange.presence
        self._session: Session
        self._entering: asyncio.Future[None]
        self._feed = Feed(self._read_page, horizon=common.exchange.horizon)
        self._heartbeat: Heartbeat[EntryId] = Heartbeat(self._loop.time(), common.rhythm)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._reading_paused = False
        """While we do not read, the client cannot be blamed for a pong that we do not see."""
        self._pings: set[asyncio.Task[None]] = set()
        self._tasks: asyncio.TaskGroup
        self._prepare()

    # --- what the two ways of speaking decide -------------------------------------------------------------------------

    @abstractmethod
    def _prepare(self) -> None:
        """Set up what this way of speaking needs from the start."""

    @property
    @abstractmethod
    def _unconfirmed(self) -> int:
        """Envelopes that the client has not confirmed."""

    @abstractmethod
    def _register(self) -> Session:
        """Enter the session into the table.

        Raises:
            RelayFull: there is no room.
        """

    @abstractmethod
    def _begin(self, spawn: Spawn) -> Sequence[Coroutine[None, None, None]]:
        """The session starts.

        Args:
            spawn: runs what has to end even if the connection ends first.

        Returns:
            what runs beside the reader until the connection ends.
        """

    @abstractmethod
    async def _room(self) -> None:
        """Wait before the next frame is read."""

    @abstractmethod
    def _frame(self, data: bytes) -> End | None:
        """A binary frame came; says why the connection has to end, if it has to."""

    @abstractmethod
    async def _late_frame(self, data: bytes) -> None:
        """A binary frame came that the client sent before it heard our Close."""

    @abstractmethod
    async def _before_page(self) -> None:
        """A page of the mailbox is about to be read."""

    def _on_pong(self, payload: bytes) -> None:
        """A pong came."""
        self._heartbeat.pong(payload)
        self._arm()

    @abstractmethod
    def _left(self) -> None:
        """The session is no longer in the table. May be called twice."""

    @abstractmethod
    async def _wind_up(self, end: End, reader: "asyncio.Task[None]", helpers: "list[asyncio.Task[None]]") -> None:
        """The connection ends: end the helpers; if `end.flush`, give the client a moment to confirm what it has."""

    # --- from the beginning to the end --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve the session until it ends. Look-ups that its last envelopes wait for are finished first."""
        try:
            self._session = session = self._register()
        except RelayFull:
            self._exchange.metrics.refusals["relay_full"] += 1
            await self._socket.close(WSCloseCode.TRY_AGAIN_LATER, "relay is full")
            return
        self._entering = self._presence.enter(session)
        limiter, metrics = self._exchange.limiter, self._exchange.metrics
        metrics.signins += 1
        event(_LOG, logging.INFO, "session opened", session=printable(self._owner), generation=session.generation)
        if limiter is not None:
            limiter.connect(self._owner.twin)
        end = LOST
        try:
            async with asyncio.TaskGroup() as self._tasks:
                end = await self._serve(session)
        finally:
            self._leave(session)
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
                unconfirmed=self._unconfirmed,
            )

    @property
    def response(self) -> StreamResponse:
        """What the web server takes for its answer."""
        return self._socket.response

    def stop(self) -> None:
        """End the session because the relay stops."""
        self._end(SHUTDOWN)

    def _superseded(self) -> None:
        """A newer connection has taken the place of this one, just now."""
        self._left()
        self._end(SUPERSEDED)

    async def _serve(self, session: Session) -> End:
        await asyncio.wait((self._entering, self._ended), timeout=ENTER_S_MAX, return_when=asyncio.FIRST_COMPLETED)
        work = self._begin(self._tasks.create_task)
        reader = self._tasks.create_task(self._read())
        helpers = [self._tasks.create_task(item) for item in work]
        self._arm()
        try:
            end = await self._ended
            self._leave(session)
            await self._wind_up(end, reader, helpers)
            await end_tasks([reader])
            await self._say_goodbye(end)
        finally:
            if self._timer is not None:
                self._timer.cancel()
            for task in (reader, *helpers, *self._pings):
                task.cancel()
        return end

    def _leave(self, session: Session) -> None:
        if self._sessions.unregister(session):
            self._presence.leave(session)
        self._left()

    def _end(self, end: End) -> None:
        if not self._ended.done():
            self._ended.set_result(end)

    async def _say_goodbye(self, end: End) -> None:
        async def on_frame(message: WSMessage) -> None:
            if end.listen and message.type is WSMsgType.BINARY:
                await self._late_frame(message.data)

        if end is CLIENT_CLOSED:
            await self._socket.answer_close()
        elif end.code is None:
            self._socket.abort()
        else:
            text = end.reason.encode()[:CLOSE_TEXT_BYTES_MAX].decode(errors="ignore")
            await self._socket.close(end.code, text, on_frame)

    # --- reading ------------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        for number in count():
            if number % TURN_FRAMES == 0:
                await asyncio.sleep(0)
            await self._room()
            message = await self._socket.receive()
            self._heartbeat.heard(self._loop.time())
            if message.type is WSMsgType.BINARY:
                if (end := self._frame(message.data)) is not None:
                    self._end(end)
                    return
            elif message.type is WSMsgType.PING:
                await self._answer_ping(message.data)
            elif message.type is WSMsgType.PONG:
                self._on_pong(message.data)
            elif message.type is WSMsgType.TEXT:
                self._end(TEXT)
                return
            else:
                self._end(how_it_ended(message))
                return

    async def _answer_ping(self, payload: bytes) -> None:
        """A ping came."""
        await self._pong(payload)

    async def _pong(self, payload: bytes) -> None:
        try:
            await self._socket.pong(payload)
        except ConnectionError:
            self._end(LOST)

    async def _read_page(self, after: EntryId) -> Page:
        """A page of the mailbox. A store that fails is asked again until it answers; the session stays."""
        if not self._entering.done():
            await asyncio.wait((self._entering,))
        await self._before_page()
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
            self._end(STUCK if self._socket.blocked else SILENT)
            return None

    def _arriving_at(self, now: float) -> float:
        if self._reading_paused:
            return now
        return arriving_at(now, self._heartbeat.heard_at, self._socket.silent_s())

    async def _ping(self, payload: bytes) -> None:
        try:
            await self._socket.ping(payload)
        except ConnectionError:
            self._end(LOST)
