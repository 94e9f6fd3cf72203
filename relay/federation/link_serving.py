"""A lasting link that another relay has opened to us: frames of envelopes come in, and each of them ends.

Envelopes go one way on it, towards us; what is for the other relay goes out on a link that we open. It is no session:
no mailbox belongs to it, and a newer one supersedes nothing, for several processes may be one relay. How many one relay
may have is bounded.

What has not ended when the link does is the other relay's again. What we hold of it goes its way nevertheless, so some
of it may come twice; gateways of ours recognise a repeat. This module refuses to know how the other relay has proven
its name (`gate`), and where envelopes go (`link_intake`).
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence

from aiohttp import WSCloseCode

from relay.attended import Attended, Spawn
from relay.ends import LOST, End
from relay.exchange import Exchange
from relay.federation.link_intake import LinkIntake
from relay.federation.signature import SCHEME
from relay.frames import WINDOW, Frames
from relay.handover import Parcel
from relay.occupancy import Occupancy
from relay.switch import Refusal
from relay.tasks import end as end_tasks
from relay.websocket import ClientSocket
from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.heartbeat import Rhythm
from rmb_peer.protocol.link.endings import Outcome
from rmb_peer.protocol.link.link import Link

LINKS_PER_RELAY_MAX = 8
"""A relay needs one, since one of its processes at a time sends to us; more while old ones are not known to be dead.
A guess."""

TURN_ENVELOPES = 512
"""Envelopes of one relay that are handled before others get their turn; a guess, as for clients."""

PING_ENDS_HERE = Refusal("ping", "a ping is between a client and its own relay")
"""Spec rmb 6.5."""

_LOG = get_logger("relay.federation")


def claims_relay(authorization: str | None) -> bool:
    """Whether this header is a relay's, and not the token of a client."""
    return (authorization or "").strip().partition(" ")[0].lower() == SCHEME.lower()


class RelayConnection(Attended[None]):
    """One link. Call `run` once."""

    def __init__(
        self,
        socket: ClientSocket,
        domain: str,
        exchange: Exchange,
        links: Occupancy[str],
        *,
        rhythm: Rhythm,
        message_bytes_max: int,
        refuse_rate: Callable[[], Refusal | None],
    ) -> None:
        """Take over an accepted WebSocket.

        Args:
            socket: the connection.
            domain: who opened it; proven.
            exchange: what all sessions share.
            links: how many each relay has.
            rhythm: pings.
            message_bytes_max: largest envelope.
            refuse_rate: see `LinkIntake`.
        """
        super().__init__(socket, rhythm)
        self._domain = domain
        self._exchange = exchange
        self._links = links
        self._message_bytes_max = message_bytes_max
        self._refuse_rate = refuse_rate
        self._frames: Frames[None] = Frames(Link(WINDOW, answers=False), exchange.metrics, socket.send)
        self._intake: LinkIntake
        self._closing = False

    def settle(self, number: int, outcome: Outcome) -> None:
        """See `handover.Sender`."""
        self._frames.settle(number, outcome)

    def refuse(self, number: int, refusal: Refusal) -> None:
        """See `handover.Sender`."""
        self._frames.refuse(number, refusal)

    def pong(self, pong: Parcel) -> None:
        """See `acknowledged_intake.Client`: nothing of ours goes back on this link."""
        self.refuse(pong.number, PING_ENDS_HERE)

    async def run(self) -> None:
        """Serve the link until it ends. Look-ups that its last envelopes wait for are finished first."""
        if not self._links.enter(self._domain):
            self._exchange.metrics.refusals["relay_links"] += 1
            await self._may_go_on.wait()
            await self._socket.close(WSCloseCode.TRY_AGAIN_LATER, "too many links from this relay")
            return
        event(_LOG, logging.INFO, "link of another relay opened", relay=self._domain)
        end = LOST
        try:
            end = await self._attend(self._begin, lambda: None)
        finally:
            self._links.leave(self._domain)
            event(_LOG, logging.INFO, "link of another relay closed", relay=self._domain, reason=end.reason)

    def _begin(self, spawn: Spawn) -> Sequence[Coroutine[None, None, None]]:
        self._intake = LinkIntake(
            self._exchange, self, spawn, message_bytes_max=self._message_bytes_max, refuse_rate=self._refuse_rate
        )
        return [self._write()]

    @property
    def _roomy(self) -> bool:
        return self._frames.handled < TURN_ENVELOPES

    async def _room(self) -> None:
        self._frames.handled = 0
        await asyncio.sleep(0)

    def _frame(self, data: bytes) -> End | None:
        if self._closing:
            return None
        heard = self._frames.received(data)
        if isinstance(heard, End):
            return heard
        if heard.envelopes:
            self._frames.take(heard.envelopes, self._intake, self._help)
        return None

    async def _late_frame(self, data: bytes) -> None:
        """It is the other relay's again."""

    async def _write(self) -> None:
        try:
            await self._frames.write()
        except ConnectionError:
            self._end(LOST)

    async def _wind_up(self, end: End, reader: "asyncio.Task[None]", helpers: "list[asyncio.Task[None]]") -> None:
        """What was taken ends, and the other relay hears how. What comes from now on is its own again: taken without an
        ending it would come twice."""
        self._closing = True
        if end.flush and not await self._frames.flush(reader):
            event(_LOG, logging.DEBUG, "not everything has ended", relay=self._domain)
        await end_tasks(helpers)
