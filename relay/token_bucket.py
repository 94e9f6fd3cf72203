"""A token bucket that may go into debt. Pure; the time comes in, and it may stand still or go back.

Something that costs `n` is taken whenever the debt is small enough, and the debt is what the next ones wait for: so a
single thing may cost more than the bucket holds, and on average the rate is kept to exactly.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """How much, and how much at once.

    Attributes:
        per_s: what is given each second.
        burst: what may have been saved up; whoever was idle can spend this at once.
    """

    per_s: int
    burst: int

    def __str__(self) -> str:
        """As its flag is written."""
        return f"{self.per_s}/s,{self.burst}"

    def __post_init__(self) -> None:
        assert self.per_s > 0 and self.burst > 0


class Bucket:
    """What one twin may still spend.

    Attributes:
        tokens: how much that is, as of the last `refill`; below 0 it is owed.
    """

    __slots__ = ("_at_s", "_rate", "tokens")

    def __init__(self, rate: Rate) -> None:
        """Start full, at no particular time."""
        self._rate = rate
        self.tokens = float(rate.burst)
        self._at_s = 0.0

    def has(self, cost: float, now_s: float) -> bool:
        """Whether this much can be spent without going into debt."""
        self.refill(now_s)
        return self.tokens >= cost

    def spend(self, cost: float, now_s: float) -> None:
        """Take this much, whatever there is."""
        self.refill(now_s)
        self.tokens -= cost

    def debt_s(self, now_s: float) -> float:
        """How long until what was spent too much has come in again; 0 when there is no debt."""
        self.refill(now_s)
        return max(-self.tokens / self._rate.per_s, 0.0)

    def refill(self, now_s: float) -> None:
        """Put in what has come in until now."""
        if now_s != self._at_s:
            come_in = max(now_s - self._at_s, 0.0) * self._rate.per_s
            self.tokens = min(float(self._rate.burst), self.tokens + come_in)
            self._at_s = now_s
