"""What the chain says about twins, on its way into the relay's memory of them and into its counters.

It refuses to know how the chain is followed.
"""

from relay.metrics import ListenerStage, Metrics
from rmb_peer.registry.cached import CachedRegistry
from rmb_peer.registry.tfchain.block_events import TwinEvent


class ChainFeed:
    """A listener of `rmb_peer.registry.tfchain.follower`."""

    def __init__(self, cached: CachedRegistry, metrics: Metrics) -> None:
        self._cached = cached
        self._metrics = metrics

    def twin_changed(self, news: TwinEvent) -> None:
        """The record in the event replaces the one that is remembered; nothing has to be asked."""
        if news.kind == "stored":
            self._metrics.chain_stored += 1
        else:
            self._metrics.chain_updated += 1
        self._cached.invalidate(news.twin)

    def twins_doubtful(self, twins: frozenset[int]) -> None:
        """Ask again for these."""
        self._cached.expire(twins)

    def all_doubtful(self) -> None:
        """Ask again for all."""
        self._metrics.cache_flushes += 1
        self._cached.expire_all()

    def block_done(self, number: int) -> None:
        """Say how far it is."""
        self._metrics.chain_block = number

    def failed(self, stage: ListenerStage) -> None:
        """Count it."""
        self._metrics.chain_errors[stage] += 1

    def reconnecting(self, now: bool) -> None:
        """Count attempts, and show the state."""
        self._metrics.chain_reconnecting = now
        self._metrics.chain_reconnects += now
