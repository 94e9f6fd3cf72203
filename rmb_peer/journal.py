"""What happened to messages: noted in memory, counted, and written in packed chunks when there is time.

Advisory. Noting costs under a microsecond and never waits; a crash loses the last quarter of a second; a store that
does not take a chunk loses that chunk and nothing else. What must not be lost is in outbox, backlog and deadlines, and
`rmb-peer where` reads it from there. This module refuses to know how a chunk is stored.
"""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from rmb_peer.local.journal_chunks import pack
from rmb_peer.local.queues import JournalFailed, JournalLimits, LocalQueues
from rmb_peer.logs import event, get_logger

CODES = {
    "taken": "taken from the program's list",
    "resumed": "found in the outbox by a new run",
    "refused": "refused before sending",
    "sealed": "sealed and signed",
    "not-sent": "could not be sent",
    "read-by-relay": "a relay has read it",
    "stored-at-relay": "a relay has stored it",
    "stored-at-peer": "the other gateway has stored it",
    "received": "received and verified",
    "queued": "pushed to the service's list",
    "repeated": "recognised as a repeat",
    "service-failed": "a worker left it unfinished",
    "reply-taken": "the service's answer was taken",
    "answered": "answered",
    "answered-error": "answered with an error",
    "late": "an answer came after its destination had ended",
    "expired": "no answer in time",
    "not-queued": "its list could not take it",
}
"""Every code and what it says to people. Who has it in hand at the moment is read from the leases themselves;
`stored-at-…` only an acknowledged link can tell."""

WRITE_EVERY_S = 0.25
"""Longest time that a note waits to be written; what a crash may lose. A guess."""

CHUNK_EVENTS_MAX = 2000
"""Events of one chunk: about 100 kB before compression. A guess."""

PENDING_EVENTS_MAX = 20_000
"""Events that wait while the store is slow; then the oldest are dropped and counted. A guess: some megabytes."""

TEXT_CHARS_MAX = 300
"""Longest text of a note: uids, sessions and references are chosen by others. A guess."""

NAMED_MAX = 20
"""Destinations of one request that are named; the rest is a number."""

BYTES_DEFAULT = 32 * 1024 * 1024
"""A guess: at about 30 compressed bytes for each event a million of them."""

AGE_S_DEFAULT = 24 * 3600
"""A guess: what went wrong yesterday is asked for today."""

_LOG = get_logger("journal")


class Journal:
    """Notes of one gateway.

    Attributes:
        counts: how often each code was noted since the start.
        dropped: events that were never written.
        last_error: Unix seconds and text of the last note that told of a failure, or `None`.
    """

    def __init__(self, limits: JournalLimits | None = None, wall_clock: Callable[[], float] = time.time) -> None:
        """Begin without notes.

        Args:
            limits: how much the store keeps; `None`, or 0 bytes, means that notes are only counted.
            wall_clock: Unix seconds.
        """
        self.counts: Counter[str] = Counter()
        self.dropped = 0
        self.last_error: tuple[float, str] | None = None
        self._limits = limits or JournalLimits(0, 0)
        self._keeps = self._limits.bytes_max > 0
        self._wall_clock = wall_clock
        self._pending: deque[tuple[float, str, str, dict[str, Any]]] = deque(maxlen=PENDING_EVENTS_MAX)
        self._something = asyncio.Event()
        self._due = False
        """Whether `_something` is set: asked for every note."""
        self._failing = False

    def note(self, uid: str, code: str, /, **fields: Any) -> None:
        """Something happened to a message.

        Args:
            uid: of the message.
            code: one of `CODES`.
            fields: details; no payloads.
        """
        self.counts[code] += 1
        if "why" in fields:
            self.last_error = self._wall_clock(), fields["why"]
        if not self._keeps:
            return
        if len(self._pending) == PENDING_EVENTS_MAX:
            self.dropped += 1
        if len(uid) > TEXT_CHARS_MAX:
            uid = uid[:TEXT_CHARS_MAX]
        for name, value in fields.items():
            if type(value) is str and len(value) > TEXT_CHARS_MAX:
                fields[name] = value[:TEXT_CHARS_MAX]
        self._pending.append((self._wall_clock(), uid, code, fields))
        if not self._due:
            self._due = True
            self._something.set()

    async def run(self, queues: LocalQueues) -> None:
        """Write notes until cancelled."""
        while True:
            await self._something.wait()
            await asyncio.sleep(WRITE_EVERY_S)
            await self.flush(queues)

    async def flush(self, queues: LocalQueues) -> None:
        """Write what was noted so far; what the store does not take is dropped."""
        self._something.clear()
        self._due = False
        while self._pending:
            count = min(CHUNK_EVENTS_MAX, len(self._pending))
            events = []
            for _ in range(count):
                at_s, uid, code, fields = self._pending.popleft()
                events.append((int(at_s * 1000), uid, code, fields))
            try:
                await queues.append_journal(pack(events), self._limits, self._wall_clock())
            except JournalFailed as error:
                self.dropped += len(events)
                if not self._failing:
                    event(_LOG, logging.WARNING, "the journal cannot be written", reason=str(error))
                self._failing = True
                return
            self._failing = False


def named(destinations: tuple[int, ...]) -> list[int | str]:
    """Destinations for a note: the first ones, and how many more there are."""
    shown: list[int | str] = list(destinations[:NAMED_MAX])
    return [*shown, f"and {len(destinations) - NAMED_MAX} more"] if len(destinations) > NAMED_MAX else shown
