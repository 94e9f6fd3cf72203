"""The contract between the gateway and the store in which local programs push and pop.

Implementations wait out a store that is away: a call returns when it has happened, however long that takes, and
repeating it after a lost connection does no harm. What they promise is written at each method and held by
tests/contracts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal, Protocol

MessageKind = Literal["request", "response"]


@dataclass(frozen=True, slots=True)
class Taken:
    """One item moved from an input list into the outbox.

    Attributes:
        entry: its id there; never used twice, the same after a restart.
        kind: which list it came from.
        raw: what the program pushed.
        found_since_s: for what an earlier run left behind, Unix seconds (of the store) at which that run took it, so
            that a lifetime that began then does not begin anew; `None` for what was just taken.
    """

    entry: str
    kind: MessageKind
    raw: bytes
    found_since_s: int | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request that waits for answers.

    Attributes:
        uid: of the request on the wire.
        reference: the client's own `ref`.
        reply_to: the client's `ret` list.
        ttl_s: seconds until it is forgotten.
        destinations: twins that were asked; empty when not known.
    """

    uid: str
    reference: str | None
    reply_to: str
    ttl_s: int
    destinations: frozenset[int]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A value for a list of a local program.

    Attributes:
        list_name: Redis list.
        value: JSON.
        marks: names that make a repeat recognisable; one that was used before stops the delivery.
        ttl_s: how long the marks are kept.
    """

    list_name: str
    value: bytes
    marks: tuple[str, ...]
    ttl_s: int


class Outcome(Enum):
    """How a delivery ended."""

    DELIVERED = "delivered"
    REPEATED = "repeated"
    FULL = "full"
    FAILED = "failed"
    """The store cannot do it, for example because the name belongs to something that is no list."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Something that could not be delivered.

    Attributes:
        kind: "request" or "response" as taken here, "received" from a relay.
        raw: the bytes as they came.
        reason: one sentence for people.
    """

    kind: Literal["request", "response", "received"]
    raw: bytes
    reason: str


class LocalQueues(Protocol):
    """Input lists, outbox, backlog, service and `ret` lists, dead letters."""

    async def take(self, count_max: int) -> list[Taken]:
        """Move items from the two input lists into the outbox, oldest first, neither list starving the other.

        Waits until there is at least one. What an earlier run left in the outbox comes first.
        One caller at a time.
        """
        ...

    async def settle(self, entries: Sequence[str]) -> None:
        """Forget outbox entries that are safely gone."""
        ...

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """Keep dead letters, up to a number; the oldest go first."""
        ...

    async def remember(self, waiting: Sequence[Waiting]) -> None:
        """Keep who waits for which uid."""
        ...

    async def recall(self, uids: Sequence[str]) -> list[Waiting | None]:
        """Who waits for each uid; `None` when nobody does (any more)."""
        ...

    async def deliver(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        """Push each value at the head of its list and set its marks, atomically for each, in this order.

        Nothing is pushed, and no mark set, when one of the marks is set already, the list is full, or the push fails.
        """
        ...

    async def uid_key(self) -> bytes:
        """32 random bytes, made once for this store and the same ever after."""
        ...

    async def announce(self, status: dict[str, str]) -> None:
        """Publish who this gateway is, for commands that talk only to the store."""
        ...

    async def keep_own_record(self, record: bytes) -> None:
        """Keep our record in the registry, in whatever form, until it is replaced."""
        ...

    async def own_record(self) -> bytes | None:
        """What was kept last; `None` when nothing was."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...
