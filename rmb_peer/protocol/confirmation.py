"""Which messages the other end has provably read, on a link that has no acknowledgements (rmb.1).

A WebSocket endpoint reads frames in order and answers each Ping (RFC 6455, 5.5.2). The Pong to a Ping that was sent
after some messages therefore proves that the other end has read these messages; a write that returned proves nothing,
because a dead connection swallows whatever the kernel's buffer takes (spec rmb 10.7 f).

One Ping is under way at a time. This module refuses to know sockets: it says when a Ping is due and what a Pong
confirms.
"""

from collections import deque
from typing import Generic, TypeVar

PING_IDLE_S = 20.0
"""Silence after which the link is tried (spec rmb 5.7)."""

DEAD_S = 40.0
"""Silence after which the link counts as dead (spec rmb 5.7)."""

T = TypeVar("T")


class Confirmation(Generic[T]):
    """Messages sent on one connection, from the write to the proof.

    Attributes:
        unconfirmed: sent and not yet proven, oldest first.
        unconfirmed_bytes: their size together.
    """

    def __init__(self, now_s: float, ping_gap_s: float = 0.0) -> None:
        """Begin with a connection that was just made.

        Args:
            now_s: monotonic seconds, as in every other call.
            ping_gap_s: least time from a Pong to the next Ping that confirms messages.
        """
        self.unconfirmed: deque[T] = deque()
        self.unconfirmed_bytes = 0
        self._sizes: deque[int] = deque()
        self._ping_covers: int | None = None  # messages that the Ping under way proves
        self._ping_gap_s = ping_gap_s
        self._ponged_s = now_s - ping_gap_s
        self._heard_s = now_s

    def sent(self, message: T, size_bytes: int) -> None:
        """A message is on its way."""
        self.unconfirmed.append(message)
        self._sizes.append(size_bytes)
        self.unconfirmed_bytes += size_bytes

    def heard(self, now_s: float) -> None:
        """Something arrived from the other end."""
        self._heard_s = now_s

    def ping_due_s(self) -> float | None:
        """When the next Ping is to be sent; `None` while one is under way."""
        if self._ping_covers is not None:
            return None
        return self._ponged_s + self._ping_gap_s if self.unconfirmed else self._heard_s + PING_IDLE_S

    def pinged(self) -> None:
        """A Ping was sent."""
        assert self._ping_covers is None
        self._ping_covers = len(self.unconfirmed)

    def ponged(self, now_s: float) -> list[T]:
        """The Pong to the Ping under way arrived.

        Returns:
            the messages that it proves, oldest first.
        """
        self._heard_s = self._ponged_s = now_s
        covered, self._ping_covers = self._ping_covers or 0, None
        for _ in range(covered):
            self.unconfirmed_bytes -= self._sizes.popleft()
        return [self.unconfirmed.popleft() for _ in range(covered)]

    def dead_s(self) -> float:
        """When the link counts as dead if nothing arrives until then."""
        return self._heard_s + DEAD_S
