"""What all sessions, and inbound federation, share. It refuses to know what they do with it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from relay.delivery import Delivery
from relay.federation.outbound import Federation
from relay.horizon import Horizon
from relay.limits import RateLimiter
from relay.metrics import Metrics
from relay.presence import ALONE, Presence
from relay.twin_rates import TwinRates
from rmb_peer.registry.lookup import TwinLookup


@dataclass(frozen=True, slots=True)
class Exchange:
    """What all sessions, and inbound federation, share.

    Attributes:
        delivery: the way into mailboxes.
        lookup: who is twin N.
        domains: the names of this relay, normalised.
        limiter: rate limits, if there are any.
        metrics: counts.
        now_s: Unix seconds.
        federation: the way to other relays; `None` for none.
        rates: how fast twins may send, if that is limited.
        presence: where sessions are that are not connected to this process.
        horizon: numbers senders that may have come from another process.
    """

    delivery: Delivery
    lookup: TwinLookup
    domains: frozenset[str]
    limiter: RateLimiter | None
    metrics: Metrics
    now_s: Callable[[], float]
    federation: Federation | None = None
    rates: TwinRates | None = None
    presence: Presence = ALONE
    horizon: Horizon = field(default_factory=Horizon)
