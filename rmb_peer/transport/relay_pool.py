"""All relays of one gateway: which of them gets which parcel, in which order, and what happens when one fails.

A *conversation* is everything for one destination that has not ended. It goes through one relay, so that its order is
kept: the best one when it begins (`_best`), another when that one fails. Then its parcels leave again by the new one in
their old order, before younger ones.

A relay fails in two ways. Its connection ends: what it had is given back. Or it is *sick* (`health`): silent, or it
takes nothing any more, while the connection stands. Whether what it has will arrive cannot be known, so copies of it
are offered to another relay; gateways of ours recognise repeats. The original stays where it is, and whichever ends
first counts. A relay that is well but late with single envelopes gets a few of them copied (`hedging`).
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from heapq import merge
from itertools import count

from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.link.endings import SUBPROTOCOL, Outcome
from rmb_peer.transport.health import STUCK_S, State
from rmb_peer.transport.hedging import HEDGE_BYTES_MAX, Budget
from rmb_peer.transport.inbox import Inbox
from rmb_peer.transport.lane import Lane
from rmb_peer.transport.parcels import LinkStatus, Parcel, Reached
from rmb_peer.transport.relay_link import RelayLink, no_ticket

SWEEP_S = 0.25
"""How often expired parcels are looked for."""

SWEEP_WATCHFUL_S = 0.1
"""The same, and at the relays, while there are several of them and something has not ended. A guess, a tenth of the
second within which sending moves on."""

PROBE_AFTER_S = 0.25
"""When the oldest parcel of a link has not ended for so long, its relay is asked for a sign of life. A guess."""

_LOG = get_logger("link")


class _Conversation:
    """What has not ended for one destination: how many parcels, and the lane that they go through."""

    __slots__ = ("lane", "open")

    def __init__(self) -> None:
        self.open = 0
        self.lane: Lane | None = None


class RelayPool:
    """Connections to 1..4 relays, all open at once (spec rmb 5.7).

    Attributes:
        inbox: frames from all of them.
        anyone_connected: set while at least one link is up.
        copies: parcels that were offered to a second relay while the first still had them.
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
        self.copies = 0
        self._numbers = count()
        self._clock = clock
        self._wall_clock = wall_clock
        self._budget = Budget()
        self._open = 0
        self._conversations: dict[str, _Conversation] = {}
        links = [
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
        self._lanes = [Lane(link, 1 << number) for number, link in enumerate(links)]
        """The one that is preferred at the moment first."""
        self._lane_of = {lane.link: lane for lane in self._lanes}

    @property
    def idle(self) -> bool:
        """Whether every parcel has ended."""
        return self._open == 0

    def status(self) -> list[LinkStatus]:
        """How each link is doing, the preferred one first."""
        return [lane.link.status() for lane in self._lanes]

    @property
    def pending(self) -> int:
        """Parcels that wait for a relay."""
        return sum(len(lane.queue) for lane in self._lanes)

    def send(self, parcel: Parcel) -> None:
        """Put a parcel at the end of the queue. How it ends is told through its callbacks.

        The queue has no limit of its own: the sender bounds what it has under way.
        """
        parcel.number = next(self._numbers)
        self._open += 1
        conversation = self._conversations.get(parcel.destination)
        if conversation is None:
            conversation = self._conversations[parcel.destination] = _Conversation()
        conversation.open += 1
        self._budget.earn()
        if conversation.lane is None:
            conversation.lane = self._best(parcel.relays, self._clock())
        conversation.lane.append(parcel)

    # --- what links ask and tell --------------------------------------------------------------------------------------

    def next_parcel(self, link: RelayLink) -> Parcel | None:
        """See `ParcelSource.next_parcel`."""
        lane = self._lane_of[link]
        queue = lane.queue
        while queue:
            parcel = queue[0]
            if parcel.ended:
                queue.popleft()
            elif parcel.expires_at_s <= self._wall_clock():
                queue.popleft()
                self._expired(parcel, lane)
            elif link.fits(len(parcel.data)):
                queue.popleft()
                parcel.tried = True
                lane.offered[parcel.number] = parcel, self._clock()
                return parcel
            else:
                return None
        return None

    def arrived(self, link: RelayLink, parcel: Parcel, reached: Reached) -> None:
        """See `ParcelSource.arrived`."""
        self._ended_on(self._lane_of[link], parcel)
        if not parcel.ended:
            self._end(parcel)
            parcel.arrived(reached)

    def refused(self, link: RelayLink, parcel: Parcel, outcome: Outcome) -> None:
        """See `ParcelSource.refused`. While another relay has it, or is to get it, that one decides."""
        self._ended_on(self._lane_of[link], parcel)
        if not parcel.ended and not parcel.places:
            self._end(parcel)
            parcel.refused(outcome)

    def give_back(self, link: RelayLink, parcels: list[Parcel]) -> None:
        """See `ParcelSource.give_back`. What a relay that is not sick has, or is to get, is left to it."""
        lane, now_s = self._lane_of[link], self._clock()
        reliable = self._bits(other for other in self._lanes if other is not lane and other.takes(now_s))
        again = []
        for parcel in parcels:
            del lane.offered[parcel.number]
            parcel.places &= ~lane.bit
            if not parcel.ended and not parcel.places & reliable:
                again.append(parcel)
        lane.add(again)

    def link_changed(self, link: RelayLink) -> None:
        """See `ParcelSource.link_changed`."""
        lane, now_s = self._lane_of[link], self._clock()
        if link.connected:
            lane.health.connected(now_s)
            self.anyone_connected.set()
        elif not any(other.link.connected for other in self._lanes):
            self.anyone_connected.clear()
        self._put_best_first(now_s)
        if any(other.link.connected for other in self._lanes):
            for other in tuple(self._lanes):
                if not other.link.connected:
                    self._leave(other)
        link.wake()

    # --- time passes --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep all links up until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for lane in self._lanes:
                tasks.create_task(lane.link.run())
            tasks.create_task(self._sweep_for_ever())

    def sweep(self) -> None:
        """Expire what waits, look at the relays, and leave those that are sick; to be called a few times a second."""
        self._expire()
        if len(self._lanes) == 1:
            return
        now_s = self._clock()
        for lane in self._lanes:
            self._look_at(lane, now_s)
        self._put_best_first(now_s)
        for lane in tuple(self._lanes):
            if not lane.link.connected:
                continue
            if lane.health.state(now_s) is State.SICK:
                self._leave(lane)
            elif lane.link.acknowledges:
                self._hedge(lane, now_s)

    async def _sweep_for_ever(self) -> None:
        while True:
            watchful = len(self._lanes) > 1 and (self._open or any(lane.link.unanswered_s for lane in self._lanes))
            await asyncio.sleep(SWEEP_WATCHFUL_S if watchful else SWEEP_S)
            self.sweep()

    def _expire(self) -> None:
        now_s = self._wall_clock()
        for lane in self._lanes:
            if any(parcel.expires_at_s <= now_s for parcel in lane.queue):
                parcels, lane.queue = lane.queue, deque()
                for parcel in parcels:
                    if parcel.expires_at_s <= now_s:
                        self._expired(parcel, lane)
                    else:
                        lane.queue.append(parcel)

    def _expired(self, parcel: Parcel, lane: Lane) -> None:
        """Its time is over while it waits for this lane. A relay that has it owes it an ending."""
        parcel.places &= ~lane.bit
        if not parcel.ended and not parcel.places:
            self._end(parcel)
            parcel.expired(parcel.tried)

    def _look_at(self, lane: Lane, now_s: float) -> None:
        link = lane.link
        if not link.connected:
            return
        was_sick = lane.health.state(now_s) is State.SICK
        stuck = lane.full_s(now_s) >= STUCK_S
        lane.health.look(now_s, link.unanswered_s, link.round_trip_s, stuck=stuck)
        is_sick = lane.health.state(now_s) is State.SICK
        if is_sick and not was_sick:
            event(_LOG, logging.WARNING, "relay does not answer", relay=link.url, unended=len(lane.offered))
        elif was_sick and not is_sick:
            event(_LOG, logging.INFO, "relay answers again", relay=link.url)
        oldest = next(iter(lane.offered.values()), None)
        if oldest is not None and now_s - oldest[1] >= PROBE_AFTER_S:
            link.probe()
        else:
            link.look()

    # --- which relay --------------------------------------------------------------------------------------------------

    def _route(self, parcels: Iterable[Parcel]) -> None:
        """Let parcels, in the order of their numbers, wait for the lanes of their conversations."""
        groups: dict[Lane, list[Parcel]] = {}
        now_s = self._clock()
        for parcel in parcels:
            conversation = self._conversations[parcel.destination]
            if conversation.lane is None:
                conversation.lane = self._best(parcel.relays, now_s)
            if not parcel.places & conversation.lane.bit:
                groups.setdefault(conversation.lane, []).append(parcel)
        for lane, group in groups.items():
            lane.add(group)

    def _best(self, relays: frozenset[str], now_s: float) -> Lane:
        """The best relay for a destination: one that is well; of those one in its record; of those the preferred."""
        lanes = self._lanes
        if len(lanes) == 1:
            return lanes[0]
        return min(lanes, key=lambda lane: (not lane.link.connected, lane.state(now_s), not lane.serves(relays)))

    def _put_best_first(self, now_s: float) -> None:
        """The preferred relay stays the preferred one until it fails (spec rmb 5.5)."""
        best = self._best(frozenset(), now_s)
        if best is not self._lanes[0]:
            self._lanes.remove(best)
            self._lanes.insert(0, best)

    def _leave(self, lane: Lane) -> None:
        """The conversations of a sick lane go on by others, if there are any: the sick relay keeps what it has.

        What is large stays, and its conversation with it, while the relay is merely stuck or slow to take it: another
        one is reached over the same line.
        """
        now_s = self._clock()
        reliable = self._bits(other for other in self._lanes if other is not lane and other.takes(now_s))
        if not reliable and lane.link.connected:
            return
        unended = [parcel for parcel, _ in lane.offered.values() if not parcel.ended]
        large = {parcel.destination for parcel in unended if len(parcel.data) > HEDGE_BYTES_MAX}
        stay = set[str]() if lane.health.silent else large
        for destination, conversation in self._conversations.items():
            if conversation.lane is lane and destination not in stay:
                conversation.lane = None
        waiting, kept = [], deque[Parcel]()
        for parcel in lane.queue:
            if parcel.destination in stay:
                kept.append(parcel)
            elif not parcel.ended:
                parcel.places &= ~lane.bit
                waiting.append(parcel)
        lane.queue = kept
        copies = [parcel for parcel in unended if parcel.destination not in stay and not parcel.places & reliable]
        self.copies += len(copies)
        self._route(merge(copies, waiting, key=lambda parcel: parcel.number))

    def _hedge(self, lane: Lane, now_s: float) -> None:
        """Offer what is late here to another relay, too, oldest first, so that no conversation overtakes itself."""
        patience_s = lane.times.patience_s
        left_out: set[str] = set()
        for parcel, taken_at_s in lane.offered.values():
            if now_s - taken_at_s < patience_s:
                return
            if parcel.ended or parcel.places != lane.bit or parcel.destination in left_out:
                continue
            others = [other for other in self._lanes if other is not lane and other.takes(now_s)]
            if len(parcel.data) > HEDGE_BYTES_MAX:
                left_out.add(parcel.destination)
            elif others and self._budget.spend():
                other = min(others, key=lambda other: (other.state(now_s), not other.serves(parcel.relays)))
                self.copies += 1
                other.add((parcel,))
            else:
                return

    # --- how parcels end ----------------------------------------------------------------------------------------------

    def _ended_on(self, lane: Lane, parcel: Parcel) -> None:
        _, taken_at_s = lane.offered.pop(parcel.number)
        parcel.places &= ~lane.bit
        lane.times.heard(self._clock() - taken_at_s)

    def _end(self, parcel: Parcel) -> None:
        parcel.ended = True
        self._open -= 1
        conversation = self._conversations[parcel.destination]
        conversation.open -= 1
        if not conversation.open:
            del self._conversations[parcel.destination]

    def _bits(self, lanes: Iterable[Lane]) -> int:
        return sum(lane.bit for lane in lanes)
