"""Speaks to another relay of ours over a lasting link of rmb.2: one outgoing WebSocket, many envelopes per frame.

The connection is made when there is something to say, and closed when there has been nothing for a while. How envelopes
travel on it is what a gateway does (`rmb_peer/transport/rmb2`): windows, endings, pings. Nothing comes back on it.

When a connection is lost, what has not ended has to be sent again, and so has what follows it to the same twin. Some of
that may have arrived: the other relay holds it, or has passed it on. So it can come twice, and the gateway at the end
recognises the repeat by its marks; other makes of gateways get it twice, as with a single post whose answer was lost
(spec rmb 6.8).

When the other relay puts an envelope off, it puts off what follows for the same twin on the same connection
(`link_intake`), so that nothing overtakes. What comes after that batch goes on a new connection.

When to try again is the sender's business. This module refuses to know who that is, and where relays are.
"""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard, cast

from websockets.exceptions import ConnectionClosed, InvalidStatus, NegotiationError, WebSocketException
from websockets.frames import CloseCode

from relay.federation.places import PlaceRefused
from relay.federation.post_speaker import twin_of
from relay.federation.posting import REJECTED, cleaned, wait_s
from relay.federation.speaker import Accepted, Outcome, Queued, Refused, TryAgain
from relay.switch import OFFLINE, UNKNOWN_TWIN
from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.errors import MessageTooLarge
from rmb_peer.protocol.heartbeat import Rhythm
from rmb_peer.protocol.link import endings
from rmb_peer.protocol.link.endings import SUBPROTOCOL, LinkBroken
from rmb_peer.transport.client_socket import ClientSocket, dial
from rmb_peer.transport.inbox import Inbox, Received
from rmb_peer.transport.parcels import Parcel, Reached
from rmb_peer.transport.rmb2 import Rmb2, frame_bytes_max
from rmb_peer.transport.speaker import Surroundings
from rmb_peer.transport.tcp import limit_unsent

DIAL_S_MAX = 10.0
"""Longest wait for a connection. A guess: the other relay may have to ask us for our key first."""

IDLE_S = 300.0
"""A link with nothing to carry is closed after this time; a guess: dialling anew costs a few round trips."""

ENDING_S_MAX = 60.0
"""How long a relay that lives may take until any of what it has ends. A guess: three times what a store gets."""

RHYTHM = Rhythm(idle_s=20.0, dead_s=10.0)
"""Pings. A relay has a good line and reads all the time, so it is dead sooner than a gateway (spec rmb 5.7: 40 s)."""

_MESSAGE_BYTES_MAX = 0
"""Nothing is to come back but endings."""

_BUSY = 503
_REFUSED_FOR_NOW = frozenset({408, 425, 429})
"""What among 4xx does not mean that this relay has no link for us (RFC 9110, 15.5.9; RFC 8470, 5.2; RFC 6585, 4)."""

TOO_MANY = 429
"""Code of a refusal because of a rate, as of an answer to a post (RFC 6585, 4)."""

_LOG = get_logger("relay.federation")


class LinkRefused(Exception):
    """The other relay takes no link from us; single posts may work. The text says how it showed that."""


@dataclass(frozen=True, slots=True)
class Way:
    """Where a link is dialled.

    Attributes:
        url: of the other relay, `ws://…` or `wss://…`.
        addresses: tried one after the other; the certificate must be for the URL's host all the same.
    """

    url: str
    addresses: Sequence[str]


FindWay = Callable[[], Awaitable[Way]]
"""Raises `PlaceRefused`, or `OSError`."""


