"""All relays of one gateway: one queue of parcels, the preferred relay that is connected takes them.

Order is kept: parcels go out in the order they came in, and those of a dead connection before all others.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from rmb_peer.transport.inbox import Inbox
from rmb_peer.transport.relay_link import Parcel, RelayLink

STUCK_S = 1.0
"""A preferred relay whose window stays full this long loses its place to another that is connected. A guess: the Rust
gateway moves on after 500 ms without a free slot (spec rmb 5.5)."""

_SWEEP_S = 0.5


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
        """
        self.inbox = inbox
        self.anyone_connected = asyncio.Event()
        self._pending: deque[Parcel] = deque()
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
            )
            for url in urls
        ]
        self._full_since_s: float | None = None

    @property
    def idle(self) -> bool:
        """Whether every parcel has provably arrived or expired."""
        return not self._pending and not any(link.unconfirmed for link in self._links)

    @property
    def links(self) -> tuple[RelayLink, ...]:
        """The links, the one that is used first."""
        return tuple(self._links)

    @property
    def pending(self) -> int:
        """Parcels that no relay was given yet."""
        return len(self._pending)

    def send(self, parcel: Parcel) -> None:
        """Put a parcel at the end of the queue. How it ends is told through its callbacks.

        The queue has no limit of its own: the sender bounds what it has under way.
        """
        self._pending.append(parcel)
        self._wake_preferred()

    def next_parcel(self, link: RelayLink) -> Parcel | None:
        """See `ParcelSource.next_parcel`."""
        if link is not self._preferred():
            return None
        now_s = self._wall_clock()
        while self._pending:
            parcel = self._pending.popleft()
            if parcel.expires_at_s > now_s:
                return parcel
            parcel.expired()
        return None

    def give_back(self, parcels: list[Parcel]) -> None:
        """See `ParcelSource.give_back`."""
        self._pending.extendleft(reversed(parcels))

    def link_changed(self, link: RelayLink) -> None:
        """See `ParcelSource.link_changed`. The link that is connected moves to the front (spec rmb 5.5)."""
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
            tasks.create_task(self._sweep())

    async def _sweep(self) -> None:
        """Expire what waits for a relay, and leave a relay that no longer reads."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            now_s = self._wall_clock()
            if any(parcel.expires_at_s <= now_s for parcel in self._pending):
                parcels, self._pending = self._pending, deque()
                for parcel in parcels:
                    if parcel.expires_at_s <= now_s:
                        parcel.expired()
                    else:
                        self._pending.append(parcel)
            self._leave_stuck_relay()

    def _leave_stuck_relay(self) -> None:
        preferred = self._preferred()
        if preferred is None or preferred.has_room or not self._pending:
            self._full_since_s = None
            return
        if self._full_since_s is None:
            self._full_since_s = self._clock()
        elif self._clock() - self._full_since_s >= STUCK_S:
            others = [link for link in self._links if link.connected and link.has_room]
            if others:
                self._move_to_front(others[0])
                self._full_since_s = None
                self._wake_preferred()

    def _preferred(self) -> RelayLink | None:
        return next((link for link in self._links if link.connected), None)

    def _move_to_front(self, link: RelayLink) -> None:
        self._links.remove(link)
        self._links.insert(0, link)

    def _wake_preferred(self) -> None:
        preferred = self._preferred()
        if preferred is not None:
            preferred.wake()
