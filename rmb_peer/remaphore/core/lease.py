"""The times of a lease: when it is renewed, when its holder must let go, when it must be gone.

The server counts from the moment it stored a renewal, which is later than the moment we sent it. So whoever counts from
the sending and stops at a fraction below one has stopped before the server gives the lock to somebody else.
"""

from dataclasses import dataclass

LEASE_S_MIN = 1
"""NATS counts the life of a message in whole seconds."""

LEASE_S_MAX = 24 * 3600
"""A guess: a lock that a dead holder blocks for longer is no help."""

RENEW_AT = 1 / 3
LET_GO_AT = 2 / 3
"""One more renewal can be tried in between. Then the command is asked to end (SIGTERM)."""
KILL_AT = 5 / 6
"""The rest is reserve for a slow machine and for clocks that do not run alike."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease of a length, last confirmed for a renewal that was sent at a time (any steady clock)."""

    length_s: int
    sent_s: float

    @property
    def renew_s(self) -> float:
        """When the next renewal is sent."""
        return self.sent_s + self.length_s * RENEW_AT

    @property
    def let_go_s(self) -> float:
        """When the command is asked to end, unless a renewal has been confirmed."""
        return self.sent_s + self.length_s * LET_GO_AT

    @property
    def kill_s(self) -> float:
        """When the command is killed."""
        return self.sent_s + self.length_s * KILL_AT

    def renewed(self, sent_s: float) -> "Lease":
        """The lease after a renewal that was sent at this time has been confirmed."""
        return Lease(self.length_s, sent_s)
