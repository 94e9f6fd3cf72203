"""`LocalQueues` in memory: for tests and simulations. Nothing survives the process."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from rmb_peer.local import keys
from rmb_peer.local.queues import DeadLetter, Delivery, MessageKind, Outcome, Taken, Waiting


class MemoryQueues:
    """See `LocalQueues`.

    Attributes:
        lists: what programs push to and pop from: index 0 is the head, where LPUSH puts things.
        outbox: what was taken and not settled.
        dead: dead letters, oldest first.
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
        self._waiting: dict[str, tuple[Waiting, float]] = {}
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
            self._waiting[request.uid] = (request, self._now() + request.ttl_s)

    async def recall(self, uids: Sequence[str]) -> list[Waiting | None]:
        """See `LocalQueues.recall`."""
        found = (self._waiting.get(uid) for uid in uids)
        return [entry[0] if entry and entry[1] > self._now() else None for entry in found]

    async def deliver(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        """See `LocalQueues.deliver`."""
        return [self._deliver(delivery) for delivery in deliveries]

    async def uid_key(self) -> bytes:
        """See `LocalQueues.uid_key`."""
        return self._uid_key

    async def announce(self, status: dict[str, str]) -> None:
        """See `LocalQueues.announce`."""
        self.status.update(status)

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

    def _deliver(self, delivery: Delivery) -> Outcome:
        if any(self._marks.get(mark, 0.0) > self._now() for mark in delivery.marks):
            return Outcome.REPEATED
        if len(self.lists.get(delivery.list_name, ())) >= keys.LIST_ENTRIES_MAX:
            return Outcome.FULL
        self.push(delivery.list_name, delivery.value)
        self._marks.update((mark, self._now() + delivery.ttl_s) for mark in delivery.marks)
        return Outcome.DELIVERED
