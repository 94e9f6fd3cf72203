"""Who waits for answers to the requests of this run: in memory, and in the store for everything else.

An answer nearly always comes to the run that sent its request, so the round trip that asks the store for it can be
saved. Memory decides nothing: whether an answer still counts is asked in the script that delivers it.
"""

from collections.abc import Iterable, Sequence

from rmb_peer.local.queues import Damaged, LocalQueues, Waiting
from rmb_peer.registry.lru import Lru

REQUESTS_MAX = 10_000
"""Requests in memory; the others are asked for. A guess: twice what is under way at once, about 5 MB."""

DESTINATIONS_MAX = 16
TEXT_CHARS_MAX = 256
"""A request to more twins, or with longer names, is left to the store: so the bytes are bounded, too. Guesses."""


class Remembered:
    """A memory in front of `LocalQueues.recall`."""

    def __init__(self, queues: LocalQueues, requests_max: int = REQUESTS_MAX) -> None:
        """Begin with nothing in memory."""
        self._queues = queues
        self._waiting: Lru[str, Waiting] = Lru(requests_max)

    def keep(self, requests: Iterable[Waiting]) -> None:
        """These have just been written to the store."""
        for waiting in requests:
            text_chars = len(waiting.reply_to) + len(waiting.reference or "")
            if len(waiting.destinations) <= DESTINATIONS_MAX and text_chars <= TEXT_CHARS_MAX:
                self._waiting.put(waiting.uid, waiting)

    async def recall(self, uids: Sequence[str]) -> list[Waiting | Damaged | None]:
        """See `LocalQueues.recall`."""
        found: list[Waiting | Damaged | None] = [self._waiting.get(uid) for uid in uids]
        missing = [index for index, waiting in enumerate(found) if waiting is None]
        if missing:
            for index, waiting in zip(missing, await self._queues.recall([uids[i] for i in missing]), strict=True):
                found[index] = waiting
        return found
