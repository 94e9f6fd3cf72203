"""When to ping the other end of a link, what its pong proves, when the link is dead (rmb.1; gateway and relay).

TCP keeps the order, and a WebSocket endpoint answers a ping when it reads it (RFC 6455, 5.5.2). So a pong proves that
the other end has read everything that was written before the ping: only then may it be forgotten here. A write that
returned proves nothing, because a dead connection swallows whatever the kernel's buffer takes (spec rmb 10.7 f). At
most one ping is on its way at a time.

A link is dead when a ping stays unanswered although the other end could have answered: the clock of the limit stands
still while written bytes drain, while a large message is still arriving, and while we ourselves do not read.

No I/O; times are seconds of a monotonic clock.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

CHECK_S = 5.0
"""How often a link with an unanswered ping is looked at; a guess, well below the limit."""


Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often, how long.

    Attributes:
        idle_s: an end that is silent for this long gets a ping (spec rmb 5.7).
        dead_s: an unanswered ping ends the connection after this time (spec rmb 5.7).
        gap_s: shortest time between two pings; what is written in between is confirmed together. A guess.
    """

    idle_s: float = 20.0
    dead_s: float = 40.0
    gap_s: float = 0.1


class LinkDead(Exception):
    """The other end does not answer."""


class Heartbeat(Generic[Entry]):
    """The pings of one connection, and what was written on it and is not yet proven to be read."""

    def __init__(self, now: float, rhythm: Rhythm) -> None:
        """Start with the handshake just done."""
        self._rhythm = rhythm
        self._unconfirmed: list[Entry] = []
        self._covered = 0
        """How many of the unconfirmed entries the ping on its way follows."""
        self._number = 0
        self._outstanding: bytes | None = None
        self._pinged_at = now - rhythm.gap_s
        self._heard_at = now
        self._progress_at = now
        self._checked_at = now
        self._drained = 0

    @property
    def unconfirmed(self) -> int:
        """Entries written and not confirmed."""
        return len(self._unconfirmed)

    def take_unconfirmed(self) -> list[Entry]:
        """Everything that was not confirmed, when the connection has ended."""
        entries, self._unconfirmed, self._covered, self._outstanding = self._unconfirmed, [], 0, None
        return entries

    @property
    def waiting(self) -> bool:
        """Whether a ping is on its way."""
        return self._outstanding is not None

    @property
    def heard_at(self) -> float:
        """When the last complete frame came."""
        return self._heard_at

    def unanswered_s(self, now: float) -> float:
        """How long a ping has been on its way while nothing came or left; 0 while none is.

        Bytes that leave, or arrive without making a frame, count as of the last call of `expire`.
        """
        return now - max(self._progress_at, self._heard_at) if self.waiting else 0.0

    def wrote(self, entry: Entry) -> None:
        """An entry has been written."""
        self._unconfirmed.append(entry)

    def heard(self, now: float) -> None:
        """A complete frame came."""
        self._heard_at = now

    def pong(self, payload: bytes) -> list[Entry]:
        """A pong came.

        Returns:
            the entries that it confirms; none if it answers no ping of ours.
        """
        if self._outstanding is None or payload != self._outstanding:
            return []
        self._outstanding = None
        confirmed = self._unconfirmed[: self._covered]
        del self._unconfirmed[: self._covered]
        self._covered = 0
        return confirmed

    def ping(self, now: float) -> bytes:
        """Make a ping now; its payload, to be written after everything that was reported as written."""
        assert self._outstanding is None
        self._number += 1
        self._outstanding = self._number.to_bytes(8)
        self._covered = len(self._unconfirmed)
        self._pinged_at = self._progress_at = self._checked_at = now
        return self._outstanding

    def expire(self, now: float, drained_bytes: int, arriving_at: float) -> bytes | None:
        """The time has come, or something was written.

        Args:
            now: the time.
            drained_bytes: bytes that have left our own buffers so far, ever.
            arriving_at: when bytes last came that do not make a frame yet; `now` while we do not read.

        Returns:
            the payload of the ping that is due, if one is.

        Raises:
            LinkDead: the other end could have answered and did not.
        """
        if self._outstanding is None:
            self._drained = drained_bytes
            confirm = bool(self._unconfirmed) and now >= self._pinged_at + self._rhythm.gap_s
            return self.ping(now) if confirm or now >= self._heard_at + self._rhythm.idle_s else None
        self._checked_at = now
        if drained_bytes > self._drained:
            self._drained = drained_bytes
            self._progress_at = now
        self._progress_at = max(self._progress_at, arriving_at)
        if now >= self._progress_at + self._rhythm.dead_s:
            raise LinkDead
        return None

    def deadline(self) -> float:
        """When to call `expire` if nothing else happens."""
        if self._outstanding is not None:
            return min(self._progress_at + self._rhythm.dead_s, self._checked_at + CHECK_S)
        idle_at = self._heard_at + self._rhythm.idle_s
        return min(idle_at, self._pinged_at + self._rhythm.gap_s) if self._unconfirmed else idle_at
