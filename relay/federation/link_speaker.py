"""Speaks to another relay of ours over a lasting link of rmb.2: one outgoing WebSocket, many envelopes per frame.

The connection is made when there is something to say, and closed when there has been nothing for a while. How envelopes
travel on it is what a gateway does (`rmb_peer/transport/rmb2`): windows, endings, pings. Nothing comes back on it.

When a connection is lost, or the other relay asks to wait, everything from the first envelope on that has not ended has
to be sent again, on a new connection and in the old order. Some of it may have arrived: the other relay holds it, or
has passed it on. So it can come twice, and the gateway at the end recognises the repeat by its marks; other makes of
gateways get it twice, as with single posts whose answer was lost (spec rmb 6.8).

When to try again is the sender's business. This module refuses to know who that is.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import cast

from websockets.exceptions import ConnectionClosed, InvalidStatus, NegotiationError, WebSocketException
from websockets.frames import CloseCode

from relay.federation.speaker import Accepted, Outcome, Queued, Refused, TryAgain
from relay.switch import OFFLINE, UNKNOWN_TWIN
from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.errors import MessageTooLarge
from rmb_peer.protocol.heartbeat import Rhythm
from rmb_peer.protocol.link import endings
from rmb_peer.protocol.link.endings import SUBPROTOCOL, LinkBroken
from rmb_peer.transport.client_socket import ClientSocket, dial
from rmb_peer.transport.inbox import Inbox, Received
from rmb_peer.transport.parcels import Parcel
from rmb_peer.transport.rmb2 import Rmb2, frame_bytes_max
from rmb_peer.transport.speaker import Surroundings
from rmb_peer.transport.tcp import limit_unsent

DIAL_S_MAX = 5.0
"""Longest wait for a connection. A guess: other relays give a post 3 s in all (spec rmb 6.8), and here is a look-up of
our key at the other relay's side."""

IDLE_S = 300.0
"""A link with nothing to carry is closed after this time; a guess: dialling anew costs a few round trips."""

ENDING_S_MAX = 60.0
"""How long a relay that lives may take until any of what it has ends. A guess: three times what a store gets."""

RHYTHM = Rhythm(idle_s=20.0, dead_s=10.0)
"""Pings. A relay has a good line and reads all the time, so it is dead sooner than a gateway (spec rmb 5.7: 40 s)."""

_MESSAGE_BYTES_MAX = 0
"""Nothing is to come back but endings."""

_BUSY = frozenset({429, 503})
_REFUSED_FOR_NOW = frozenset({408, 429})
"""What among 4xx does not mean that this relay has no link for us (RFC 9110, 15.5.9; RFC 6585, 4)."""

_LOG = get_logger("relay.federation")


class LinkRefused(Exception):
    """The other relay takes no link from us; single posts may work. The text says how it showed that."""


