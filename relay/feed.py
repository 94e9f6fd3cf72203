"""What one connected session is to be sent next: its mailbox, oldest first, each entry once.

A feed is in one of two modes.

*Backlog*: it reads pages from the mailbox, after the last entry it knows of. Every feed starts here.

*Live*: it has everything that is in the mailbox, and each entry that this process appends is handed to it with its
content, so that nothing is read at all.

It goes live when a page reaches the end of the mailbox. What was appended while that page travelled may or may not be
in it; so entries handed over in the meantime are kept aside, and those that are newer than the page are put behind it.
It goes back to backlog when its queue is full, which leaves the rest in the mailbox: memory stays bounded.

Ids that do not grow (somebody deleted the stream and set the clock back), or entries that somebody else appended, make
it *rewind*: read from the start again and leave out what has been taken already.

What other processes append is counted in the store. Each of our own appends is answered with that count, and each of
theirs tells it. A count that is new makes the feed *look*: it goes to backlog and reads on, after the newest entry it
knows, with a page that leaves after the count came. So an entry of ours is never put behind a gap.

This module refuses to know how entries are written, and when they count as delivered.
"""

from collections.abc import Awaitable, Callable, Iterable

from relay.bell import Bell
from relay.horizon import Horizon
from relay.mailboxes import START, Entry, EntryId, Page

QUEUE_ENTRIES_MAX = 256
"""Entries held for one session (spec rmb 6.10)."""

QUEUE_BYTES_MAX = 1024 * 1024
"""Bytes held for one session; a single larger entry is held when it is alone. A guess."""


