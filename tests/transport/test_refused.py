"""What a gateway makes of a refusal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmb_peer.transport.refused import NOT_ADMITTED_S, RETRY_AFTER_S_MAX, understand


@pytest.mark.parametrize("status", [429, 503])
def test_later(status: int) -> None:
    """It stays away for as long as it is told, within reason; without a time the ordinary pauses do."""
    assert understand(status, "connections_per_address", "60").wait_s == 60
    assert understand(status, None, " 7 ").wait_s == 7
    assert understand(status, None, "99999999999").wait_s == RETRY_AFTER_S_MAX
    for text in (None, "", "Wed, 21 Oct 2015 07:28:00 GMT", "-5", "1.5"):
        assert understand(status, None, text).wait_s == 0
    assert understand(status, None, "60").event == "relay asks us to come back later"


def test_not_admitted() -> None:
    """What to do is said; asking again at once would change nothing."""
    refused = understand(403, "not_admitted", "120")
    assert refused.event == "relay does not admit this twin"
    assert "--relay-ticket-file" in refused.advice
    assert refused.wait_s == 120
    assert understand(403, "not_admitted", None).wait_s == NOT_ADMITTED_S


def test_anything_else() -> None:
    """The ordinary pauses; a time that nobody asked for is ignored."""
    refused = understand(401, None, "500")
    assert (refused.wait_s, refused.by_relay, refused.advice) == (0, False, "")


@given(st.integers(100, 999), st.none() | st.text(), st.none() | st.text())
def test_any_answer(status: int, reason: str | None, retry_after: str | None) -> None:
    """Nothing that a server says keeps the gateway away for longer than the limit."""
    assert 0 <= understand(status, reason, retry_after).wait_s <= RETRY_AFTER_S_MAX