class LinkSpeaker:
    """See `speaker.Speaker`."""

    def __init__(
        self,
        name: str,
        find_way: FindWay,
        make_headers: Callable[[], Mapping[str, str]],
        *,
        idle_s: float = IDLE_S,
        ending_s_max: float = ENDING_S_MAX,
        rhythm: Rhythm = RHYTHM,
    ) -> None:
        """Nothing is dialled before there is something to say.

        Args:
            name: of the other relay.
            find_way: where it is, asked for each connection.
            make_headers: headers that prove who we are, fresh for each connection.
            idle_s: see `IDLE_S`.
            ending_s_max: see `ENDING_S_MAX`.
            rhythm: pings.
        """
        self._name = name
        self._find_way = find_way
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
            connection = self._connection = _Connection(self._name, self._find_way, self._make_headers, self._rhythm)
        run = _Run(batch, self._name)
        try:
            failure = await self._carry(run, connection)
        except PlaceRefused as error:
            return [Refused("forbidden", REJECTED + str(error))] * len(batch)
        except BaseException:
            connection.end()  # what it carries is nobody's any more
            raise
        outcomes = run.outcomes(failure)
        if any(isinstance(outcome, TryAgain) for outcome in outcomes):
            await self._drop()
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

    def __init__(
        self, name: str, find_way: FindWay, make_headers: Callable[[], Mapping[str, str]], rhythm: Rhythm
    ) -> None:
        self.failure = TryAgain("cut", f"the link to relay {name} was closed")
        self.refused: LinkRefused | PlaceRefused | None = None
        self._name = name
        self._find_way = find_way
        self._make_headers = make_headers
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
            self.failure = _failure(self._name, error)
            event(_LOG, logging.INFO, "link to another relay ended", relay=self._name, reason=self.failure.text)
        except PlaceRefused as error:
            self.refused = error

    async def _dial_and_speak(self) -> None:
        way = await self._find_way()
        socket = self._socket = await self._dial(way)
        try:
            if socket.subprotocol is None:
                raise NegotiationError(f"no {SUBPROTOCOL} was selected")
            limit_unsent(socket.transport)
            clock = asyncio.get_running_loop().time
            around = Surroundings(
                way.url, self._next_parcel, _arrived, _refused, _OneWay(), clock, self._rhythm, _MESSAGE_BYTES_MAX
            )
            self._rmb2 = Rmb2(socket, around)
            event(_LOG, logging.INFO, "link to another relay made", relay=self._name)
            await self._rmb2.run()
        except LinkBroken as error:
            await socket.close_broken(error)
            raise
        finally:
            await socket.close()

    async def _dial(self, way: Way) -> ClientSocket:
        """The first address that takes a connection decides."""
        frame_bytes = frame_bytes_max(_MESSAGE_BYTES_MAX)
        for number, host in enumerate(way.addresses, 1):
            headers = self._make_headers()
            dialled = dial(way.url, [SUBPROTOCOL], frame_bytes, headers=headers, dial_s_max=DIAL_S_MAX, host=host)
            try:
                return cast(ClientSocket, await dialled)
            except OSError:  # a timeout is one, too
                if number == len(way.addresses):
                    raise
        raise OSError("it has no address")


def _arrived(parcel: Parcel, reached: Reached) -> None:
    parcel.arrived(reached)


def _refused(parcel: Parcel, why: endings.Outcome) -> None:
    parcel.refused(why)


class _OneWay(Inbox):
    """Takes nothing: the other relay has a link of its own for what goes to us."""

    async def put(self, frame: Received) -> None:
        raise LinkBroken("an envelope on a link that only carries them the other way")


