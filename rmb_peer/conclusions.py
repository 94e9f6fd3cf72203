"""How things ended: errors told to local programs, dead letters kept, outbox entries forgotten.

One task writes them in batches, each batch at one instant: whenever the process dies, an entry is forgotten together
with its sender being told, or neither. Writing the same again tells nobody twice: errors carry marks, or end a
destination, which happens once.
"""

import asyncio
import logging
from collections.abc import Iterable

from rmb_peer.local.queues import DeadLetter, Delivery, LocalQueues
from rmb_peer.logs import event, get_logger

SETTLE_AFTER_S = 0.05
"""How long a forgotten entry may wait for others, so that the store is asked once for many. What a crash meanwhile
sends again is recognised as a repeat. A guess: several times what a lone request and its answer take."""

_LOG = get_logger("gateway")


class Conclusions:
    """Collects endings and writes them."""

    def __init__(self, queues: LocalQueues) -> None:
        """Write to `queues`."""
        self._queues = queues
        self._errors: list[Delivery] = []
        self._letters: list[DeadLetter] = []
        self._entries: list[str] = []
        self._something = asyncio.Event()
        self._soon: asyncio.TimerHandle | None = None
        self._writing = asyncio.Lock()

    def tell(self, error: Delivery) -> None:
        """Push an error to the `ret` list of a local program."""
        self._errors.append(error)
        self._something.set()

    def bury(self, letter: DeadLetter) -> None:
        """Keep a dead letter."""
        event(_LOG, logging.WARNING, "dead letter", kind=letter.kind, reason=letter.reason)
        self._letters.append(letter)
        self._something.set()

    def settle(self, entries: Iterable[str]) -> None:
        """Forget outbox entries, after everything that was told and buried before this call."""
        self._entries += entries
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_later(SETTLE_AFTER_S, self._something.set)

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._something.wait()
            await self.flush()

    async def flush(self) -> None:
        """Write what has been collected so far."""
        async with self._writing:
            self._something.clear()
            if self._soon is not None:
                self._soon.cancel()
                self._soon = None
            errors, self._errors = self._errors, []
            letters, self._letters = self._letters, []
            entries, self._entries = self._entries, []
            await self._queues.conclude(errors, letters, entries)


class Ticket:
    """One outbox entry with one or more messages made from it; settled when the last of them has ended."""

    __slots__ = ("_conclusions", "_entry", "_left")

    def __init__(self, entry: str, messages: int, conclusions: Conclusions) -> None:
        """Expect `messages` endings for `entry`."""
        self._entry = entry
        self._left = messages
        self._conclusions = conclusions

    def one_ended(self) -> None:
        """One of the messages arrived, or its sender was told that it did not."""
        self._left -= 1
        if self._left == 0:
            self._conclusions.settle((self._entry,))
