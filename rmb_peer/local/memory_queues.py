"""`LocalQueues` in memory: for tests and simulations. Nothing survives the process."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence

from rmb_peer.local import keys
from rmb_peer.local.queues import (
    Damaged,
    DeadLetter,
    Delivery,
    Ending,
    JournalLimits,
    MessageKind,
    Outcome,
    Overdue,
    Taken,
    Waiting,
)


class MemoryQueues:
    """See `LocalQueues`.

    Attributes:
        lists: what programs push to and pop from: index 0 is the head, where LPUSH puts things.
        outbox: what was taken and not settled.
        dead: dead letters, oldest first.
        gone: lists whose readers left word that they no longer wait.
        status, live: what was announced and published.
        journal: chunks, oldest first.
    """

    def __init__(self, *, now: Callable[[], float], random_bytes: Callable[[int], bytes]) -> None:
        """Use a clock in seconds and a source for the uid key."""
        self.lists: dict[str, deque[bytes]] = {}
        self.outbox: dict[str, Taken] = {}
        self.dead: deque[DeadLetter] = deque(maxlen=keys.DEAD_ENTRIES_MAX)
        self.status: dict[str, str] = {}
        self._now = now
        self._own_record: bytes | None = None
        self._uid_key = random_bytes(32)
        self.gone: set[str] = set()
        self.live = b""
        self.journal: list[bytes] = []
        self._waiting: dict[str, tuple[Waiting, float]] = {}
        """With the time (of `now`) at which it is forgotten."""
        self._open: dict[str, Counter[int]] = {}
        """By uid: how often each twin was asked that has not ended."""
        self._told: set[tuple[str, int]] = set()
        self._marks: dict[str, float] = {}
        self._entries = 0
        self._pushed = asyncio.Event()

    def push(self, list_name: str, value: bytes) -> None:
        """What LPUSH does."""
        self.lists.setdefault(list_name, deque()).appendleft(value)
        self._pushed.set()

    def pop_oldest(self, list_name: str) -> bytes | None:
        """What RPOP does."""
        items = self.lists.get(list_name)
        return items.pop() if items else None

    async def take(self, count_max: int) -> list[Taken]:
        """See `LocalQueues.take`."""
        while not (items := self._take_now(count_max)):
            self._pushed.clear()
            await self._pushed.wait()
        return items

    async def settle(self, entries: Sequence[str]) -> None:
        """See `LocalQueues.settle`."""
        for entry in entries:
            self.outbox.pop(entry, None)

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """See `LocalQueues.bury`."""
        self.dead.extend(letters)

    async def remember(self, waiting: Sequence[Waiting]) -> None:
        """See `LocalQueues.remember`."""
        for request in waiting:
            self._waiting[request.uid] = (request, float("inf"))
            self._open[request.uid] = Counter(request.destinations)

    async def still_open(self, waiting: Sequence[Waiting]) -> list[frozenset[int]]:
        """See `LocalQueues.still_open`."""
        return [frozenset(self._open.get(request.uid, ())) for request in waiting]

    async def overdue(self, now_s: float, count_max: int) -> list[Overdue]:
        """See `LocalQueues.overdue`."""
        waiting = [self._waiting[uid][0] for uid in self._open]
        due = sorted((w for w in waiting if w.deadline_s <= now_s), key=lambda request: request.deadline_s)
        return [Overdue(w.uid, w, tuple(self._open[w.uid].elements())) for w in due[:count_max]]

    async def forget(self, uids: Sequence[str]) -> None:
        """See `LocalQueues.forget`."""
        for uid in uids:
            self._waiting.pop(uid, None)
            self._open.pop(uid, None)

    async def recall(self, uids: Sequence[str]) -> list[Waiting | Damaged | None]:
        """See `LocalQueues.recall`."""
        return [self._recall(uid) for uid in uids]

    async def deliver(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        """See `LocalQueues.deliver`."""
        return [self._deliver(delivery) for delivery in deliveries]

    async def conclude(
        self, errors: Sequence[Delivery], letters: Sequence[DeadLetter], entries: Sequence[str]
    ) -> list[Outcome]:
        """See `LocalQueues.conclude`."""
        outcomes = await self.deliver(errors)
        for error, outcome in zip(errors, outcomes, strict=True):
            if outcome is Outcome.FULL:
                reason = f"the error could not be pushed to the list '{error.list_name}': full"
                uid = error.ending.uid if error.ending else ""
                self.dead.append(DeadLetter("response", error.value, reason, uid, error.list_name))
        await self.bury(letters)
        await self.settle(entries)
        return outcomes

    async def uid_key(self) -> bytes:
        """See `LocalQueues.uid_key`."""
        return self._uid_key

    async def announce(self, status: dict[str, str]) -> None:
        """See `LocalQueues.announce`."""
        self.status.update(status)

    async def publish(self, live: bytes) -> None:
        """See `LocalQueues.publish`."""
        self.live = live

    async def append_journal(self, chunk: bytes, limits: JournalLimits, now_s: float) -> None:
        """See `LocalQueues.append_journal`. Only the bytes are bounded."""
        self.journal.append(chunk)
        while len(self.journal) > 1 and sum(map(len, self.journal)) > limits.bytes_max:
            del self.journal[0]

    async def keep_own_record(self, record: bytes) -> None:
        """See `LocalQueues.keep_own_record`."""
        self._own_record = record

    async def own_record(self) -> bytes | None:
        """See `LocalQueues.own_record`."""
        return self._own_record

    async def close(self) -> None:
        """See `LocalQueues.close`."""

    def _take_now(self, count_max: int) -> list[Taken]:
        sources: list[tuple[MessageKind, str]] = [("request", keys.LOCAL_REQUESTS), ("response", keys.LOCAL_REPLIES)]
        items: list[Taken] = []
        while sources and len(items) < count_max:
            kind, list_name = sources.pop(0)
            raw = self.pop_oldest(list_name)
            if raw is not None:
                self._entries += 1
                items.append(Taken(f"{self._entries}-0", kind, raw))
                sources.append((kind, list_name))
        self.outbox.update((item.entry, item) for item in items)
        return items

    def _recall(self, uid: str) -> Waiting | None:
        request, until = self._waiting.get(uid, (None, 0.0))
        return request if until > self._now() else None

    def _deliver(self, delivery: Delivery) -> Outcome:
        if any(self._marks.get(mark, 0.0) > self._now() for mark in delivery.marks):
            return Outcome.REPEATED
        ending = delivery.ending
        if ending and ending.ours and not self._tell(ending):
            return Outcome.REPEATED
        if delivery.list_name in self.gone:
            return Outcome.GONE
        if len(self.lists.get(delivery.list_name, ())) >= keys.LIST_ENTRIES_MAX:
            return Outcome.FULL
        if ending and not ending.ours and not self._answer(ending):
            return Outcome.LATE
        self.push(delivery.list_name, delivery.value)
        self._marks.update((mark, self._now() + delivery.ttl_s) for mark in delivery.marks)
        return Outcome.DELIVERED

    def _tell(self, ending: Ending) -> bool:
        asked = self._open.get(ending.uid, Counter())
        if not asked[ending.twin]:
            return False
        asked[ending.twin] -= 1
        if not asked[ending.twin]:
            del asked[ending.twin]
            self._told.add((ending.uid, ending.twin))
        self._finish_if_done(ending, 0 if ending.alone else ending.kept_s)
        return True

    def _answer(self, ending: Ending) -> bool:
        asked = self._open.get(ending.uid, Counter())
        if not asked.pop(ending.twin, 0):
            return (ending.uid, ending.twin) not in self._told and self._recall(ending.uid) is not None
        self._finish_if_done(ending, ending.kept_s)
        return True

    def _finish_if_done(self, ending: Ending, kept_s: int) -> None:
        if not self._open[ending.uid]:
            del self._open[ending.uid]
            self._waiting[ending.uid] = (self._waiting[ending.uid][0], self._now() + kept_s)
