"""The text form of the metrics."""

import re

from prometheus_client.parser import text_string_to_metric_families

from relay.metrics import Metrics


def test_the_text_is_what_prometheus_reads() -> None:
    """An independent parser reads every line. (It adds `_total` to counters that lack it; Prometheus does not.)"""
    metrics = Metrics(message_rx=3, message_tx_bytes=5, sessions=lambda: 4)
    metrics.refusals["offline"] += 2
    metrics.evictions["cancelled"] += 1
    families = {family.name: family for family in text_string_to_metric_families(metrics.text().decode())}
    samples = {(s.name, *sorted(s.labels.items())): s.value for family in families.values() for s in family.samples}
    assert samples[("relay_message_rx_total",)] == 3
    assert samples[("relay_message_tx_bytes_total",)] == 5
    assert samples[("relay_worker_connections", ("worker", "0"))] == 4
    assert samples[("relay_refusals_total", ("reason", "offline"))] == 2
    assert samples[("relay_session_evictions_total", ("reason", "cancelled"))] == 1
    assert "\nrelay_message_rx 3\n" in metrics.text().decode()
    assert "process_start_time_seconds" in families


def test_every_metric_is_documented_and_typed_once() -> None:
    """One HELP and one TYPE line each, before its samples."""
    lines = Metrics().text().decode().splitlines()
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(names) == len(set(names)) == len([line for line in lines if line.startswith("# HELP")])
    for line in lines:
        if not line.startswith("#"):
            name = re.split("[ {]", line)[0]
            assert name in names or re.sub("_(bucket|sum|count)$", "", name) in names
