"""Large envelopes in parts, so that small ones of other conversations go past them on the same connection.

An envelope that is larger than `PART_BYTES` is set aside, and every other frame takes one part of it along. It is
numbered when its end goes out: numbers stay the order of arrival. What belongs to the same conversation waits behind
it, since order is kept there. Only one envelope at a time goes in parts.

Pure. It refuses to know what a conversation is: whoever makes the link says that.
"""

from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from rmb_peer.protocol.link.endings import LinkBroken

Entry = TypeVar("Entry")
Conversation = Callable[[bytes], Hashable]
"""From a serialised envelope to what its order is kept within; asked only while something large is on its way."""

PART_BYTES = 128 * 1024
"""One part, and the largest envelope that goes in one piece. A guess: 10 ms of a line of 100 Mbit/s, and on the
loopback below a millisecond for each process that handles it."""

Place = tuple[int, int]
"""Where something belongs that got its number late: behind the envelope with this number; then as it was put."""


class Aside(Generic[Entry]):
    """Envelopes of one direction that have no number yet.

    Attributes:
        late: places of those that were numbered late and have not ended.
    """

    def __init__(self, conversation: Conversation) -> None:
        """Begin with nothing."""
        self.late: dict[int, Place] = {}
        self._conversation = conversation
        self._waiting: deque[tuple[Entry, bytes, Place, Hashable]] = deque()
        """The first goes in parts; others are large, too, or of a conversation with one that is."""
        self._held: dict[Hashable, int] = {}
        """How many wait, by conversation."""
        self._sent_bytes = 0
        self._puts = 0

    def put(self, entry: Entry, data: bytes, last: int) -> bool:
        """Set it aside if it has to be; false when it can go at once.

        Args:
            entry: comes back when it is released.
            data: serialised envelope.
            last: number of the youngest envelope that has one.
        """
        conversation = self._conversation(data)
        if len(data) <= PART_BYTES and conversation not in self._held:
            return False
        self._puts += 1
        self._waiting.append((entry, data, (last, self._puts), conversation))
        self._held[conversation] = self._held.get(conversation, 0) + 1
        return True

    def next_part(self) -> bytes:
        """The next part of the first one; empty when only its end is left."""
        data, begin = self._waiting[0][1], self._sent_bytes
        if len(data) - begin <= PART_BYTES:
            return b""
        self._sent_bytes += PART_BYTES
        return data[begin : self._sent_bytes]

    def released(self) -> list[tuple[Entry, int, Place, bytes]]:
        """What gets its number now, with its whole size, and what is left to send of it: the first one, and what only
        waited behind it."""
        entry, data, place, conversation = self._waiting.popleft()
        ready = [(entry, len(data), place, data[self._sent_bytes :])]
        self._sent_bytes = 0
        self._leave(conversation)
        blocked = set()
        still: deque[tuple[Entry, bytes, Place, Hashable]] = deque()
        for waiting in self._waiting:
            entry, data, place, conversation = waiting
            if len(data) > PART_BYTES or conversation in blocked:
                blocked.add(conversation)
                still.append(waiting)
            else:
                ready.append((entry, len(data), place, data))
                self._leave(conversation)
        self._waiting = still
        return ready

    def in_order(self, numbered: list[tuple[Entry, Place]]) -> list[Entry]:
        """Everything that has not ended, as it was put; nothing is left here.

        Args:
            numbered: those with numbers, with (number, 0).
        """
        placed = [(self.late.get(place[0], place), entry) for entry, place in numbered]
        placed += [(place, entry) for entry, _, place, _ in self._waiting]
        self._waiting.clear()
        self._held.clear()
        self.late.clear()
        self._sent_bytes = 0
        return [entry for _, entry in sorted(placed, key=lambda pair: pair[0])]

    def _leave(self, conversation: Hashable) -> None:
        self._held[conversation] -= 1
        if not self._held[conversation]:
            del self._held[conversation]


class Joining:
    """The parts that came, until their end comes."""

    def __init__(self, envelope_bytes_max: int) -> None:
        """Begin with nothing.

        Args:
            envelope_bytes_max: of larger ones only the beginning is kept, and it is larger than this: so whoever
                refuses large envelopes refuses it, and the rest of the link goes on.
        """
        self._bytes_max = envelope_bytes_max
        self._parts: list[bytes] = []
        self._bytes = 0

    def add(self, part: bytes) -> None:
        """A part came."""
        if self._bytes <= self._bytes_max:
            self._parts.append(part)
            self._bytes += len(part)

    def join(self, end: bytes) -> bytes:
        """The whole envelope, whose end has come.

        Raises:
            LinkBroken: nothing began.
        """
        if not self._parts:
            raise LinkBroken("the end of an envelope of which no part came")
        self.add(end)
        whole = b"".join(self._parts)
        self._parts = []
        self._bytes = 0
        return whole
