"""What the gateway gives to its relays, and what it hears about it: one envelope, and how it ended.

The one place that says how far a message can be known to have come. It refuses to know sockets and protocols.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from rmb_peer.protocol.link.endings import Outcome


class Reached(StrEnum):
    """Where a message is, as far as the link tells. The names of the states are those of architecture 4."""

    READ_BY_RELAY = "read-by-relay"
    """rmb.1: the relay has read it; what it did with it, it cannot say."""
    STORED_AT_RELAY = "stored-at-relay"
    """rmb.2: in the destination's mailbox."""
    STORED_AT_PEER = "stored-at-peer"
    """rmb.2: the destination gateway has it in a list."""


@dataclass(slots=True, eq=False)
class Parcel:
    """One envelope to send. Exactly one of its three callbacks is called, once: by whoever owns it, usually the pool.

    Attributes:
        data: serialised envelope.
        expires_at_s: Unix seconds after which sending it is pointless.
        arrived: the relay has it, or the peer.
        refused: the relay says that it goes nowhere (rmb.2 only), and why.
        expired: its time ran out before a relay took it; true when a connection that died may have carried it.
        uid, destination: for log lines.
        relays: names of the relays in the destination's record, if they are known.
        number: its place in the order of sending; the pool sets it.
        tried: whether a connection has taken it.
        places: the relays that have it, or that it waits for, as bits; the pool's.
        ended: whether a callback has been called; the pool's.
    """

    data: bytes
    expires_at_s: int
    arrived: Callable[[Reached], None]
    refused: Callable[[Outcome], None]
    expired: Callable[[bool], None]
    uid: str
    destination: str
    relays: frozenset[str] = frozenset()
    number: int = 0
    tried: bool = False
    places: int = 0
    ended: bool = False


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """How one link is doing, for people.

    Attributes:
        url: of the relay, without the token.
        connected: whether a WebSocket is open.
        protocol: "rmb.1" or "rmb.2" while connected.
        round_trip_s: of the last ping that was answered, also of an earlier connection; `None` before the first.
        in_flight: parcels that went out and have not ended.
        last_error: when (monotonic seconds) and why the last connection or attempt ended; `None` before the first.
    """

    url: str
    connected: bool
    protocol: str | None
    round_trip_s: float | None
    in_flight: int
    last_error: tuple[float, str] | None
