"""When to ping a client, what its pong proves, when the link is dead. No I/O; times are seconds of a monotonic clock.

TCP keeps the order and a WebSocket client answers a ping when it reads it. So a pong proves that the client has read
every entry that was written before the ping: only then may they be deleted from the mailbox (spec rmb 10.7 f). At most
one ping is on its way at a time.

A link is dead when a ping stays unanswered although the client could have answered: the clock of the limit stands still
while written bytes drain, while a large message of the client is still arriving, and while we ourselves do not read.
"""

from collections import deque
from dataclasses import dataclass

from relay.mailboxes import EntryId

UNCONFIRMED_MAX = 4096
"""Entries written and not confirmed, beyond which nothing more is written; a guess: well below what a mailbox holds,
and with a confirmation every 100 ms still 40,000 a second."""

CHECK_S = 5.0
"""How often a link with an unanswered ping is looked at; a guess, well below the limit."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often, how long.

    Attributes:
        idle_s: a client that is silent for this long gets a ping (spec rmb 5.7).
        dead_s: an unanswered ping ends the connection after this time (spec rmb 5.7).
        gap_s: shortest time between two pings; what is written in between is confirmed together. A guess.
    """

    idle_s: float = 20.0
    dead_s: float = 40.0
    gap_s: float = 0.1


class LinkDead(Exception):
    """The client does not answer."""


class Heartbeat:
    """The pings of one connection."""

    def __init__(self, now: float, rhythm: Rhythm) -> None:
        """Start with the handshake just done."""
        self._rhythm = rhythm
        self._unconfirmed: deque[EntryId] = deque()
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

    @property
    def waiting(self) -> bool:
        """Whether a ping is on its way."""
        return self._outstanding is not None

    @property
    def heard_at(self) -> float:
        """When the client's last complete frame came."""
        return self._heard_at

    def wrote(self, entry_id: EntryId) -> None:
        """An entry has been written."""
        self._unconfirmed.append(entry_id)

    def heard(self, now: float) -> None:
        """Any frame came from the client."""
        self._heard_at = now

    def pong(self, payload: bytes) -> list[EntryId]:
        """A pong came.

        Returns:
            the entries that it confirms; none if it answers no ping of ours.
        """
        if self._outstanding is None or payload != self._outstanding:
            return []
        self._outstanding = None
        confirmed = [self._unconfirmed.popleft() for _ in range(self._covered)]
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
            arriving_at: when bytes of the client last came that do not make a frame yet; `now` while we do not read.

        Returns:
            the payload of the ping that is due, if one is.

        Raises:
            LinkDead: the client could have answered and did not.
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
