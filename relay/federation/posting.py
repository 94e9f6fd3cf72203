"""What the answer to a post means (spec rmb 6.8, better told apart). Pure; it refuses to know HTTP clients.

Other relays report every 4xx as `destination offline`; here that text is used where it is true, since programs compare
it (spec rmb 10.9).
"""

from datetime import UTC
from email.utils import parsedate_to_datetime

from relay.federation.speaker import Accepted, Outcome, Refused, TryAgain
from relay.switch import OFFLINE, UNKNOWN_TWIN

REJECTED = "remote relay rejected permanently: "
"""How a refusal of the other relay begins (spec rmb 6.8)."""

TEXT_CHARS_MAX = 200
"""Characters of the other relay's words that are passed on; a guess."""

_ACCEPTED = 202
_AGAIN = {408: "timeout", 425: "busy", 429: "busy"}
"""Refusals that mean "not now": RFC 9110, 15.5.9; RFC 8470, 5.2; RFC 6585, 4."""

_TOO_LARGE = 413
_NOT_FOUND = 404
_UNAVAILABLE = 503


def outcome_of(name: str, status: int, body: bytes, retry_after: str | None, now_s: float) -> Outcome:
    """Decide.

    Args:
        name: of the relay that answered.
        status: of the answer.
        body: the beginning of its body.
        retry_after: the header, if it came.
        now_s: Unix seconds.
    """
    if status == _ACCEPTED:
        return Accepted()
    text = cleaned(body)
    after_s = wait_s(retry_after, now_s)
    if status in _AGAIN:
        return TryAgain(_AGAIN[status], f"relay {name} answered {status}: {text or 'try again later'}", after_s)
    if 400 <= status < 500:
        return _refused(name, status, text)
    reason = "busy" if status == _UNAVAILABLE else "failing" if status >= 500 else "garbage"
    return TryAgain(reason, f"relay {name} answered {status}{f': {text}' if text else ''}", after_s)


def _refused(name: str, status: int, text: str) -> Refused:
    if status == _NOT_FOUND and text == OFFLINE.text:
        return Refused("offline", REJECTED + OFFLINE.text)
    told = f"{REJECTED}{name} answered {status}{f': {text}' if text else ''}"
    if UNKNOWN_TWIN.text in text:
        return Refused("unknown", told)
    return Refused("too_large" if status == _TOO_LARGE else "refused", told)


def cleaned(body: bytes) -> str:
    """Words of a stranger on one line, short, and printable."""
    text = body[: 4 * TEXT_CHARS_MAX].decode(errors="replace")
    words = " ".join("".join(c if c.isprintable() or c.isspace() else "?" for c in text).split())
    return words if len(words) <= TEXT_CHARS_MAX else words[: TEXT_CHARS_MAX - 1] + "…"


def wait_s(header: str | None, now_s: float) -> float:
    """Seconds that `Retry-After` asks for (RFC 9110, 10.2.3): a number or a date; 0 for anything else."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        date = parsedate_to_datetime(text)
        return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now_s)
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0.0
