"""The contract between the gateway and the store in which local programs push and pop.

Implementations wait out a store that is away: a call returns when it has happened, however long that takes, and
repeating it after a lost connection does no harm. What they promise is written at each method and held by
tests/contracts. What is made for every message is a tuple: a frozen dataclass takes four times as long to make.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal, NamedTuple, Protocol

MessageKind = Literal["request", "response"]
LetterKind = Literal["request", "response", "received", "record"]


class Taken(NamedTuple):
    """One item moved from an input list into the outbox.

    Attributes:
        entry: its id there; never used twice, the same after a restart.
        kind: which list it came from.
        raw: what the program pushed.
        found_since_s: for what an earlier run left behind, Unix seconds (of the store) at which that run took it, so
            that a lifetime that began then does not begin anew; `None` for what was just taken.
        remembered: whether an earlier run got as far as `remember` with it.
    """

    entry: str
    kind: MessageKind
    raw: bytes
    found_since_s: int | None = None
    remembered: bool = False


class Waiting(NamedTuple):
    """A request that waits for answers.

    Attributes:
        uid: of the request on the wire.
        reference: the client's own `ref`.
        reply_to: the client's `ret` list.
        ttl_s: its lifetime in seconds.
        destinations: twins that were asked, as often as they were asked; empty when not known.
        deadline_s: Unix second at which those that are silent become errors; 0 in what `recall` returns.
        entry: outbox id it was made from; empty in what `recall` returns.
    """

    uid: str
    reference: str | None
    reply_to: str
    ttl_s: int
    destinations: tuple[int, ...]
    deadline_s: int = 0
    entry: str = ""


@dataclass(frozen=True, slots=True)
class Damaged:
    """In the place of a `Waiting`: bytes that are no record any more.

    Attributes:
        record: what is stored.
    """

    record: bytes


@dataclass(frozen=True, slots=True)
class Overdue:
    """A request whose deadline has passed.

    Attributes:
        uid: of the request.
        waiting: who waits, if that can still be read.
        silent: twins that have not ended, as often as they were asked.
    """

    uid: str
    waiting: Waiting | Damaged
    silent: tuple[int, ...]


class Ending(NamedTuple):
    """What a delivery means for one destination of a request.

    Each destination ends once: by answers of its own, or by one error of ours, whichever the store sees first.

    Attributes:
        uid: of the request.
        twin: the destination.
        alone: whether it is the only one.
        ours: whether this is an error of ours, or means the same as one, and no answer.
        kept_s: how long further answers are accepted after all have ended.
    """

    uid: str
    twin: int
    alone: bool
    ours: bool
    kept_s: int

    @classmethod
    def of(cls, waiting: Waiting, twin: int, *, ours: bool, kept_s: int | None = None) -> "Ending":
        """The ending of `twin`'s part in a request."""
        alone = len(waiting.destinations) <= 1
        return cls(waiting.uid, twin, alone, ours, waiting.ttl_s if kept_s is None else kept_s)


class Delivery(NamedTuple):
    """A value for a list of a local program.

    Attributes:
        list_name: Redis list.
        value: JSON.
        marks: names that make a repeat recognisable, two at most; one that was used before stops the delivery.
        ttl_s: how long the marks are kept.
        ending: the destination that ends with it, if one does.
    """

    list_name: str
    value: bytes
    marks: tuple[str, ...]
    ttl_s: int
    ending: Ending | None = None


class Outcome(Enum):
    """How a delivery ended."""

    DELIVERED = "delivered"
    REPEATED = "repeated"
    FULL = "full"
    LATE = "late"
    """An answer from a destination whose ending was told already."""
    GONE = "gone"
    """The program left word that it no longer waits (`keys.CALLER_GONE`)."""
    FAILED = "failed"
    """The store cannot do it, for example because the name belongs to something that is no list."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Something that could not be delivered.

    Attributes:
        kind: "request" or "response" as taken here, "received" from a relay, "record" of our own that is damaged.
        raw: the bytes as they came.
        reason: one sentence for people.
        uid: of the message, where it is known.
        list_name: the list that could not take `raw`, where that is what went wrong.
    """

    kind: LetterKind
    raw: bytes
    reason: str
    uid: str = ""
    list_name: str = ""


@dataclass(frozen=True, slots=True)
class JournalLimits:
    """How much of the journal is kept.

    Attributes:
        bytes_max: of packed chunks, roughly; 0 keeps no journal.
        age_s_max: seconds.
    """

    bytes_max: int
    age_s_max: int


class JournalFailed(Exception):
    """The store did not take a chunk of the journal."""


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
        """Keep who waits for which uid, and by when, in the order of the outbox; atomically."""
        ...

    async def still_open(self, waiting: Sequence[Waiting]) -> list[frozenset[int]]:
        """For requests that an earlier run remembered: the destinations of each that have not ended."""
        ...

    async def overdue(self, now_s: float, count_max: int) -> list[Overdue]:
        """Requests whose deadline has passed, up to a number, oldest first. They stay until their endings are told."""
        ...

    async def forget(self, uids: Sequence[str]) -> None:
        """Drop everything that is kept for these requests."""
        ...

    async def recall(self, uids: Sequence[str]) -> list[Waiting | Damaged | None]:
        """Who waits for each uid; `None` when nobody does (any more)."""
        ...

    async def deliver(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        """Push each value at the head of its list and set its marks, atomically for each, in this order.

        Nothing is pushed, and no mark set, when one of the marks is set already, the list is full, or the push fails.

        With an `ending` of ours: the destination ends even if the push fails, and nothing is pushed if it had ended
        before. With an answer's: nothing is pushed if an error of ours came first.
        """
        ...

    async def conclude(
        self, errors: Sequence[Delivery], letters: Sequence[DeadLetter], entries: Sequence[str]
    ) -> list[Outcome]:
        """`deliver`, `bury` and `settle` at one instant: whoever forgets an entry has told its sender.

        An error that its list cannot take becomes a dead letter.
        """
        ...

    async def uid_key(self) -> bytes:
        """32 random bytes, made once for this store and the same ever after."""
        ...

    async def announce(self, status: dict[str, str]) -> None:
        """Publish who this gateway is, for commands that talk only to the store."""
        ...

    async def publish(self, live: bytes) -> None:
        """Publish what the gateway knows at the moment; replaces what was published before."""
        ...

    async def append_journal(self, chunk: bytes, limits: JournalLimits, now_s: float) -> None:
        """Add a packed chunk of the journal and forget what exceeds the limits. One attempt: raises on failure.

        Raises:
            JournalFailed: the store did not take it.
        """
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
