"""How an envelope on an acknowledged link can end, and what breaks the link."""

from dataclasses import dataclass
from enum import IntEnum

from rmb_peer.protocol.errors import PeerError

SUBPROTOCOL = "rmb.2"
"""What a client offers, and a relay that knows it selects, in `Sec-WebSocket-Protocol` (RFC 6455, 1.9)."""

REASON_BYTES_MAX = 512
"""Longest reason in a frame. A guess: one sentence with names in it."""


class Ending(IntEnum):
    """Values as in `schemas/link.proto`."""

    SAFE = 0
    """Kept where a crash does not reach it: in the relay's store, or in a list of the gateway."""
    AT_PEER = 1
    """Gateway to relay only: the destination gateway has it in a list."""
    REFUSED = 2
    """It goes nowhere; the outcome says why."""


class LinkBroken(PeerError):
    """The other side does not keep to the rules of the link; the connection has to end."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one envelope ended.

    Attributes:
        ending: which of the three.
        code: of a refusal.
        reason: of a refusal, one sentence.
        retry_after_ms: of a refusal; 0 when sending it again is possible at any time, or pointless.
    """

    ending: Ending
    code: int = 0
    reason: str = ""
    retry_after_ms: int = 0


IS_SAFE = Outcome(Ending.SAFE)
IS_AT_PEER = Outcome(Ending.AT_PEER)


@dataclass(slots=True)
class Run:
    """Envelopes with consecutive numbers that ended the same way: the first, and how many more."""

    first: int
    more: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Window:
    """How much may be on its way and not ended.

    Attributes:
        messages: envelopes.
        size_bytes: of all of them together; one alone may be larger.
    """

    messages: int
    size_bytes: int

    def has_room(self, messages: int, size_bytes: int, next_bytes: int) -> bool:
        """Whether one more of `next_bytes` may follow while so many of so many bytes are on their way."""
        if messages == 0:
            return self.messages > 0
        return messages < self.messages and size_bytes + next_bytes <= self.size_bytes


FIRST_WINDOW = Window(64, 256 * 1024)
"""What every side accepts before its own window has been heard. A guess: enough for the first round trip."""
