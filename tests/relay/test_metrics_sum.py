"""Metrics of many processes as one: added up, kept apart by worker, never going back."""

from relay.metrics import Metrics
from relay.metrics_sum import MetricsSum
from tests.support.relay import metric


def own(rx: int, sessions: int, **reasons: int) -> str:
    metrics = Metrics(message_rx=rx, sessions=lambda: sessions, chain_block=100 + rx)
    metrics.refusals.update(reasons)
    return metrics.text().decode()


def test_counters_are_added() -> None:
    """Each sample is the sum of that sample of all processes, also when only one has it."""
    both = MetricsSum()
    both.update(0, own(3, 1, offline=2))
    both.update(1, own(4, 2, offline=1, foreign=5))
    text = both.text()
    assert metric(text, "relay_message_rx") == 7
    assert metric(text, 'relay_refusals_total{reason="offline"}') == 3
    assert metric(text, 'relay_refusals_total{reason="foreign"}') == 5
    assert text.count("# HELP relay_refusals_total ") == text.count("# TYPE relay_refusals_total ") == 1


def test_workers_stay_apart() -> None:
    """The sessions of each process have its number."""
    both = MetricsSum()
    both.update(0, own(0, 10))
    both.update(1, own(0, 20))
    text = both.text()
    assert metric(text, 'relay_worker_connections{worker="0"}') == 10
    assert metric(text, 'relay_worker_connections{worker="1"}') == 20


def test_what_all_see_alike_is_not_added() -> None:
    """The newest block is the newest block; what the store holds is counted once."""
    stored = "# TYPE relay_stored_bytes gauge\nrelay_stored_bytes 10\n"
    stored += '# TYPE relay_federation_waiting gauge\nrelay_federation_waiting{relay="r"} 4\n'
    both = MetricsSum()
    both.update(0, stored)
    both.update(1, stored)
    assert metric(both.text(), "relay_stored_bytes") == 10
    assert metric(both.text(), 'relay_federation_waiting{relay="r"}') == 4
    both = MetricsSum()
    both.update(0, own(3, 0) + "process_start_time_seconds 50.5\n")
    both.update(1, own(4, 0) + "process_start_time_seconds 40.5\n")
    assert metric(both.text(), "events_listener_last_processed_block_number") == 104


def test_counters_never_go_back() -> None:
    """What an ended process counted is kept, its gauges are not; its successor begins at 0."""
    both = MetricsSum()
    both.update(0, own(3, 1))
    both.update(1, own(4, 2))
    both.end(1)
    assert metric(both.text(), "relay_message_rx") == 7
    assert 'worker="1"' not in both.text()
    both.update(1, own(1, 5))
    assert metric(both.text(), "relay_message_rx") == 8
    both.end(2)
    assert metric(both.text(), "relay_message_rx") == 8


def test_histograms_are_added() -> None:
    """Buckets, sums and counts of a histogram are counters."""
    text = (
        "# HELP x_seconds How long.\n# TYPE x_seconds histogram\n"
        'x_seconds_bucket{le="1"} 2\nx_seconds_bucket{le="+Inf"} 3\nx_seconds_sum 4.5\nx_seconds_count 3\n'
    )
    both = MetricsSum()
    both.update(0, text)
    both.update(1, text)
    both.end(1)
    assert metric(both.text(), 'x_seconds_bucket{le="+Inf"}') == 6
    assert metric(both.text(), "x_seconds_sum") == 9.0
