"""When an envelope that has not ended is offered to a second relay as well, and how many may be.

A relay that answers pings but does not end an envelope is probably slow, and offering everything twice would only
spread its trouble. So the patience follows the times that endings really take, and the extra ones are a small
share of all.

Pure. This module refuses to know relays and envelopes.
"""

PATIENCE_S_MIN = 0.5
"""No envelope is offered twice before this. Half of the second within which sending is to move on."""

PATIENCE_S_MAX = 10.0
"""And after this it is in any case, if the budget allows. A guess, well below the life of a request."""

SHARE = 0.05
"""Extra offers per envelope, in the long run. A guess: nobody notices five per cent."""

BURST = 16
"""Extra offers that may be made at once after a quiet time. A guess: more than one person waits for."""

HEDGE_BYTES_MAX = 64 * 1024
"""Larger envelopes are not offered twice to relays that are merely slow. A guess: they travel slowly themselves."""

_MEAN_SHARE, _DEVIATION_SHARE, _DEVIATIONS = 1 / 8, 1 / 4, 4
"""RFC 6298, 2: how TCP follows its round-trip times."""


class EndingTimes:
    """How long envelopes take to end at one relay, and therefore how long to wait for one."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._mean_s: float | None = None
        self._deviation_s = 0.0

    def heard(self, seconds: float) -> None:
        """An envelope ended after so long."""
        if self._mean_s is None:
            self._mean_s, self._deviation_s = seconds, seconds / 2
            return
        self._deviation_s += _DEVIATION_SHARE * (abs(self._mean_s - seconds) - self._deviation_s)
        self._mean_s += _MEAN_SHARE * (seconds - self._mean_s)

    @property
    def patience_s(self) -> float:
        """How long an envelope may be without an ending before that is unusual."""
        usual_s = (self._mean_s or 0.0) + _DEVIATIONS * self._deviation_s
        return min(max(usual_s, PATIENCE_S_MIN), PATIENCE_S_MAX)


class Budget:
    """How many extra offers may be made."""

    def __init__(self, share: float = SHARE, burst: float = BURST) -> None:
        """Begin with a full one.

        Args:
            share: what each envelope adds.
            burst: what it holds at most.
        """
        self._share = share
        self._burst = burst
        self._left = float(burst)

    def earn(self) -> None:
        """An envelope was offered for the first time."""
        self._left = min(self._left + self._share, self._burst)

    def spend(self) -> bool:
        """Whether one more extra offer may be made; if so, it counts."""
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
