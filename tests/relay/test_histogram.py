"""Delivery times: counted where Prometheus would count them."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from relay.histogram import BOUNDS_MS, Histogram
from relay.metrics import Metrics


@given(st.lists(st.integers(-5, 5_000_000) | st.sampled_from(BOUNDS_MS)))
def test_buckets_are_what_their_names_say(values: list[int]) -> None:
    """Each bucket holds the values up to its bound, and the sum is that of all."""
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    text = "\n".join(["# TYPE t_seconds histogram", *histogram.lines("t_seconds", 'stage="x"'), ""])
    (family,) = text_string_to_metric_families(text)
    clamped = [max(value, 0) for value in values]
    for sample in family.samples:
        if sample.name.endswith("_bucket"):
            bound_ms = float(sample.labels["le"]) * 1000
            assert sample.value == sum(value <= bound_ms + 1e-9 for value in clamped)
        elif sample.name.endswith("_count"):
            assert sample.value == len(values)
    assert histogram.sum_ms == sum(clamped)


def test_both_stages_are_in_the_metrics() -> None:
    """One family, told apart by a label."""
    metrics = Metrics()
    metrics.written.add(3)
    metrics.confirmed.add(40)
    lines = metrics.text().decode().splitlines()
    assert lines.count("# TYPE relay_delivery_seconds histogram") == 1
    assert 'relay_delivery_seconds_bucket{stage="written",le="0.005"} 1' in lines
    assert 'relay_delivery_seconds_bucket{stage="confirmed",le="0.02"} 0' in lines
    assert 'relay_delivery_seconds_sum{stage="confirmed"} 0.04' in lines
