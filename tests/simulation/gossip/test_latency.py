"""Latency models: symmetric, within bounds, the same for the whole run."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.simulation.gossip.latency import LatencySpec


@given(st.integers(0, 2**20), st.integers(0, 2**20), st.integers())
def test_pair_is_symmetric_fixed_and_within_bounds(one: int, other: int, seed: int) -> None:
    """A pair has one latency, both ways, for the whole run."""
    latency = LatencySpec(min_ms=10, max_ms=50).build(random.Random(seed))
    first_s = latency.between(one, other)
    assert 0.010 <= first_s <= 0.050 == latency.longest_s
    assert latency.between(other, one) == first_s == latency.between(one, other)


def test_regions_are_near_inside_and_far_between() -> None:
    """Nodes of one region are near each other, nodes of different ones far."""
    spec = LatencySpec(kind="regions", regions=3, min_ms=1, max_ms=2, far_min_ms=80, far_max_ms=90)
    latency = spec.build(random.Random(1))
    assert 0.001 <= latency.between(1, 4) <= 0.002
    assert 0.080 <= latency.between(1, 5) <= 0.090
    assert latency.longest_s == 0.090


def test_jitter_differs_per_message_and_counts_for_the_longest_trip() -> None:
    """With jitter, each message has a latency of its own."""
    latency = LatencySpec(min_ms=10, max_ms=10, jitter_ms=5).build(random.Random(1))
    seen = {latency.between(1, 2) for _ in range(20)}
    assert len(seen) == 20
    assert min(seen) >= 0.010
    assert max(seen) <= latency.longest_s == 0.015


@pytest.mark.parametrize(
    "wrong",
    [
        LatencySpec(kind="none"),
        LatencySpec(min_ms=5, max_ms=4),
        LatencySpec(min_ms=-1),
        LatencySpec(jitter_ms=-1),
        LatencySpec(kind="regions", regions=1, far_min_ms=1, far_max_ms=2),
        LatencySpec(kind="regions", regions=2, far_min_ms=3, far_max_ms=2),
    ],
)
def test_wrong_figures_are_named(wrong: LatencySpec) -> None:
    """A model that cannot be built says why."""
    assert wrong.problem()
    assert LatencySpec().problem() is None
