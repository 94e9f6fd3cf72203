"""One gateway, one relay, one WebSocket after another (spec rmb 5.7): dial, speak, notice the end, dial again.

What a connection left unended goes back to the sender's queue. How parcels and envelopes travel is the speaker's
business, rmb.1 or rmb.2 as the relay selects. This module refuses to know envelopes, registries and Redis.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, cast

from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.frames import CloseCode

from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.backoff import Backoff
from rmb_peer.protocol.errors import MessageTooLarge
from rmb_peer.protocol.heartbeat import Rhythm
from rmb_peer.protocol.link.endings import SUBPROTOCOL, Ending, LinkBroken, Outcome
from rmb_peer.transport.client_socket import ClientSocket, dial
from rmb_peer.transport.close_reasons import SUPERSEDED, Manners
from rmb_peer.transport.inbox import Inbox
from rmb_peer.transport.offer import Offer
from rmb_peer.transport.parcels import LinkStatus, Parcel, Reached
from rmb_peer.transport.refused import REFUSAL_HEADER, TICKET_HEADER, understand
from rmb_peer.transport.rmb1 import Rmb1
from rmb_peer.transport.rmb2 import Rmb2, frame_bytes_max
from rmb_peer.transport.speaker import Speaker, Surroundings
from rmb_peer.transport.tcp import limit_unsent

RETRY_S_FIRST, RETRY_S_MAX = 0.2, 30.0
"""Pauses between attempts. The Rust gateway waits 2 s each time; ours begins sooner and backs off further."""

STABLE_S = 10.0
"""A connection that held this long counts as a success: the next failure begins with the shortest pause."""

RHYTHM = Rhythm(gap_s=0.05)
"""What a gateway sends within 50 ms is proven together: a ping and its pong wake both programs once each, which costs a
lone message as much as the message itself. A guess: a thousand parcels of a window in that time are more than a gateway
signs, and a silent relay is given up after seconds."""

CLOSE_REASON_BYTES_MAX = 123
"""RFC 6455, 5.5: a control frame holds 125 bytes, two of them the code."""

_NOT_NOW = frozenset({CloseCode.TRY_AGAIN_LATER, CloseCode.POLICY_VIOLATION})
"""The relay is full, or we have too many sessions there, or are not admitted any more."""

_LOG = get_logger("link")


def no_ticket(url: str) -> str | None:
    """For gateways whose relays ask for none."""
    return None


class ParcelSource(Protocol):
    """Where a link gets its parcels: the pool that all links of a gateway share."""

    def next_parcel(self, link: "RelayLink") -> Parcel | None:
        """The next parcel for this link; `None` when there is none that fits, or another link is preferred."""
        ...

    def arrived(self, link: "RelayLink", parcel: Parcel, reached: Reached) -> None:
        """A parcel has ended on this link, and how far it has come."""
        ...

    def refused(self, link: "RelayLink", parcel: Parcel, outcome: Outcome) -> None:
        """A parcel has ended on this link: it goes nowhere from there, and why."""
        ...

    def give_back(self, link: "RelayLink", parcels: list[Parcel]) -> None:
        """Parcels of a connection that died; they go out again, before all younger ones."""
        ...

    def link_changed(self, link: "RelayLink") -> None:
        """A link was connected or disconnected."""
        ...


class RelayLink:
    """The connection to one relay.

    Attributes:
        url: of the relay, without the token.
        connected: whether a WebSocket is open.
        version: of the link protocol that is spoken.
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
        offers: Sequence[str] = (SUBPROTOCOL,),
        ticket_of: Callable[[str], str | None] = no_ticket,
    ) -> None:
        """Describe the link; `run` makes it.

        Args:
            url: `ws://…` or `wss://…`.
            source: where parcels come from.
            inbox: where envelopes go.
            make_token: a fresh token for each attempt.
            clock: monotonic seconds.
            random: numbers in [0, 1), for jitter.
            message_bytes_max: larger envelopes from the relay end the connection.
            twin: whose link it is, for log lines.
            offers: what is offered to the relay besides rmb.1.
            ticket_of: the ticket for a relay, by its URL.
        """
        self.url = url
        self.connected = False
        self._source = source
        self._make_token = make_token
        self._ticket_of = ticket_of
        self._random = random
        self._stay_away_s = 0.0
        self._clock = clock
        self._backoff = Backoff(RETRY_S_FIRST, RETRY_S_MAX, random)
        self._manners = Manners(random)
        self._twin = twin
        self._frame_bytes_max = frame_bytes_max(message_bytes_max)
        self._around = Surroundings(
            url,
            partial(source.next_parcel, self),
            partial(source.arrived, self),
            partial(source.refused, self),
            inbox,
            clock,
            RHYTHM,
            message_bytes_max,
        )
        self._offer = Offer(offers, clock)
        self._speaker: Speaker | None = None
        self._understood = False
        self._round_trip_s: float | None = None
        self._last_error: tuple[float, str] | None = None

    @property
    def unconfirmed(self) -> int:
        """Parcels that went out on the connection and have not ended."""
        return self._speaker.in_flight if self._speaker else 0

    @property
    def has_room(self) -> bool:
        """Whether the window lets a parcel out, a small one at least."""
        return self.fits(0)

    def fits(self, size_bytes: int) -> bool:
        """Whether the window lets a parcel of this size out now."""
        return self._speaker is not None and self._speaker.has_room(size_bytes)

    @property
    def unanswered_s(self) -> float:
        """How long the relay has not answered a ping while nothing moved in either direction."""
        return self._speaker.pulse.unanswered_s() if self._speaker else 0.0

    @property
    def round_trip_s(self) -> float | None:
        """Of the last ping that was answered, also of an earlier connection; `None` before the first."""
        latest_s = self._speaker.pulse.round_trip_s if self._speaker else None
        return self._round_trip_s if latest_s is None else latest_s

    @property
    def acknowledges(self) -> bool:
        """Whether the relay says of each parcel how it ended, once it has (rmb.2)."""
        return self._speaker is not None and self._speaker.name == SUBPROTOCOL

    def status(self) -> LinkStatus:
        """How the link is doing."""
        speaker = self._speaker
        return LinkStatus(
            url=self.url,
            connected=self.connected,
            protocol=speaker.name if speaker else None,
            round_trip_s=self.round_trip_s,
            in_flight=self.unconfirmed,
            last_error=self._last_error,
        )

    def wake(self) -> None:
        """There may be something to send."""
        if self._speaker is not None:
            self._speaker.wake()

    def look(self) -> None:
        """Look at the connection now: `unanswered_s` is as old as the last look."""
        if self._speaker is not None:
            self._speaker.pulse.soon()

    def probe(self) -> None:
        """Ask the relay for a sign of life."""
        if self._speaker is not None:
            self._speaker.probe()

    async def run(self) -> None:
        """Keep the link up until cancelled."""
        while True:
            began_s = self._clock()
            self._understood = False
            self._stay_away_s = 0.0
            try:
                await self._one_connection()
            except InvalidStatus as error:
                self._refused(error)
            except ConnectionClosed as error:
                self._failed(error, "relay closed the connection", str(error))
                self._stay_away_s = self._after_close(error, self._clock() - began_s)
                if error.rcvd is not None and error.rcvd.code in _NOT_NOW:
                    self._backoff.raise_to(RETRY_S_MAX)
            except LinkBroken as error:
                self._failed(error, "relay does not keep to the rules of the link", str(error))
            except (OSError, TimeoutError, WebSocketException) as error:
                self._failed(error, "no connection to the relay", str(error) or type(error).__name__)
            if self._clock() - began_s > STABLE_S:
                self._backoff.reset()
            # Not all at once when the relay told many to come back at the same time.
            stay_away_s = self._stay_away_s * (1.0 + self._random() / 4)
            await asyncio.sleep(max(self._backoff.next_s(), stay_away_s))

    def _after_close(self, error: ConnectionClosed, held_s: float) -> float:
        """How long the relay's Close keeps us away."""
        if error.rcvd is None:
            return 0.0
        pause_s = self._manners.closed(error.rcvd.code, error.rcvd.reason, held_s)
        if error.rcvd.code == SUPERSEDED:
            text = "another gateway with this identity took over"
            self._report(text, f"stop one of the two; this one tries again in {pause_s:.0f} s")
        return pause_s

    def _refused(self, error: InvalidStatus) -> None:
        response = error.response
        refused = understand(
            response.status_code, response.headers.get(REFUSAL_HEADER), response.headers.get("Retry-After")
        )
        body = bytes(response.body or b"").decode(errors="replace")[:200]
        reason = f"{response.status_code} {body}"
        self._stay_away_s = refused.wait_s
        self._failed(error, refused.event, f"{reason}; {refused.advice}" if refused.advice else reason)

    async def _one_connection(self) -> None:
        url = f"{self.url}?{self._make_token()}"
        ticket = self._ticket_of(self.url)
        headers = {TICKET_HEADER: ticket} if ticket else None
        async with dial(url, self._offer.make(), self._frame_bytes_max, headers=headers) as connection:
            socket = cast(ClientSocket, connection)
            limit_unsent(socket.transport)
            try:
                await self._speak(Rmb2(socket, self._around) if socket.subprotocol else Rmb1(socket, self._around))
            except LinkBroken as error:
                await socket.close_broken(error)
                raise

    async def _speak(self, speaker: Speaker) -> None:
        self._speaker = speaker
        self._set_connected(True)
        too_large: str | None = None
        try:
            await speaker.run()
        except ConnectionClosed as error:
            if error.rcvd is not None and error.rcvd.code == CloseCode.MESSAGE_TOO_BIG:
                too_large = error.rcvd.reason or "message is too large"
            raise
        finally:
            self._speaker = None
            self._understood = speaker.understood
            self._round_trip_s = speaker.pulse.round_trip_s or self._round_trip_s
            parcels = speaker.take_unended()
            if too_large is not None:
                self._refuse_largest(parcels, too_large)
            self._source.give_back(self, parcels)
            self._set_connected(False)

    def _refuse_largest(self, parcels: list[Parcel], reason: str) -> None:
        """The relay ended the connection because of a message's size; sending it again would end the next one, too."""
        if not parcels:
            return
        largest = max(parcels, key=lambda parcel: len(parcel.data))
        parcels.remove(largest)
        event(_LOG, logging.WARNING, "message too large for the relay", relay=self.url, uid=largest.uid, reason=reason)
        self._source.refused(self, largest, Outcome(Ending.REFUSED, MessageTooLarge.code, reason))

    def _set_connected(self, connected: bool) -> None:
        self.connected = connected
        if self._speaker is not None:
            event(_LOG, logging.INFO, "now connected", relay=self.url, twin=self._twin, protocol=self._speaker.name)
        self._source.link_changed(self)

    def _failed(self, error: Exception, text: str, reason: str) -> None:
        self._report(text, reason)
        if self._offer.failed(error, self._understood):
            self._report("relay does not take the offer of rmb.2", "the next attempt goes without it")

    def _report(self, text: str, reason: str) -> None:
        self._last_error = self._clock(), f"{text}: {reason}"
        event(_LOG, logging.WARNING, text, relay=self.url, reason=reason)
