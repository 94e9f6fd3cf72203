"""One signed-in session from handshake to end: what both ways of speaking share.

It registers the session and reads its mailbox; `attended` reads frames and keeps the link honest. The two ways are
`connection` (rmb.1) and `acknowledged` (rmb.2); this module refuses to know what a frame means.
"""

import asyncio
import logging
from abc import abstractmethod
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from functools import partial

from aiohttp import WSCloseCode

from relay.attended import Attended, Spawn
from relay.ends import LOST, NOT_ADMITTED, SUPERSEDED
from relay.exchange import Exchange
from relay.feed import Feed
from relay.log_lines import printable
from relay.mailboxes import EntryId, Mailboxes, MailboxFailed, Page
from relay.presence import Presence
from relay.probe import PROBE_TWIN
from relay.session_log import SessionLog
from relay.sessions import RelayFull, Session, Sessions
from relay.switch import Refusal
from relay.websocket import ClientSocket
from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.heartbeat import Rhythm

READ_RETRY_S_MAX = 2.0
"""Longest pause between attempts to read the mailbox while the store fails; a guess."""

ENTER_S_MAX = 2.0
"""How long a new session waits until the store knows of it; then it is served all the same, as far as that goes. A
guess."""

_READ_RETRY_S_FIRST = 0.05
_LOG = get_logger("relay")


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
        session_log: says who comes and goes.
    """

    exchange: Exchange
    sessions: Sessions
    mailboxes: Mailboxes
    rhythm: Rhythm
    message_bytes_max: int
    direct_s_max: float
    session_log: SessionLog


class SignedIn(Attended[EntryId]):
    """One session. Call `run` once."""

    def __init__(self, socket: ClientSocket, owner: Address, common: Common) -> None:
        """Take over an accepted WebSocket whose token was in order."""
        super().__init__(socket, common.rhythm)
        self._owner = owner
        self._common = common
        self._exchange = common.exchange
        self._sessions = common.sessions
        self._mailboxes = common.mailboxes
        self._presence: Presence = common.exchange.presence
        self._feed = Feed(self._read_page, horizon=common.exchange.horizon)
        self._session: Session | None = None
        self._entering: asyncio.Future[None]
        self._full: Refusal | None = None
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
    async def _before_page(self) -> None:
        """A page of the mailbox is about to be read."""

    @abstractmethod
    def _left(self) -> None:
        """The session is no longer in the table. May be called twice."""

    # --- from the beginning to the end --------------------------------------------------------------------------------

    def enter(self) -> None:
        """Take the place of an older session, before its client hears anything more of it."""
        try:
            self._session = session = self._register()
        except RelayFull as full:
            self._full = full.refusal
        else:
            self._entering = self._presence.enter(session)

    async def run(self) -> None:
        """Serve the session until it ends. Look-ups that its last envelopes wait for are finished first."""
        session = self._session
        if session is None:
            await self._refuse()
            return
        limiter, rates, metrics = self._exchange.limiter, self._exchange.rates, self._exchange.metrics
        metrics.signins += 1
        log, shown = self._common.session_log, printable(self._owner)
        quiet = self._owner.twin == PROBE_TWIN
        log.opened(quiet, session=shown, generation=session.generation)
        if limiter is not None:
            limiter.connect(self._owner.twin)
        if rates is not None:
            rates.connect(self._owner.twin)
        end = LOST
        try:
            if not self._entering.done():
                await asyncio.wait(
                    (self._entering, self._ended), timeout=ENTER_S_MAX, return_when=asyncio.FIRST_COMPLETED
                )
            end = await self._attend(self._begin, partial(self._leave, session))
        finally:
            self._leave(session)
            if limiter is not None:
                limiter.disconnect(self._owner.twin)
            if rates is not None:
                rates.disconnect(self._owner.twin)
            metrics.evictions[end.eviction] += 1
            log.closed(
                quiet,
                session=shown,
                generation=session.generation,
                reason=end.reason,
                unconfirmed=self._unconfirmed,
            )

    async def _refuse(self) -> None:
        assert self._full is not None
        self._exchange.metrics.refusals[self._full.reason] += 1
        await self._may_go_on.wait()
        await self._socket.close(WSCloseCode.TRY_AGAIN_LATER, self._full.text)

    @property
    def twin(self) -> int:
        """Who signed in."""
        return self._owner.twin

    def not_admitted(self) -> None:
        """End the session because the operator does not let this twin in any more."""
        self._end(NOT_ADMITTED)

    def _superseded(self) -> None:
        """A newer connection has taken the place of this one, just now."""
        self._left()
        self._end(SUPERSEDED)

    def _leave(self, session: Session) -> None:
        if self._sessions.unregister(session):
            self._presence.leave(session)
        self._left()

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
