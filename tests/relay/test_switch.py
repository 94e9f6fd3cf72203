"""Where an envelope goes, as a table (spec rmb 6.4)."""

import pytest

from relay.switch import (
    EXPIRED,
    LONG_SESSION,
    MISSING_DESTINATION,
    NO_RELAY,
    OFFLINE,
    SESSION_CHARS_MAX,
    UNKNOWN_TWIN,
    Refusal,
    lookup_failed,
    refuse_absent,
    refuse_early,
    store_failed,
    uses_this_relay,
)
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.envelope import Envelope, is_fail_fast
from rmb_peer.protocol.twin import Twin

OURS = frozenset({"relay.test", "relay.test:8080"})


def twin(*relays: str) -> Twin:
    return Twin(9, bytes(32), frozenset(relays), None)


@pytest.mark.parametrize(
    ("record", "fail_fast", "expected"),
    [
        (None, False, UNKNOWN_TWIN),
        (None, True, UNKNOWN_TWIN),
        (twin(), False, NO_RELAY),
        (twin("relay.test"), False, None),
        (twin("relay.test"), True, OFFLINE),
        (twin("relay.test:8080"), False, None),
        (twin("other.test", "relay.test"), False, None),
        (twin("RELAY.test"), False, None),
        (twin(" Relay.Test:8080 "), True, OFFLINE),
    ],
)
def test_the_destination_is_not_connected(record: Twin | None, fail_fast: bool, expected: Refusal | None) -> None:
    """Steps 2 to 5 in order; stored is `None`."""
    assert refuse_absent(record, OURS, fail_fast) == expected


@pytest.mark.parametrize("relays", [("b.test", "a.test"), ("relay.test:9",), ("xrelay.test",), ("not a relay!",)])
def test_foreign_destinations_are_named(relays: tuple[str, ...]) -> None:
    """Step 3: the error says which relays the destination uses, with or without fail-fast."""
    for fail_fast in (False, True):
        refusal = refuse_absent(twin(*relays), OURS, fail_fast)
        assert refusal == Refusal(
            "foreign",
            f"destination twin 9 uses other relays ({', '.join(sorted(relays))}): "
            "this relay does not forward to other relays",
        )


def test_texts_are_those_of_the_protocol() -> None:
    """Programs compare these texts (spec rmb 6.3, 6.4)."""
    assert UNKNOWN_TWIN.text == "unknown twin destination"
    assert NO_RELAY.text == "relay info is not set for this twin"
    assert OFFLINE.text == "destination offline"
    assert MISSING_DESTINATION.text == "message with missing destination"
    assert lookup_failed("why").text == "why"
    assert store_failed(Address(9, "a"), "why").text == "failed to route message to peer '9:a': why"


@pytest.mark.parametrize(
    ("timestamp", "expiration", "destination", "expected"),
    [
        (1000, 10, Address(9), None),
        (1000, 10, Address(0), MISSING_DESTINATION),
        (1000, 10, Address(0, "a"), MISSING_DESTINATION),
        (1000, 1, Address(9), None),
        (999, 1, Address(9), EXPIRED),
        (1000, 0, Address(9), EXPIRED),
        (2000, 0, Address(9), None),
        (1000, 2**64 - 1, Address(9), EXPIRED),
        (1000, 10, Address(9, ""), None),
        (1000, 10, Address(9, "s" * SESSION_CHARS_MAX), None),
        (1000, 10, Address(9, "s" * (SESSION_CHARS_MAX + 1)), LONG_SESSION),
    ],
)
def test_refused_before_routing(
    timestamp: int, expiration: int, destination: Address, expected: Refusal | None
) -> None:
    """No destination, one that nobody can have, no lifetime left (spec rmb 2.4, 6.3 step 6)."""
    assert refuse_early(Envelope(timestamp=timestamp, expiration=expiration), destination, 1000) == expected


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("fail-fast", True),
        ("a,fail-fast b", True),
        ("a fail-fast", True),
        ("\u2003fail-fast\n", True),
        (",,fail-fast,", True),
        ("Fail-Fast", False),
        ("fail-fastx", False),
        ("xfail-fast", False),
        ("fail- fast", False),
        ("", False),
        (None, False),
    ],
)
def test_c10_fail_fast_is_a_whole_token(tags: str | None, expected: bool) -> None:
    """Split at commas and any white space; the token is exact (spec rmb 6.6)."""
    assert is_fail_fast(Envelope(tags=tags)) is expected


def test_no_domain_in_common() -> None:
    """Sets intersect or they do not; ports count."""
    assert not uses_this_relay(twin("relay.test"), frozenset({"relay.test:8080"}))
    assert not uses_this_relay(twin(), OURS)
    assert uses_this_relay(twin("x.test", "relay.test:8080"), OURS)
