"""What an answer means (spec rmb 6.8, 10.9)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.federation.posting import REJECTED, TEXT_CHARS_MAX, cleaned, outcome_of, wait_s
from relay.federation.speaker import Accepted, Outcome, Refused, TryAgain


def outcome(status: int, body: bytes = b"", retry_after: str | None = None) -> Outcome:
    return outcome_of("b.test", status, body, retry_after, 1_700_000_000.0)


def test_accepted() -> None:
    """202 and nothing else: a web page that says 200 is no relay."""
    assert outcome(202) == Accepted()
    assert outcome(200, b"<html>") == TryAgain("garbage", "relay b.test answered 200: <html>")


@pytest.mark.parametrize(
    ("status", "body", "reason", "text"),
    [
        (404, b"destination offline", "offline", "destination offline"),
        (404, b"destination offline\n", "offline", "destination offline"),
        (404, b"page not found", "refused", "b.test answered 404: page not found"),
        (404, b"", "refused", "b.test answered 404"),
        (400, b"destination offline", "refused", "b.test answered 400: destination offline"),
        (400, b"bad request: unknown twin destination", "unknown",
         "b.test answered 400: bad request: unknown twin destination"),
        (401, b"no", "refused", "b.test answered 401: no"),
        (413, b"too large", "too_large", "b.test answered 413: too large"),
    ],
)  # fmt: skip
def test_refused(status: int, body: bytes, reason: str, text: str) -> None:
    """Offline is said where it is true; all else names the relay, the status and its words."""
    assert outcome(status, body) == Refused(reason, REJECTED + text)


@pytest.mark.parametrize(
    ("status", "reason"),
    [(408, "timeout"), (425, "busy"), (429, "busy"), (500, "failing"), (502, "failing"), (503, "busy"),
     (301, "garbage"), (204, "garbage"), (100, "garbage"), (999, "failing")],
)  # fmt: skip
def test_try_again(status: int, reason: str) -> None:
    """What blames the relay, or the moment; redirects lead nowhere."""
    expected = TryAgain(reason, outcome(status, b"why", "7").text, 7.0)  # type: ignore[union-attr]
    assert outcome(status, b"why", "7") == expected
    assert expected.text.startswith(f"relay b.test answered {status}: ")


@pytest.mark.parametrize(
    ("header", "expected_s"),
    [
        ("12", 12.0),
        (" 0 ", 0.0),
        ("Tue, 14 Nov 2023 22:13:30 GMT", 10.0),
        ("Tue, 14 Nov 2023 22:13:10 GMT", 0.0),
        ("-5", 0.0),
        ("soon", 0.0),
        ("", 0.0),
        (None, 0.0),
        ("9" * 400, 999999999.0),
        ("٣", 0.0),
    ],
)
def test_retry_after(header: str | None, expected_s: float) -> None:
    """Seconds or a date (RFC 9110, 10.2.3)."""
    assert wait_s(header, 1_700_000_000.0) == expected_s


@given(st.integers(0, 999), st.binary(max_size=2000), st.one_of(st.none(), st.text(max_size=40)))
def test_any_answer(status: int, body: bytes, header: str | None) -> None:
    """Has an outcome; strangers' words are short and on one line."""
    result = outcome(status, body, header)
    if not isinstance(result, Accepted):
        assert result.text.isprintable()
        assert len(result.text) < TEXT_CHARS_MAX + 100


def test_cleaned() -> None:
    """Line breaks, control characters and invalid UTF-8 cannot deface a log or a terminal."""
    assert cleaned(b"a\r\n b\t\x1b[31mc\xff") == "a b ?[31mc\N{REPLACEMENT CHARACTER}"
    assert cleaned(b"x" * 5000) == "x" * (TEXT_CHARS_MAX - 1) + "…"
