"""Parcels that write down how they end, and a source of them for one link."""

import time
from collections import deque
from dataclasses import dataclass, field

from rmb_peer.protocol.link.endings import Outcome
from rmb_peer.protocol.pb.envelope_pb2 import Envelope
from rmb_peer.transport.parcels import Parcel, Reached
from rmb_peer.transport.relay_link import RelayLink

FAR_S = 2**40


@dataclass
class Endings:
    """How parcels ended: (uid, how)."""

    all: list[tuple[str, Reached | Outcome | str]] = field(default_factory=list)

    def parcel(
        self, uid: str, *, size_bytes: int = 0, twin: int = 2, expires_at_s: int = FAR_S, relays: tuple[str, ...] = ()
    ) -> Parcel:
        """An envelope for a twin that is not connected, with a payload of this size."""
        envelope = Envelope(uid=uid, timestamp=int(time.time()), expiration=60, plain=bytes(size_bytes))
        envelope.destination.twin = twin
        return Parcel(
            data=envelope.SerializeToString(),
            expires_at_s=expires_at_s,
            arrived=lambda reached: self.all.append((uid, reached)),
            refused=lambda outcome: self.all.append((uid, outcome)),
            expired=lambda tried: self.all.append((uid, "maybe arrived" if tried else "not sent")),
            uid=uid,
            destination=str(twin),
            relays=frozenset(relays),
        )


class OneQueue:
    """A source for a single link.

    Attributes:
        pending: what waits.
        changes: whether the link was connected, each time it said that something changed.
    """

    def __init__(self) -> None:
        self.pending: deque[Parcel] = deque()
        self.changes: list[bool] = []

    def next_parcel(self, link: RelayLink) -> Parcel | None:
        return self.pending.popleft() if self.pending and link.fits(len(self.pending[0].data)) else None

    def arrived(self, link: RelayLink, parcel: Parcel, reached: Reached) -> None:
        parcel.arrived(reached)

    def refused(self, link: RelayLink, parcel: Parcel, outcome: Outcome) -> None:
        parcel.refused(outcome)

    def give_back(self, link: RelayLink, parcels: list[Parcel]) -> None:
        self.pending.extendleft(reversed(parcels))

    def link_changed(self, link: RelayLink) -> None:
        self.changes.append(link.connected)
