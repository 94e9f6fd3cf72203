"""How many ids one address may ask for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.claim_limit import ClaimLimit


def test_a_burst_then_a_steady_rate() -> None:
    """Ten at once, then one each six seconds; the wait that is told is the wait that is needed."""
    limit = ClaimLimit(10)
    assert [limit.take("192.0.2.1", 100.0) for _ in range(10)] == [0.0] * 10
    assert limit.take("192.0.2.1", 100.0) == pytest.approx(6)
    assert limit.take("192.0.2.1", 103.0) == pytest.approx(3)
    assert limit.take("192.0.2.1", 106.01) == 0
    assert limit.take("192.0.2.1", 106.01) > 5
    assert [limit.take("192.0.2.1", 1000.0) for _ in range(11)].count(0.0) == 10


def test_addresses_do_not_share() -> None:
    """Each address has its own allowance; a subscriber's IPv6 addresses count as one, IPv4 in IPv6 form as IPv4."""
    limit = ClaimLimit(1)
    for address in ("192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1", "", "unix"):
        assert limit.take(address, 0.0) == 0
        assert limit.take(address, 0.0) > 0
    for same in ("::ffff:192.0.2.1", "2001:db8::ffff", "2001:db8:0:1::2%eth0"):
        assert limit.take(same, 0.0) > 0


def test_the_table_is_bounded() -> None:
    """Beyond the limit the address heard of longest ago is forgotten, and starts anew."""
    limit = ClaimLimit(1, addresses_max=2)
    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
        assert limit.take(address, 0.0) == 0
    assert len(limit._buckets) == 2
    assert limit.take("192.0.2.3", 0.0) > 0
    assert limit.take("192.0.2.1", 0.0) == 0


@given(st.floats(1, 1000), st.lists(st.floats(0, 10), max_size=200))
def test_no_more_than_the_rate(per_minute: float, pauses: list[float]) -> None:
    """However claims are spread, no more pass than a full bucket and what has flowed in since."""
    limit, now, passed = ClaimLimit(per_minute), 0.0, 0
    for pause in pauses:
        now += pause
        passed += limit.take("192.0.2.1", now) == 0
    assert passed <= per_minute + now * per_minute / 60 + 1e-6


@given(st.text())
def test_any_text_is_an_address(address: str) -> None:
    """Whatever names the sender, it is counted and never fails."""
    limit = ClaimLimit(1)
    assert limit.take(address, 0.0) == 0
    assert limit.take(address, 0.0) > 0
