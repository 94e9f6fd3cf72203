"""What the chain says, on its way into memory and counters."""

from prometheus_client.parser import text_string_to_metric_families

from relay.chain_feed import ChainFeed
from relay.metrics import Metrics
from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.cached import NOT_CACHED, CachedRegistry
from rmb_peer.registry.memory import MemoryRegistry
from rmb_peer.registry.tfchain.block_events import TwinEvent
from tests.support.hosted_registry import signer


async def test_news_reach_memory_and_counters() -> None:
    """A change replaces what is remembered, doubt makes it asked for again; all is counted under the known names."""
    inner, metrics = MemoryRegistry(), Metrics()
    cached = CachedRegistry(inner)
    metrics.cache_entries = lambda: len(cached)
    feed = ChainFeed(cached, metrics)
    twin = await inner.put(signer("a"), frozenset({"old.test"}), None)
    await cached.get(twin.id)
    moved = Twin(twin.id, twin.account, frozenset({"new.test"}), None)

    feed.twin_changed(TwinEvent("stored", Twin(99, b"\1" * 32, frozenset(), None)))
    feed.twin_changed(TwinEvent("updated", moved))
    feed.block_done(7)
    assert cached.peek(twin.id) == moved
    assert cached.peek(99) is NOT_CACHED, "nobody asked for it"
    feed.twins_doubtful(frozenset({twin.id}))
    assert cached.peek(twin.id) is NOT_CACHED
    feed.all_doubtful()
    feed.failed("decode")
    feed.reconnecting(True)
    feed.reconnecting(True)
    assert _samples(metrics) == {
        "rmb_cache_entries": 1,
        "rmb_cache_flushes_total": 1,
        "events_listener_reconnecting": 1,
        "events_listener_reconnect_cycles_total": 2,
        "events_listener_errors_total decode": 1,
        "events_listener_errors_total cache_set": 0,
        "events_listener_last_processed_block_number": 7,
        "events_listener_twin_stored_total": 1,
        "events_listener_twin_updated_total": 1,
    }
    feed.reconnecting(False)
    assert _samples(metrics)["events_listener_reconnecting"] == 0
    assert _samples(metrics)["events_listener_reconnect_cycles_total"] == 2
    await cached.close()


def _samples(metrics: Metrics) -> dict[str, float]:
    families = text_string_to_metric_families(metrics.text().decode())
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in families
        for sample in family.samples
        if sample.name.startswith(("events_listener", "rmb_cache_entries", "rmb_cache_flushes"))
    }
