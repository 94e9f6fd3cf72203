"""One relay as the pool sees it: what waits for it, what it was given, how it is doing. Decides nothing."""

from collections import deque
from collections.abc import Sequence
from heapq import merge

from rmb_peer.protocol.errors import BadRequest
from rmb_peer.protocol.names import relay_of_url
from rmb_peer.transport.health import Health, State
from rmb_peer.transport.hedging import EndingTimes
from rmb_peer.transport.parcels import Parcel
from rmb_peer.transport.relay_link import RelayLink


class Lane:
    """The way through one relay.

    Attributes:
        link: the connection.
        bit: stands for this lane in `Parcel.places`.
        health: whether it can be relied upon.
        times: how long endings take here.
        queue: what waits for the link, in the order of the parcels' numbers.
        offered: what the link has and has not ended, with the time it was taken at, oldest first.
        full_since_s: since when the first of the queue finds no room.
    """

    __slots__ = ("_names", "bit", "full_since_s", "health", "link", "offered", "queue", "times")

    def __init__(self, link: RelayLink, bit: int) -> None:
        """Begin with nothing."""
        self.link = link
        self.bit = bit
        self.health = Health()
        self.times = EndingTimes()
        self.queue: deque[Parcel] = deque()
        self.offered: dict[int, tuple[Parcel, float]] = {}
        self.full_since_s: float | None = None
        self._names = _names(link.url)

    def serves(self, relays: frozenset[str]) -> bool:
        """Whether this relay is one of those in a record (spec rmb 6.4, 10.8: then nobody has to forward)."""
        return not self._names.isdisjoint(relays)

    def state(self, now_s: float) -> State:
        """How it is doing; a link that is not connected is sick."""
        return self.health.state(now_s) if self.link.connected else State.SICK

    def takes(self, now_s: float) -> bool:
        """Whether it is fit to take over from another."""
        return self.state(now_s) is not State.SICK and self.link.has_room

    def append(self, parcel: Parcel) -> None:
        """Let a parcel wait here that is younger than all others."""
        parcel.places |= self.bit
        self.queue.append(parcel)
        self.link.wake()

    def add(self, parcels: Sequence[Parcel]) -> None:
        """Let parcels wait here, each in its old place; they are in the order of their numbers."""
        for parcel in parcels:
            parcel.places |= self.bit
        if self.queue and parcels and self.queue[-1].number > parcels[0].number:
            self.queue = deque(merge(self.queue, parcels, key=lambda parcel: parcel.number))
        else:
            self.queue.extend(parcels)
        self.link.wake()

    def full_s(self, now_s: float) -> float:
        """How long the next parcel has found no room."""
        if not self.queue or self.link.fits(len(self.queue[0].data)):
            self.full_since_s = None
        elif self.full_since_s is None:
            self.full_since_s = now_s
        return 0.0 if self.full_since_s is None else now_s - self.full_since_s


def _names(url: str) -> frozenset[str]:
    """Names under which records list a relay: with its port, and without, as tfchain keeps them (spec rmb 7.2)."""
    try:
        name = relay_of_url(url)
    except BadRequest:
        return frozenset()
    return frozenset({name, name if name.endswith("]") else name.rpartition(":")[0] or name})
