"""The memory of who waits: what it saves, and what it leaves to the store."""

from collections.abc import Sequence

from rmb_peer.local.memory_queues import MemoryQueues
from rmb_peer.local.queues import Damaged, Waiting
from rmb_peer.remembered import DESTINATIONS_MAX, TEXT_CHARS_MAX, Remembered


class Store(MemoryQueues):
    """Notes for which requests it is asked."""

    def __init__(self) -> None:
        super().__init__(now=lambda: 0.0, random_bytes=bytes)
        self.asked: list[str] = []

    async def recall(self, uids: Sequence[str]) -> list[Waiting | Damaged | None]:
        self.asked += uids
        return await super().recall(uids)


def waiting(uid: str, *, reply_to: str = "ret", destinations: int = 1) -> Waiting:
    return Waiting(uid, None, reply_to, 60, tuple(range(1, destinations + 1)))


async def test_the_store_is_asked_for_what_is_not_in_memory() -> None:
    """Each answer stands in its place, whoever gave it."""
    store = Store()
    ours, earlier = waiting("ours"), waiting("of an earlier run")
    await store.remember([ours, earlier])
    remembered = Remembered(store)
    remembered.keep([ours])
    assert await remembered.recall(["of an earlier run", "ours", "nobody's"]) == [earlier, ours, None]
    assert store.asked == ["of an earlier run", "nobody's"]
    assert await remembered.recall([]) == []


async def test_what_is_large_or_long_ago_is_left_to_the_store() -> None:
    """The memory is bounded by count, and by the bytes of each request."""
    store = Store()
    remembered = Remembered(store, requests_max=2)
    requests = [
        waiting("long", reply_to="r" * (TEXT_CHARS_MAX + 1)),
        waiting("many", destinations=DESTINATIONS_MAX + 1),
        waiting("oldest"),
        waiting("largest", reply_to="r" * TEXT_CHARS_MAX, destinations=DESTINATIONS_MAX),
        waiting("newest"),
    ]
    await store.remember(requests)
    remembered.keep(requests)
    assert await remembered.recall([request.uid for request in requests]) == requests
    assert store.asked == ["long", "many", "oldest"]
