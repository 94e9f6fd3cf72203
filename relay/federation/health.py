"""How another relay is doing: pauses between attempts that grow, and a circuit breaker. Pure; a value that can be kept
in the store, so that a restart does not forget a pause.

`closed`: everything goes. `open`: after several failures in a row nothing goes until the pause is over. `half-open`:
it is over, and a few probes go; one success closes it.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any

import orjson

RETRY_AFTER_S_MAX = 300.0
"""Longest pause that another relay may ask for; a guess: an hour would outlive what waits."""

ERROR_CHARS_MAX = 200
"""Characters of an error that are kept."""

_DOUBLINGS_MAX = 30


class State(StrEnum):
    """Of the circuit breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class Health:
    """What is remembered of one relay.

    Attributes:
        failures: in a row.
        retry_at_s: Unix seconds before which nothing is tried.
        reason: of the last failure, short and fixed.
        error: its text.
        failed_at_s: Unix seconds of it; 0 for never.
    """

    failures: int = 0
    retry_at_s: float = 0.0
    reason: str = ""
    error: str = ""
    failed_at_s: float = 0.0

    def state(self, now_s: float, open_after: int) -> State:
        """Of the breaker, which opens after `open_after` failures in a row."""
        if self.failures < open_after:
            return State.CLOSED
        return State.OPEN if now_s < self.retry_at_s else State.HALF_OPEN

    def failed(
        self, now_s: float, reason: str, error: str, pause: "Pause", random: Callable[[], float], after_s: float = 0.0
    ) -> "Health":
        """After one more failure.

        Args:
            now_s: Unix seconds.
            reason: short and fixed.
            error: for the operator.
            pause: how long to wait.
            random: returns numbers in [0, 1).
            after_s: how long the other relay asked us to wait (RFC 9110, 10.2.3); honoured up to five minutes.
        """
        longest_s = min(pause.first_s * 2 ** min(self.failures, _DOUBLINGS_MAX), pause.most_s)
        own_s = longest_s * (1.0 - random() / 2)
        asked_s = min(max(after_s, 0.0), RETRY_AFTER_S_MAX)
        retry_at_s = now_s + max(own_s, asked_s)
        return Health(self.failures + 1, retry_at_s, reason, error[:ERROR_CHARS_MAX], now_s)

    def succeeded(self) -> "Health":
        """After a success: nothing is held against it; the last error stays to be looked at."""
        return self if self.failures == 0 else replace(self, failures=0, retry_at_s=0.0)

    def at_once(self) -> "Health":
        """The pause is over because somebody says so."""
        return replace(self, retry_at_s=0.0)

    def text(self) -> bytes:
        """For the store."""
        return orjson.dumps({name.name: getattr(self, name.name) for name in fields(self)})


@dataclass(frozen=True, slots=True)
class Pause:
    """How pauses grow: doubled from `first_s` to `most_s`."""

    first_s: float
    most_s: float


def read_health(text: bytes | None, now_s: float, pause_s_max: float) -> Health:
    """What `Health.text` wrote; anything else is a relay about which nothing is known.

    A pause that ends later than any could is cut: the clock was wrong when it began.
    """
    try:
        value: Any = orjson.loads(text or b"{}")
        health = Health(
            failures=_number(value, "failures", int),
            retry_at_s=_number(value, "retry_at_s", float),
            reason=str(value.get("reason", ""))[:ERROR_CHARS_MAX],
            error=str(value.get("error", ""))[:ERROR_CHARS_MAX],
            failed_at_s=_number(value, "failed_at_s", float),
        )
    except (ValueError, TypeError, AttributeError, OverflowError):
        return Health()
    return replace(health, retry_at_s=min(health.retry_at_s, now_s + max(pause_s_max, RETRY_AFTER_S_MAX)))


def _number(value: Any, name: str, kind: Callable[[Any], Any]) -> Any:
    number = kind(value.get(name, 0))
    if not 0 <= number < 2**53:
        raise ValueError(name)
    return number