class Feed:
    """The entries for one session. One task takes; appends are offered from anywhere in the event loop."""

    def __init__(
        self,
        read: Callable[[EntryId], Awaitable[Page]],
        *,
        entries_max: int = QUEUE_ENTRIES_MAX,
        bytes_max: int = QUEUE_BYTES_MAX,
        horizon: Horizon | None = None,
    ) -> None:
        """Start in backlog mode, before the oldest entry.

        Args:
            read: gives the page after an id.
            entries_max: bound of the queue.
            bytes_max: bound of the queue.
            horizon: numbers the senders that came from elsewhere.
        """
        self._horizon = horizon or Horizon()
        self.verified = -1
        """Of the horizon, when the last page left that reached the end of the mailbox."""
        self._foreign = 0
        """Entries of other processes that have been read, or will be before anything newer is handed over."""
        self._again = False
        """Whether the page that travels, if one does, may have left too early to hold everything."""
        self._read = read
        self._entries_max = entries_max
        self._bytes_max = bytes_max
        self._queue: list[Entry] = []
        self._queued_bytes = 0
        self._live = False
        self._known: EntryId = START
        """The newest entry that was queued or taken."""
        self._paged: EntryId = START
        """The newest entry that came by a page and may still be offered, late. `START` when none can be."""
        self._before: EntryId = START
        """The newest entry that was known at a rewind. What is offered late up to here was taken and deleted, or has an
        old id and is new: only the mailbox can tell."""
        self._aside: list[Entry] | None = None
        """Entries offered while a page travels; `None` when none travels, or when they became too many."""
        self._aside_bytes = 0
        self._taken: set[EntryId] = set()
        """Taken, and not yet deleted from the mailbox."""
        self._skip: frozenset[EntryId] | None = None
        """After a rewind: what was taken before it."""
        self._rewound = False
        self._stirred = Bell()

    @property
    def live(self) -> bool:
        """Whether appends are handed over directly."""
        return self._live

    @property
    def drained(self) -> bool:
        """Whether everything in the mailbox has been taken, as far as this process knows."""
        return self._live and not self._queue

    @property
    def queued(self) -> int:
        """Entries in memory."""
        return len(self._queue)

    @property
    def foreign(self) -> int:
        """How many entries of other processes are known of."""
        return self._foreign

    def poke(self, foreign: int) -> None:
        """So many entries have been appended by other processes since the session came."""
        if foreign > self._foreign:
            self._foreign = foreign
            self.look()

    def look(self) -> None:
        """Read on after the newest entry that is known: there may be more."""
        self._again = True
        self._live = False
        self._stirred.set()

    def offer(self, entry: Entry, foreign: int = 0) -> None:
        """An entry has just been appended to the mailbox, by this process. Call in the order of appending.

        Args:
            entry: it.
            foreign: how many entries other processes had appended before it, since the session came.
        """
        if foreign > self._foreign:
            self._foreign = foreign
            if entry.id > self._known:  # else a page that left later brought it, and what was before it
                self.look()
                return
        if entry.id <= self._known:
            if entry.id > self._paged:
                self.rewind()
            return
        if not self._live:
            self._put_aside(entry)
            return
        if entry.id <= self._before:
            self._live = False
            self._stirred.set()
            return
        # Answers come in order: whatever was appended before the last page, or a rewind, has been offered by now.
        self._paged = self._before = START
        if self._has_room(entry):
            self._enqueue(entry)
        else:
            self._live = False
        self._stirred.set()

    def has(self, entry_id: EntryId, foreign: int = 0) -> None:
        """An entry has just been appended whose content the session has been given already. Call in the same order."""
        self._taken.add(entry_id)
        if foreign > self._foreign:
            self._foreign = foreign
            if entry_id > self._known:
                self.look()
        if not self._live:
            self._skip = frozenset({entry_id}).union(self._skip or ())
        elif entry_id > self._known:
            self._known = entry_id
            self._paged = START
        else:
            self.rewind()

    def rewind(self) -> None:
        """Read the mailbox from the start again, leaving out what was taken: something may be where we did not look."""
        self._queue.clear()
        self._queued_bytes = 0
        self._live = False
        self._rewound = True
        self._before = max(self._before, self._known)
        self._known = self._paged = START
        self._skip = frozenset(self._taken)
        self._stirred.set()

    async def take(self) -> list[Entry]:
        """Wait for entries and take what there is, oldest first; never empty.

        Raises:
            MailboxFailed: reading failed. Taking again continues where it stopped.
        """
        while not self._queue:
            if self._live:
                self._stirred.clear()
                await self._stirred.wait()
            else:
                await self._read_page()
        entries, self._queue = self._queue, []
        self._queued_bytes = 0
        self._taken.update(entry.id for entry in entries)
        return entries

    def forget(self, ids: Iterable[EntryId]) -> None:
        """These entries were taken and are now deleted from the mailbox."""
        self._taken.difference_update(ids)

    async def _read_page(self) -> None:
        self._aside = []
        self._aside_bytes = 0
        self._rewound = self._again = False
        verified = self._horizon.now
        page = await self._read(self._known)
        aside, self._aside = self._aside, None
        if self._rewound:  # while the page travelled; it may start at the wrong place
            return
        skip = self._skip or ()
        for entry in page.entries:
            if entry.id not in skip:
                self._enqueue(entry)
        self._known = self._paged = page.last
        if not page.complete or self._again:
            return
        self.verified = verified
        self._skip = None
        if aside is None:
            return
        self._live = True
        for entry in aside:
            self.offer(entry)

    def _put_aside(self, entry: Entry) -> None:
        if self._aside is None:
            return  # no page travels: the next one will hold it
        if len(self._aside) < self._entries_max and self._aside_bytes < self._bytes_max:
            self._aside.append(entry)
            self._aside_bytes += len(entry.data)
        else:
            self._aside = None

    def _has_room(self, entry: Entry) -> bool:
        if not self._queue:
            return True
        return len(self._queue) < self._entries_max and self._queued_bytes + len(entry.data) <= self._bytes_max

    def _enqueue(self, entry: Entry) -> None:
        self._queue.append(entry)
        self._queued_bytes += len(entry.data)
        self._known = entry.id
