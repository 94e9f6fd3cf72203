"""One direction of a link, seen from the sender: what was numbered, what has ended.

Pure. It refuses to know frames: `link` writes and reads those.
"""

from collections.abc import Iterable
from typing import Generic, TypeVar

from rmb_peer.protocol.link.endings import FIRST_WINDOW, IS_SAFE, LinkBroken, Outcome, Run, Window
from rmb_peer.protocol.link.parts import PART_BYTES, Aside, Conversation

Entry = TypeVar("Entry")


class Outgoing(Generic[Entry]):
    """Envelopes that this side sends. Numbers begin at 1."""

    def __init__(self, conversation: Conversation | None = None) -> None:
        """Begin with a connection that was just made; the other side's window is not known yet.

        Args:
            conversation: see `parts`; without it everything keeps its order, and nothing leaves in parts.
        """
        self.window = FIRST_WINDOW
        self.takes_parts = False
        """Whether the other side has said so."""
        self._aside: Aside[Entry] | None = None if conversation is None else Aside(conversation)
        self._aside_count = 0
        """Envelopes that were put and have no number yet."""
        self.joined = 0
        """Number of a queued end of an envelope that went in parts; its frame has to say so."""
        self._last = 0
        self._unended: dict[int, tuple[Entry, int]] = {}  # in the order of their numbers
        self._unended_bytes = 0
        self._queue: list[bytes] = []

    @property
    def unended(self) -> int:
        """Envelopes that were put and have not ended."""
        return len(self._unended) + self._aside_count

    @property
    def unended_bytes(self) -> int:
        """Their bytes."""
        return self._unended_bytes

    @property
    def queued(self) -> bool:
        """Whether envelopes wait to be framed."""
        return bool(self._queue)

    @property
    def next_bytes(self) -> int:
        """Size of the envelope that is framed next; there must be one."""
        return len(self._queue[0])

    def has_room(self, size_bytes: int = 0) -> bool:
        """Whether the window of the other side lets another envelope of this size out."""
        window, messages = self.window, len(self._unended) + self._aside_count
        if messages == 0:
            return window.messages > 0
        return messages < window.messages and self._unended_bytes + size_bytes <= window.size_bytes

    def put(self, entry: Entry, data: bytes) -> None:
        """Number an envelope and queue it. Ask `has_room` first."""
        if (self._aside_count or len(data) > PART_BYTES) and self._set_aside(entry, data):
            return
        self._last += 1
        self._unended[self._last] = (entry, len(data))
        self._unended_bytes += len(data)
        self._queue.append(data)

    def take_run(self, messages_max: int, bytes_max: int) -> tuple[int, list[bytes]]:
        """The next queued envelopes for one frame, at least one if there is any, and the number of the first."""
        first = self._last - len(self._queue) + 1
        queue = self._queue
        count, left_bytes = 0, bytes_max
        for data in queue[:messages_max]:
            left_bytes -= len(data)
            if left_bytes < 0 and count:
                break
            count += 1
        run = queue[:count]
        del queue[:count]
        return first, run

    @property
    def in_parts(self) -> bool:
        """Whether parts are to be sent."""
        return self._aside_count > 0

    def take_part(self) -> bytes:
        """The next part; empty when its end, and what waited behind it, is in the queue now, or was there already."""
        aside = self._aside
        assert aside is not None
        if self.joined:
            return b""
        part = aside.next_part()
        if not part:
            self.joined = self._last + 1
            for entry, size_bytes, place, data in aside.released():
                self._last += 1
                self._unended[self._last] = (entry, size_bytes)
                self._queue.append(data)
                aside.late[self._last] = place
                self._aside_count -= 1
        return part

    def _set_aside(self, entry: Entry, data: bytes) -> bool:
        aside = self._aside
        if aside is None or not self.takes_parts or not aside.put(entry, data, self._last):
            return False
        self._aside_count += 1
        self._unended_bytes += len(data)
        return True

    def end(self, runs: Iterable[Run], safe: int) -> list[tuple[Entry, Outcome]]:
        """The other side says how envelopes ended. All of it counts, or nothing.

        Args:
            runs: outcomes.
            safe: the cumulative number: what has not ended up to it is safe.

        Returns:
            each entry that has ended now, and how.

        Raises:
            LinkBroken: one of the numbers was never sent, or has ended before.
        """
        sent = self._last - len(self._queue)
        ends: dict[int, Outcome] = {}
        for run in runs:
            if run.first + run.more > sent or run.more >= len(self._unended):
                raise LinkBroken(f"an outcome for {run.first} and {run.more} more, but {sent} were sent")
            for number in range(run.first, run.first + run.more + 1):
                if number in ends or number not in self._unended:
                    raise LinkBroken(f"a second outcome for {number}")
                ends[number] = run.outcome
        if safe > sent:
            raise LinkBroken(f"{safe} is acknowledged, but {sent} were sent")
        for number in self._unended:
            if number > safe:
                break
            ends.setdefault(number, IS_SAFE)
        remove = self._unended.pop
        ended: list[tuple[Entry, Outcome]] = []
        freed_bytes = 0
        for number, outcome in ends.items():
            entry, size_bytes = remove(number)
            freed_bytes += size_bytes
            ended.append((entry, outcome))
        if self._aside is not None and self._aside.late:
            for number in ends:
                self._aside.late.pop(number, None)
        self._unended_bytes -= freed_bytes
        return ended

    def take_unended(self) -> list[Entry]:
        """Everything that has not ended, in order, when the connection is gone."""
        aside = self._aside
        if aside is None or not (aside.late or self._aside_count):
            entries = [entry for entry, _ in self._unended.values()]
        else:
            numbered = [(entry, (number, 0)) for number, (entry, _) in self._unended.items()]
            entries = aside.in_order(numbered)
            self._aside_count = self.joined = 0
        self._unended.clear()
        self._unended_bytes = 0
        self._queue.clear()
        return entries


def announced(messages: int, size_bytes: int) -> Window:
    """The other side's window, as far as it can be used.

    Raises:
        LinkBroken: nothing could ever be sent.
    """
    if messages == 0 or size_bytes == 0:
        raise LinkBroken("a window of nothing")
    return Window(messages, size_bytes)
