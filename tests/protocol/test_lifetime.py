"""Every row of spec 2.4: stamp, remaining lifetime, and the cap of a sending gateway."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmb_peer.protocol.envelope import Envelope
from rmb_peer.protocol.lifetime import (
    ERROR_LIFETIME_S,
    LIFETIME_S_DEFAULT,
    LIFETIME_S_MAX,
    RESPONSE_LIFETIME_S,
    cap,
    envelope_ttl_s,
    stamp,
    stamp_envelope,
    ttl_s,
)
from tests.support.envelopes import U64
from tests.support.vectors import VECTORS

U64_MAX = 2**64 - 1


def row(vector: dict[str, Any]) -> str:
    return f"now{vector['now']}-ts{vector['timestamp']}-exp{vector['expiration']}"


@pytest.mark.parametrize("vector", VECTORS["lifetime"]["stamp"], ids=row)
def test_stamp_table(vector: dict[str, Any]) -> None:
    """The known values of spec 2.4, as numbers and on an envelope."""
    expected = (vector["becomes"]["timestamp"], vector["becomes"]["expiration"])
    assert stamp(vector["timestamp"], vector["expiration"], vector["now"]) == expected
    envelope = Envelope(timestamp=vector["timestamp"], expiration=vector["expiration"])
    stamp_envelope(envelope, vector["now"])
    assert (envelope.timestamp, envelope.expiration) == expected


@pytest.mark.parametrize("vector", VECTORS["lifetime"]["ttl"], ids=row)
def test_ttl_table(vector: dict[str, Any]) -> None:
    """The known values of spec 2.4, as numbers and on an envelope."""
    assert ttl_s(vector["timestamp"], vector["expiration"], vector["now"]) == vector["ttl"]
    envelope = Envelope(timestamp=vector["timestamp"], expiration=vector["expiration"])
    assert envelope_ttl_s(envelope, vector["now"]) == vector["ttl"]


@pytest.mark.parametrize(
    ("timestamp", "expiration", "now", "left"),
    [
        pytest.param(U64_MAX, 1, 1_700_000_000, None, id="sum-2**64-is-expired"),
        pytest.param(U64_MAX, U64_MAX, 1_700_000_000, None, id="largest-sum-is-expired"),
        pytest.param(U64_MAX - 1, 1, 1_700_000_000, U64_MAX - 1_700_000_000, id="sum-2**64-1-lives"),
        pytest.param(1_700_000_300, 300, 1_700_000_000, 600, id="future-timestamp-lengthens-life"),
        pytest.param(1_700_000_000, 0, 1_700_000_000, None, id="no-lifetime"),
        pytest.param(1_700_000_000, 1, 1_700_000_000, 1, id="one-second"),
        pytest.param(0, 0, 0, None, id="all-zero"),
    ],
)
def test_ttl_edges(timestamp: int, expiration: int, now: int, left: int | None) -> None:
    """No remaining second is expired; a sum beyond 64 bits is expired, too (spec 2.4)."""
    assert ttl_s(timestamp, expiration, now) == left


@given(U64, U64, st.integers(1, 2**40))
def test_stamp_never_moves_the_end(timestamp: int, expiration: int, now: int) -> None:
    """A lifetime that began earlier ends when it did, or has already ended; one from the future starts now."""
    new_timestamp, new_expiration = stamp(timestamp, expiration, now)
    assert new_timestamp == now
    if 0 < timestamp <= now:
        assert new_expiration == 0 or now + new_expiration == timestamp + expiration
        if now + expiration <= U64_MAX:
            assert ttl_s(new_timestamp, new_expiration, now) == ttl_s(timestamp, expiration, now)
    else:
        assert new_expiration == expiration


@given(U64, U64, st.integers(1, 2**40))
def test_stamping_twice_is_stamping_once(timestamp: int, expiration: int, now: int) -> None:
    """A second stamp at the same second changes nothing."""
    once = stamp(timestamp, expiration, now)
    assert stamp(*once, now) == once


@given(U64, U64, U64)
def test_stamped_values_fit_their_fields(timestamp: int, expiration: int, now: int) -> None:
    """Whatever goes in, an envelope can hold what comes out."""
    envelope = Envelope(timestamp=timestamp, expiration=expiration)
    stamp_envelope(envelope, now)
    left = envelope_ttl_s(envelope, now)
    assert left is None or 0 < left <= U64_MAX


@pytest.mark.parametrize(
    ("asked", "given_"),
    [
        (0, LIFETIME_S_DEFAULT),
        (1, 1),
        (1799, 1799),
        (1800, 1800),
        (1801, 1800),
        (RESPONSE_LIFETIME_S, 1800),
        (U64_MAX, 1800),
    ],
)
def test_cap(asked: int, given_: int) -> None:
    """0 becomes 300, more than 1800 becomes 1800 (spec 5.2 steps 4 and 5)."""
    assert cap(asked) == given_


def test_constants_of_the_existing_network() -> None:
    """Lifetimes that others rely on (spec 5.2, 5.4, 5.9, 6.3)."""
    assert (LIFETIME_S_DEFAULT, LIFETIME_S_MAX, RESPONSE_LIFETIME_S, ERROR_LIFETIME_S) == (300, 1800, 3600, 300)
