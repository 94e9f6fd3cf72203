"""What a relay means by refusing a connection, and how long to stay away. Pure."""

from dataclasses import dataclass

REFUSAL_HEADER = "RMB-Refusal"
"""Header by which a relay of ours says, in one word, why it refuses an upgrade."""

TICKET_HEADER = "RMB-Ticket"
"""Header in which a gateway presents its ticket. Not in the query, which proxies write into their logs."""

RETRY_AFTER_S_MAX = 600.0
"""Longest time that we stay away because a relay says so. A guess: longer, and a mistake there would look like one of
ours; whoever asks once in ten minutes is no burden."""

NOT_ADMITTED_S = 60.0
"""How long we stay away from a relay that does not let us in. A guess: its operator has to act first."""

_NOT_ADMITTED = "not_admitted"
_LATER = frozenset({429, 503})


@dataclass(frozen=True, slots=True)
class Refused:
    """How to take a refusal.

    Attributes:
        event: short and fixed, for the log.
        wait_s: do not try again earlier; 0 when the ordinary pauses do.
        by_relay: whether the relay itself said it, and not a web server in front of it.
        advice: what the operator of the gateway can do; empty when waiting is all.
    """

    event: str
    wait_s: float
    by_relay: bool
    advice: str = ""


def understand(status: int, reason: str | None, retry_after: str | None) -> Refused:
    """What an answer other than 101 means.

    Args:
        status: of the HTTP answer.
        reason: `RMB-Refusal`, if there is one.
        retry_after: `Retry-After`, if there is one. Only seconds are understood, not dates (RFC 9110, 10.2.3): no
            relay sends those.
    """
    by_relay = reason is not None
    wait_s = _seconds(retry_after)
    if reason == _NOT_ADMITTED:
        advice = "ask the operator of the relay to admit this twin, or for a ticket (--relay-ticket-file)"
        return Refused("relay does not admit this twin", max(wait_s, NOT_ADMITTED_S), by_relay, advice)
    if status in _LATER:
        return Refused("relay asks us to come back later", wait_s, by_relay)
    return Refused("relay refused the connection", 0.0, by_relay)


def _seconds(text: str | None) -> float:
    if text is None or not (text.isascii() and text.strip().isdigit()):
        return 0.0
    return min(float(text.strip()[:9]), RETRY_AFTER_S_MAX)
