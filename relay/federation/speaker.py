"""The contract of whoever speaks to one other relay: envelopes go in, each comes out with what became of it.

Implementations differ in what they speak: single posts, which every relay understands (spec rmb 6.8), or the
acknowledged link between relays of ours. This module refuses to know both, and where envelopes wait.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Queued:
    """One envelope that waits for another relay.

    Attributes:
        id: of its entry in the outbox.
        data: the envelope as it came, byte for byte (spec rmb 2.2).
        expires_at_s: Unix seconds from which on it is worth nothing.
        tried: relays that had their chance already, see `candidates.Tried`; speakers need not look at it.
    """

    id: str
    data: bytes
    expires_at_s: int
    tried: str = ""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The other relay has it."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The other relay does not want it, now or ever.

    Attributes:
        reason: short and fixed, for counting: "offline", "refused", "unknown", "too_large".
        text: what the requester is told.
    """

    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class TryAgain:
    """No answer, or one that blames the other relay itself.

    Attributes:
        reason: short and fixed, for counting: "unreachable", "timeout", "failing", "busy", "garbage".
        text: for the operator, and for the requester when there is no more time.
        after_s: how long the other relay asked us to wait; 0 when it said nothing.
    """

    reason: str
    text: str
    after_s: float = 0.0


Outcome = Accepted | Refused | TryAgain


class Speaker(Protocol):
    """Speaks to one other relay, for one sender at a time."""

    async def deliver(self, batch: Sequence[Queued]) -> Sequence[Outcome]:
        """Hand over a run of envelopes, oldest first.

        Args:
            batch: at least one.

        Returns:
            an outcome for each of them, in their order. After the first `TryAgain` for one destination twin, all later
            ones for that twin are `TryAgain`, too, for they must not overtake. Other twins may still be served. When
            the whole relay is the trouble, every outcome after the first `TryAgain` is one.
        """
        ...

    async def close(self) -> None:
        """Let go of connections. Closing twice is harmless."""
        ...
