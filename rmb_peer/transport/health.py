"""Whether a relay can be relied upon at the moment: well, sick, or on probation after having been sick.

Pure: times come in, seconds of a monotonic clock. This module refuses to know links, and what is done about a sick one.
"""

from enum import IntEnum

SILENT_S_MIN = 0.5
"""A ping that is unanswered for so long, while nothing else comes, makes a relay sick. A guess: together with the
pings' rhythm (`rmb2.PING_GAP_S`) and the time between two looks it leaves a reserve within one second."""

SILENT_S_MAX = 3.0
"""The same on a line with long round trips. A guess."""

SILENT_ROUND_TRIPS = 4
"""On a slow line, silence is as many round trips as this. A guess, above the usual jitter."""

STUCK_S = 1.0
"""A relay whose window stays full this long is sick, too. A guess: the Rust gateway moves on after 500 ms without a
free slot (spec rmb 5.5)."""

LOOK_S_MAX = 0.25
"""Longest time that one look adds to a silence. If we ourselves stood still for longer, an answer may lie unread in our
own socket, and the relay is not to blame."""

PROBATION_S_FIRST, PROBATION_S_MAX = 2.0, 60.0
"""After being sick: second choice for this long, twice as long each time it is sick again. Guesses."""

STEADY_S = 120.0
"""After so long without being sick the next probation is a short one. A guess, twice the longest."""


class State(IntEnum):
    """How a relay is doing; the lower, the better."""

    WELL = 0
    PROBATION = 1
    SICK = 2


def silence_patience_s(round_trip_s: float | None) -> float:
    """How long a ping may stay unanswered.

    Args:
        round_trip_s: of the last ping that was answered; `None` before the first.
    """
    return min(max(SILENT_ROUND_TRIPS * (round_trip_s or 0.0), SILENT_S_MIN), SILENT_S_MAX)


class Health:
    """The health of one relay.

    Attributes:
        silent: whether it is sick because it does not answer, and not only because it takes nothing.
    """

    def __init__(self) -> None:
        """Begin well."""
        self.silent = False
        self._sick = False
        self._silence_s = 0.0
        self._looked_at_s: float | None = None
        self._probation_until_s = float("-inf")
        self._probation_s = PROBATION_S_FIRST

    def state(self, now_s: float) -> State:
        """How it is doing."""
        if self._sick:
            return State.SICK
        return State.PROBATION if now_s < self._probation_until_s else State.WELL

    def look(self, now_s: float, unanswered_s: float, round_trip_s: float | None, *, stuck: bool = False) -> None:
        """Look at it; to be called several times a second.

        Args:
            now_s: the time.
            unanswered_s: for how long a ping has not been answered while nothing moved; 0 while none is on its way.
            round_trip_s: see `silence_patience_s`.
            stuck: whether it has taken nothing for `STUCK_S`.
        """
        passed_s = 0.0 if self._looked_at_s is None else min(now_s - self._looked_at_s, LOOK_S_MAX)
        self._looked_at_s = now_s
        self._silence_s = min(self._silence_s + passed_s, unanswered_s)
        patience_s = silence_patience_s(round_trip_s)
        self.silent = self._silence_s >= patience_s
        if stuck or self.silent:
            self._sick = True
        elif self._sick and unanswered_s < patience_s / 2:
            self._recovered(now_s)

    def connected(self, now_s: float) -> None:
        """A new connection to it was made, which is a sign of life."""
        self._silence_s = 0.0
        self._looked_at_s = now_s
        self.silent = False
        if self._sick:
            self._recovered(now_s)

    def _recovered(self, now_s: float) -> None:
        self._sick = False
        if now_s > self._probation_until_s + STEADY_S:
            self._probation_s = PROBATION_S_FIRST
        self._probation_until_s = now_s + self._probation_s
        self._probation_s = min(2 * self._probation_s, PROBATION_S_MAX)
