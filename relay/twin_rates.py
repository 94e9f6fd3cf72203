"""How fast a twin may send: messages and bytes, a token bucket of each (`token_bucket`). Pure; the time comes in.

Whoever sends faster is slowed down first: its connection is not read for as long as the debt lasts. Only what comes
when the debt is longer than `slow_s_max` is refused; other sessions of the same twin, or a message that has waited long
enough, bring that about. All sessions of a twin share its buckets, which outlive its connections (`lasting`).
"""

import math
from dataclasses import dataclass

from relay.lasting import Lasting
from relay.switch import Refusal
from relay.token_bucket import Bucket, Rate


@dataclass(frozen=True, slots=True)
class Rates:
    """What a twin may send.

    Attributes:
        messages: how many; `None` means as many as it likes.
        bytes: their bytes together; `None` means as many as it likes.
        slow_s_max: how long a message is held back before it is refused.
    """

    messages: Rate | None
    bytes: Rate | None
    slow_s_max: float


class Allowance:
    """One twin's buckets."""

    __slots__ = ("_bytes", "_messages", "_owes", "_rates")

    def __init__(self, rates: Rates) -> None:
        """Start with full buckets."""
        self._rates = rates
        self._owes = False
        self._messages = None if rates.messages is None else Bucket(rates.messages)
        self._bytes = None if rates.bytes is None else Bucket(rates.bytes)

    def change(self, rates: Rates) -> None:
        """Have other rates from now on."""
        before, self._rates = self._rates, rates
        if rates.messages != before.messages:
            self._messages = None if rates.messages is None else Bucket(rates.messages)
        if rates.bytes != before.bytes:
            self._bytes = None if rates.bytes is None else Bucket(rates.bytes)

    def wait_s(self, now_s: float) -> float:
        """How long the twin has to wait until it owes nothing; 0 when it may go on."""
        if not self._owes:  # nearly always, and this is asked for every frame
            return 0.0
        messages = self._messages.debt_s(now_s) if self._messages else 0.0
        size = self._bytes.debt_s(now_s) if self._bytes else 0.0
        self._owes = messages > 0 or size > 0
        return max(messages, size)

    def take_all(self, messages: int, size_bytes: int, now_s: float) -> bool:
        """Spend what several messages cost, if that needs no debt; else nothing is spent, and each is to be asked for.

        The ordinary case, at the cost of one message.
        """
        count, size = self._messages, self._bytes
        if count is not None:
            count.refill(now_s)
            if count.tokens < messages:
                return False
        if size is not None:
            size.refill(now_s)
            if size.tokens < size_bytes:
                return False
            size.tokens -= size_bytes
        if count is not None:
            count.tokens -= messages
        return True

    def take(self, size_bytes: int, now_s: float) -> Refusal | None:
        """Spend what a message costs.

        Args:
            size_bytes: its length.
            now_s: Unix seconds.

        Returns:
            why it is refused, in which case nothing is spent.
        """
        if self.take_all(1, size_bytes, now_s):
            return None
        slow_s_max = self._rates.slow_s_max
        if self._messages and self._rates.messages and self._messages.debt_s(now_s) > slow_s_max:
            return too_fast(self._rates.messages, "messages", self.wait_s(now_s))
        if self._bytes and self._rates.bytes and self._bytes.debt_s(now_s) > slow_s_max:
            return too_fast(self._rates.bytes, "bytes", self.wait_s(now_s))
        if self._messages:
            self._messages.spend(1, now_s)
        if self._bytes:
            self._bytes.spend(size_bytes, now_s)
        self._owes = True  # or so it may be; `wait_s` finds out
        return None


def too_fast(rate: Rate, what: str, wait_s: float) -> Refusal:
    """More than the twin may send per second, for longer than it is slowed down."""
    text = f"more than {rate.per_s} {what} per second: try again in {max(math.ceil(wait_s), 1)} s"
    return Refusal(f"rate_{what}", text, retry_after_ms=math.ceil(wait_s * 1000))


class TwinRates(Lasting[Allowance]):
    """The allowances of all twins."""

    def __init__(self, rates: Rates, absent_twins_max: int) -> None:
        """Start with full buckets.

        Args:
            rates: of each twin.
            absent_twins_max: twins without connection whose buckets are kept.
        """
        super().__init__(lambda: Allowance(self._rates), absent_twins_max)
        self._rates = rates
        self.slow_s_max = rates.slow_s_max

    def change(self, rates: Rates) -> None:
        """Have other rates from now on; buckets of a rate that is another one begin full."""
        self._rates = rates
        self.slow_s_max = rates.slow_s_max
        for allowance in self.states():
            allowance.change(rates)