class LinkSpeaker:
    """See `speaker.Speaker`."""

    def __init__(
        self,
        url: str,
        domain: str,
        make_headers: Callable[[], Mapping[str, str]],
        *,
        idle_s: float = IDLE_S,
        ending_s_max: float = ENDING_S_MAX,
        rhythm: Rhythm = RHYTHM,
    ) -> None:
        """Nothing is dialled before there is something to say.

        Args:
            url: of the other relay, `ws://…` or `wss://…`.
            domain: its name, for log lines.
            make_headers: headers that prove who we are, fresh for each connection.
            idle_s: see `IDLE_S`.
            ending_s_max: see `ENDING_S_MAX`.
            rhythm: pings.
        """
        self._url = url
        self._domain = domain
        self._make_headers = make_headers
        self._idle_s = idle_s
        self._ending_s_max = ending_s_max
        self._rhythm = rhythm
        self._connection: _Connection | None = None
        self._idle: asyncio.TimerHandle | None = None

    @property
    def connected(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None and self._connection.open

    async def deliver(self, batch: Sequence[Queued]) -> Sequence[Outcome]:
        """See `speaker.Speaker.deliver`.

        Raises:
            LinkRefused: the other relay takes no link from us; it has accepted nothing of this.
        """
        self._stop_idling()
        connection = self._connection
        if connection is None or not connection.open:
            await self._drop()
            connection = self._connection = _Connection(self._url, self._domain, self._make_headers(), self._rhythm)
        run = _Run(batch, self._domain)
        try:
            failure = await self._carry(run, connection)
        except BaseException:
            connection.end()  # what it carries is nobody's any more
            raise
        outcomes = run.outcomes(failure)
        if isinstance(outcomes[-1], TryAgain):
            await self._drop()  # it takes nothing more; see `link_intake`
        else:
            self._idle = asyncio.get_running_loop().call_later(self._idle_s, connection.end)
        return outcomes

    async def close(self) -> None:
        """See `speaker.Speaker.close`."""
        self._stop_idling()
        await self._drop()

    async def _carry(self, run: "_Run", connection: "_Connection") -> TryAgain:
        """Returns when everything has ended, or why nothing more will."""
        connection.begin(run)
        while not run.ended and connection.open:
            run.changed.clear()
            try:
                async with asyncio.timeout(self._ending_s_max):
                    await run.changed.wait()
            except TimeoutError:
                if not connection.draining:
                    return TryAgain("timeout", f"nothing has ended for {self._ending_s_max:g} s")
        if connection.refused is not None:
            raise connection.refused
        return connection.failure

    async def _drop(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()

    def _stop_idling(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None


class _Connection:
    """One WebSocket, from dialling to its end, in a task of its own.

    Attributes:
        failure: why it has ended.
        refused: the other relay did not want it.
    """

    def __init__(self, url: str, domain: str, headers: Mapping[str, str], rhythm: Rhythm) -> None:
        self.failure = TryAgain("unreachable", "the link was closed")
        self.refused: LinkRefused | None = None
        self._url = url
        self._domain = domain
        self._headers = headers
        self._rhythm = rhythm
        self._socket: ClientSocket | None = None
        self._rmb2: Rmb2 | None = None
        self._run: _Run | None = None
        self._ending = False
        self._task = asyncio.create_task(self._hold())
        self._task.add_done_callback(lambda _: self._wake_run())

    @property
    def open(self) -> bool:
        """Whether it lives, or is being made."""
        return not self._ending and not self._task.done()

    @property
    def draining(self) -> bool:
        """Whether bytes wait to leave; pings decide for how long."""
        return self._socket is not None and self._socket.transport.get_write_buffer_size() > 0

    def begin(self, run: "_Run") -> None:
        """Carry these; the ones before have ended."""
        self._run = run
        if self._rmb2 is not None:
            self._rmb2.wake()

    def end(self) -> None:
        """Begin to close. A second cancellation would cut the closing handshake short."""
        if not self._ending:
            self._ending = True
            self._task.cancel()

    async def close(self) -> None:
        """Close, and wait for it."""
        self.end()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.result()

    def _wake_run(self) -> None:
        if self._run is not None:
            self._run.changed.set()

    def _next_parcel(self) -> Parcel | None:
        run, rmb2 = self._run, self._rmb2
        if run is None or rmb2 is None:
            return None
        return run.next_parcel(rmb2.has_room)

    async def _hold(self) -> None:
        try:
            await self._dial_and_speak()
        except (ConnectionClosed, OSError, WebSocketException, LinkBroken) as error:
            understood = self._rmb2 is not None and self._rmb2.understood
            if not understood and _is_refusal(error):
                self.refused = LinkRefused(_text(error))
            self.failure = _failure(error)
            event(_LOG, logging.INFO, "link to another relay ended", relay=self._domain, reason=self.failure.text)

    async def _dial_and_speak(self) -> None:
        frame_bytes = frame_bytes_max(_MESSAGE_BYTES_MAX)
        async with dial(
            self._url, [SUBPROTOCOL], frame_bytes, headers=self._headers, dial_s_max=DIAL_S_MAX
        ) as connection:
            socket = self._socket = cast(ClientSocket, connection)
            if socket.subprotocol is None:
                raise NegotiationError(f"no {SUBPROTOCOL} was selected")
            limit_unsent(socket.transport)
            clock = asyncio.get_running_loop().time
            around = Surroundings(self._url, self._next_parcel, _OneWay(), clock, self._rhythm, _MESSAGE_BYTES_MAX)
            self._rmb2 = Rmb2(socket, around)
            event(_LOG, logging.INFO, "link to another relay made", relay=self._domain)
            try:
                await self._rmb2.run()
            except LinkBroken as error:
                await socket.close_broken(error)
                raise


class _OneWay(Inbox):
    """Takes nothing: the other relay has a link of its own for what goes to us."""

    async def put(self, frame: Received) -> None:
        raise LinkBroken("an envelope on a link that only carries them the other way")


class _Run:
    """One batch on its way.

    Attributes:
        changed: something has ended, or the connection has.
    """

    def __init__(self, batch: Sequence[Queued], domain: str) -> None:
        self.changed = asyncio.Event()
        self._batch = batch
        self._domain = domain
        self._outcomes: list[Outcome | None] = [None] * len(batch)
        self._next = 0
        self._left = len(batch)
        self._put_off = False

    @property
    def ended(self) -> bool:
        """Whether everything has, or what is left need not be tried."""
        return self._left == 0 or (self._put_off and self._left == len(self._batch) - self._next)

    def next_parcel(self, has_room: Callable[[int], bool]) -> Parcel | None:
        """The next one, if there is room for it, and nothing has to wait."""
        if self._put_off or self._next == len(self._batch):
            return None
        queued = self._batch[self._next]
        if not has_room(len(queued.data)):
            return None
        end = partial(self._end, self._next)
        self._next += 1
        return Parcel(
            queued.data,
            queued.expires_at_s,
            arrived=lambda reached: end(_ACCEPTED),
            refused=lambda outcome: end(_refusal(outcome)),
            expired=lambda tried: None,
            uid=queued.id,
            destination=self._domain,
        )

    def outcomes(self, failure: TryAgain) -> list[Outcome]:
        """What became of each, in order: from the first one on that has to be sent again, all have to be.

        Args:
            failure: of those that have not ended.
        """
        told: list[Outcome] = []
        again: TryAgain | None = None
        for outcome in self._outcomes:
            if again is None and not isinstance(outcome, Accepted | Refused):
                again = outcome or failure
            told.append(again or outcome or failure)
        return told

    def _end(self, index: int, outcome: Outcome) -> None:
        self._outcomes[index] = outcome
        self._left -= 1
        self._put_off = self._put_off or isinstance(outcome, TryAgain)
        if self.ended:
            self.changed.set()


_ACCEPTED = Accepted()


def _refusal(outcome: endings.Outcome) -> Outcome:
    if outcome.retry_after_ms:
        return TryAgain("busy", outcome.reason, outcome.retry_after_ms / 1000)
    if outcome.code == MessageTooLarge.code:
        return Refused("too_large", outcome.reason)
    return Refused(
        {OFFLINE.text: "offline", UNKNOWN_TWIN.text: "unknown"}.get(outcome.reason, "refused"), outcome.reason
    )


def _is_refusal(error: Exception) -> bool:
    """Whether an attempt that failed shows that there is no link for us, rather than no connection."""
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        return 300 <= status < 500 and status not in _REFUSED_FOR_NOW
    return isinstance(error, NegotiationError | LinkBroken)


def _failure(error: Exception) -> TryAgain:
    text = _text(error)
    match error:
        case InvalidStatus():
            busy = error.response.status_code in _BUSY
            return TryAgain("busy" if busy else "failing", text, _retry_after_s(error))
        case ConnectionClosed():
            busy = error.rcvd is not None and error.rcvd.code == CloseCode.TRY_AGAIN_LATER
            return TryAgain("busy" if busy else "unreachable", text)
        case TimeoutError():
            return TryAgain("timeout", text)
        case LinkBroken() | WebSocketException():
            return TryAgain("garbage", text)
        case _:
            return TryAgain("unreachable", text)


def _text(error: Exception) -> str:
    if isinstance(error, InvalidStatus):
        body = (error.response.body or b"").decode(errors="replace")[:200]
        return f"the other relay refused the link: {error.response.status_code} {body}".rstrip()
    if isinstance(error, ConnectionClosed):
        return f"the connection to the other relay was closed: {error}"
    return str(error) or type(error).__name__


def _retry_after_s(error: InvalidStatus) -> float:
    """Seconds in `Retry-After` (RFC 9110, 10.2.3); a date there is not read."""
    said = error.response.headers.get("Retry-After", "")
    return float(said) if said.isascii() and said.isdigit() and len(said) < 6 else 0.0
