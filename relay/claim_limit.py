"""How many ids one address may ask for: a token bucket per address, in a table with a limit.

Ids are a shared good, so that one visitor must not take them all. This module refuses to know HTTP and the clock.
"""

from dataclasses import dataclass

from relay.client_address import site_of
from rmb_peer.registry.lru import Lru

CLAIMS_PER_MINUTE = 10.0
"""Claims of one address: a guess; a site that sets up many twins at once waits a little."""

ADDRESSES_MAX = 10_000
"""Addresses remembered; the one heard of longest ago is forgotten first, and starts anew with a full bucket."""


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class ClaimLimit:
    """Allows `per_minute` claims at once per address, and as many per minute after that."""

    def __init__(self, per_minute: float = CLAIMS_PER_MINUTE, addresses_max: int = ADDRESSES_MAX) -> None:
        assert per_minute >= 1
        self._per_minute = per_minute
        self._buckets: Lru[str, _Bucket] = Lru(addresses_max)

    def take(self, address: str, now: float) -> float:
        """Count a claim.

        Args:
            address: who asks: an IP address, else any text.
            now: seconds of a monotonic clock.

        Returns:
            0 when the claim is allowed, else the seconds after which the next one is.
        """
        key = site_of(address)
        bucket = self._buckets.get(key) or _Bucket(self._per_minute, now)
        bucket.tokens = min(self._per_minute, bucket.tokens + (now - bucket.at) * self._per_minute / 60)
        bucket.at = now
        self._buckets.put(key, bucket)
        if bucket.tokens < 1:
            return (1 - bucket.tokens) * 60 / self._per_minute
        bucket.tokens -= 1
        return 0.0
