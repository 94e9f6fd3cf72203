"""All relays of one gateway: one queue of parcels, the preferred relay that is connected takes them.

Order is kept: parcels go out in the order they came in, and those of a dead connection before all younger ones. What is
on its way on a connection stays with it until it ends there, or the connection does: whether it has arrived cannot be
known, so it is neither expired nor sent by another relay meanwhile. That can change the order once, when a relay that
answers nothing loses its place and then comes back to life.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from heapq import merge
from itertools import count

from rmb_peer.protocol.link.endings import SUBPROTOCOL
from rmb_peer.transport.inbox import Inbox
from rmb_peer.transport.parcels import LinkStatus, Parcel
from rmb_peer.transport.relay_link import RelayLink, no_ticket

STUCK_S = 1.0
"""A preferred relay whose window stays full this long, or that leaves a ping unanswered for as long, loses its place to
another that is connected. A guess: the Rust gateway moves on after 500 ms without a free slot (spec rmb 5.5)."""

_SWEEP_S = 0.25


class RelayPool:
    """Connections to 1..4 relays, all open at once (spec rmb 5.7).

    Attributes:
        inbox: frames from all of them.
        anyone_connected: set while at least one link is up.
    """

    def __init__(
        self,
        urls: Sequence[str],
        inbox: Inbox,
        *,
        make_token: Callable[[], str],
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        random: Callable[[], float],
        message_bytes_max: int,
        twin: int,
        offers: Sequence[str] = (SUBPROTOCOL,),
        ticket_of: Callable[[str], str | None] = no_ticket,
    ) -> None:
        """Describe the links; `run` makes them.

        Args:
            urls: relays, the preferred one first.
            inbox: where frames go.
            make_token: a fresh token for each attempt to connect.
            clock: monotonic seconds.
            wall_clock: Unix seconds.
            random: numbers in [0, 1).
            message_bytes_max: largest frame to accept.
            twin: whose links they are, for log lines.
            offers: what is offered to the relays besides rmb.1.
            ticket_of: the ticket for a relay, by its URL.
        """
        self.inbox = inbox
        self.anyone_connected = asyncio.Event()
        self._pending: deque[Parcel] = deque()
        """In the order of their numbers."""
        self._numbers = count()
        self._clock = clock
        self._wall_clock = wall_clock
        self._links = [
            RelayLink(
                url,
                self,
                inbox,
                make_token=make_token,
                clock=clock,
                random=random,
                message_bytes_max=message_bytes_max,
                twin=twin,
                offers=offers,
                ticket_of=ticket_of,
            )
            for url in urls
        ]
        self._full_since_s: float | None = None

    @property
    def idle(self) -> bool:
        """Whether every parcel has ended."""
        return not self._pending and not any(link.unconfirmed for link in self._links)

    def status(self) -> list[LinkStatus]:
        """How each link is doing, the preferred one first."""
        return [link.status() for link in self._links]

    @property
    def pending(self) -> int:
        """Parcels that no relay was given yet."""
        return len(self._pending)

    def send(self, parcel: Parcel) -> None:
        """Put a parcel at the end of the queue. How it ends is told through its callbacks.

        The queue has no limit of its own: the sender bounds what it has under way.
        """
        parcel.number = next(self._numbers)
        self._pending.append(parcel)
        self._wake_preferred()

    def next_parcel(self, link: RelayLink) -> Parcel | None:
        """See `ParcelSource.next_parcel`."""
        if link is not self._preferred():
            return None
        now_s = self._wall_clock()
        while self._pending:
            parcel = self._pending[0]
            if parcel.expires_at_s <= now_s:
                self._pending.popleft()
                parcel.expired(parcel.tried)
            elif link.fits(len(parcel.data)):
                self._pending.popleft()
                parcel.tried = True
                return parcel
            else:
                return None
        return None

    def give_back(self, parcels: list[Parcel]) -> None:
        """See `ParcelSource.give_back`."""
        if not parcels:
            return
        if self._pending and self._pending[0].number < parcels[-1].number:  # another link's, given back before
            self._pending = deque(merge(parcels, self._pending, key=lambda parcel: parcel.number))
        else:
            self._pending.extendleft(reversed(parcels))

    def link_changed(self, link: RelayLink) -> None:
        """See `ParcelSource.link_changed`. The link that is connected moves to the front (spec rmb 5.5)."""
        self._full_since_s = None
        preferred = self._preferred()
        if preferred is not None:
            self._move_to_front(preferred)
            self.anyone_connected.set()
            self._wake_preferred()
        else:
            self.anyone_connected.clear()

    async def run(self) -> None:
        """Keep all links up until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for link in self._links:
                tasks.create_task(link.run())
            tasks.create_task(self._sweep_for_ever())

    def sweep(self) -> None:
        """Expire what waits for a relay, and leave a relay that takes nothing; to be called a few times a second."""
        now_s = self._wall_clock()
        if any(parcel.expires_at_s <= now_s for parcel in self._pending):
            parcels, self._pending = self._pending, deque()
            for parcel in parcels:
                if parcel.expires_at_s <= now_s:
                    parcel.expired(parcel.tried)
                else:
                    self._pending.append(parcel)
        self._leave_stuck_relay()

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            self.sweep()

    def _leave_stuck_relay(self) -> None:
        preferred = self._preferred()
        if preferred is None:
            self._full_since_s = None
            return
        if self._full_s(preferred) >= STUCK_S or preferred.unanswered_s >= STUCK_S:
            other = next((link for link in self._links if link.connected and self._takes(link)), None)
            if other is not None:
                self._move_to_front(other)
                self._full_since_s = None
                self._wake_preferred()
        preferred.look()

    def _full_s(self, link: RelayLink) -> float:
        """How long the next parcel has found no room on the preferred link."""
        now_s = self._clock()
        if not self._pending or link.fits(len(self._pending[0].data)):
            self._full_since_s = None
        elif self._full_since_s is None:
            self._full_since_s = now_s
        return 0.0 if self._full_since_s is None else now_s - self._full_since_s

    def _takes(self, link: RelayLink) -> bool:
        fits = link.fits(len(self._pending[0].data)) if self._pending else link.has_room
        return fits and link.unanswered_s < STUCK_S

    def _preferred(self) -> RelayLink | None:
        return next((link for link in self._links if link.connected), None)

    def _move_to_front(self, link: RelayLink) -> None:
        self._links.remove(link)
        self._links.insert(0, link)

    def _wake_preferred(self) -> None:
        preferred = self._preferred()
        if preferred is not None:
            preferred.wake()