class _Run:
    """One batch on its way.

    Attributes:
        changed: everything has ended, or the connection has.
    """

    def __init__(self, batch: Sequence[Queued], name: str) -> None:
        self.changed = asyncio.Event()
        self._batch = batch
        self._twins = [twin_of(queued.data) for queued in batch]
        self._name = name
        self._outcomes: list[Outcome | None] = [None] * len(batch)
        self._next = 0
        self._on_link = 0
        self._put_off: set[int] = set()
        self._all_put_off = False

    @property
    def ended(self) -> bool:
        """Whether everything has, or is not to be sent now."""
        return self._on_link == 0 and (self._all_put_off or self._next == len(self._batch))

    def next_parcel(self, has_room: Callable[[int], bool]) -> Parcel | None:
        """The next one, if there is room for it, and it does not have to wait behind another one."""
        while self._next < len(self._batch) and not self._all_put_off:
            queued = self._batch[self._next]
            if self._twins[self._next] in self._put_off:
                self._next += 1
                continue
            if not has_room(len(queued.data)):
                return None
            self._next += 1
            self._on_link += 1
            return self._parcel(self._next - 1, queued)
        return None

    def _parcel(self, index: int, queued: Queued) -> Parcel:
        return Parcel(
            queued.data,
            queued.expires_at_s,
            arrived=lambda reached: self._end(index, _ACCEPTED),
            refused=lambda outcome: self._end(index, _refusal(self._name, outcome)),
            expired=lambda tried: None,
            uid=queued.id,
            destination=self._name,
        )

    def outcomes(self, failure: TryAgain) -> list[Outcome]:
        """What became of each, in order. What follows one that has to be sent again, to the same twin, has to, too.

        Args:
            failure: of those that have not ended.
        """
        again: dict[int, TryAgain] = {}
        told: list[Outcome] = []
        whole = next((found for found in self._outcomes if _concerns_all(found)), failure)
        for twin, outcome in zip(self._twins, self._outcomes, strict=True):
            found = again.get(twin) or outcome or whole
            if isinstance(found, TryAgain):
                again.setdefault(twin, found)
            told.append(found)
        return told

    def _end(self, index: int, outcome: Outcome) -> None:
        self._outcomes[index] = outcome
        self._on_link -= 1
        if isinstance(outcome, TryAgain):
            self._put_off.add(self._twins[index])
            self._all_put_off = self._all_put_off or _concerns_all(outcome)
        if self.ended:
            self.changed.set()


_ACCEPTED = Accepted()


def _concerns_all(outcome: Outcome | None) -> TypeGuard[TryAgain]:
    return isinstance(outcome, TryAgain) and outcome.reason == "busy"


def _refusal(name: str, outcome: endings.Outcome) -> Outcome:
    text = cleaned(outcome.reason.encode())
    if outcome.retry_after_ms:
        # A rate concerns all that goes to the relay; else one mailbox is full, or one append failed.
        reason = "busy" if outcome.code == TOO_MANY else "failing"
        return TryAgain(reason, f"relay {name} takes it later: {text}", outcome.retry_after_ms / 1000)
    reason = {OFFLINE.text: "offline", UNKNOWN_TWIN.text: "unknown"}.get(outcome.reason, "refused")
    return Refused("too_large" if outcome.code == MessageTooLarge.code else reason, REJECTED + text)


def _is_refusal(error: Exception) -> bool:
    """Whether an attempt that failed shows that there is no link for us, rather than no connection."""
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        return 300 <= status < 500 and status not in _REFUSED_FOR_NOW
    return isinstance(error, NegotiationError | LinkBroken)


def _failure(name: str, error: Exception) -> TryAgain:
    match error:
        case InvalidStatus():
            status = error.response.status_code
            busy = status == _BUSY or status in _REFUSED_FOR_NOW
            after_s = wait_s(error.response.headers.get("Retry-After"), time.time())
            return TryAgain("busy" if busy else "failing", f"relay {name}: {_text(error)}", after_s)
        case ConnectionClosed():
            busy = error.rcvd is not None and error.rcvd.code == CloseCode.TRY_AGAIN_LATER
            return TryAgain("busy" if busy else "cut", f"relay {name} closed the link: {error}")
        case TimeoutError():
            return TryAgain("timeout", f"relay {name} did not answer in time")
        case LinkBroken() | WebSocketException():
            return TryAgain("garbage", f"relay {name} does not keep to the rules of the link: {_text(error)}")
        case _:
            return TryAgain("unreachable", f"relay {name} cannot be reached: {_text(error)}")


def _text(error: Exception) -> str:
    if isinstance(error, InvalidStatus):
        return f"it answered {error.response.status_code} {cleaned(bytes(error.response.body or b''))}".rstrip()
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)  # what asyncio makes of it names numbers and addresses
    return str(error) or type(error).__name__
