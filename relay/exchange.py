"""What all sessions, and inbound federation, share. It refuses to know what they do with it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from relay.delivery import Delivery
from relay.horizon import Horizon
from relay.limits import RateLimiter
from relay.metrics import Metrics
from relay.presence import ALONE, Presence
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
        presence: where sessions are that are not connected to this process.
        horizon: numbers senders that may have come from another process.
    """

    delivery: Delivery
    lookup: TwinLookup
    domains: frozenset[str]
    limiter: RateLimiter | None
    metrics: Metrics
    now_s: Callable[[], float]
    presence: Presence = ALONE
    horizon: Horizon = field(default_factory=Horizon)
