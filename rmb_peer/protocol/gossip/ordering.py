"""Gives the messages of each author to the application in the order of their numbers, for a subscriber who asked.

What comes early waits until what is before it has come or is given up; `authors` decides when that is. Messages that
were sent before our beginning are left out: they could only come out of order.
"""

from rmb_peer.protocol.gossip.authors import AuthorMemory, Life
from rmb_peer.protocol.gossip.events import Delivered
from rmb_peer.protocol.gossip.messages import Stamp


class Ordering:
    """Messages that wait for earlier ones; as many per author as `authors` counts beyond a gap.

    Attributes:
        held: nothing is delivered yet, since history may come first.
    """

    def __init__(self, memory: AuthorMemory) -> None:
        """Begin with nothing waiting.

        Args:
            memory: decides what is complete.
        """
        self._memory = memory
        self._waiting: dict[Life, dict[int, Delivered]] = {}
        self.held = False

    def take(self, event: Delivered) -> list[Delivered]:
        """A message has been remembered. Returns what may be delivered now, in order."""
        stamp = event.id
        assert isinstance(stamp, Stamp)
        life = stamp[:2]
        log = self._memory.logs[life]
        if stamp.number < log.floor:
            return []
        self._waiting.setdefault(life, {})[stamp.number] = event
        if len(self._waiting) > len(self._memory.logs):
            return self.release_all()  # authors have been forgotten
        return self.release(life)

    def release(self, life: Life, before: int | None = None) -> list[Delivered]:
        """Something of an author came or was given up. Returns what may be delivered now, in order.

        Args:
            life: the author.
            before: only what comes before this number.
        """
        waiting = self._waiting.get(life)
        log = self._memory.logs.get(life)
        if not waiting or self.held:
            return []
        upto = max(waiting) if log is None else log.upto  # an author that is forgotten waits for nothing
        if before is not None:
            upto = min(upto, before - 1)
        ready = [waiting.pop(number) for number in sorted(waiting) if number <= upto]
        if not waiting:
            del self._waiting[life]
        return ready

    def release_all(self) -> list[Delivered]:
        """Whatever may be delivered of any author."""
        return [event for life in list(self._waiting) for event in self.release(life)]
