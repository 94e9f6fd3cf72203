"""What a topic remembers of messages: which were seen, and which payloads can still be sent.

Two ways with one interface, `Memory`: by content and time, as upstream does (spec gossip 7.1), and by author and
number (`authors`).
"""

from typing import Protocol, TypeVar

from rmb_peer.protocol.gossip.messages import Gossip, MessageId

K = TypeVar("K")
V = TypeVar("V")


class Memory(Protocol):
    """Messages of one topic."""

    def seen(self, key: MessageId) -> bool:
        """Whether this message was received or sent before, or can be neither."""
        ...

    def remember(self, message: Gossip, now_s: float) -> None:
        """A message was received or sent; in the form in which it would be passed on."""
        ...

    def held(self, key: MessageId) -> Gossip | None:
        """The payload, if it is still kept."""
        ...

    def sweep(self, now_s: float) -> None:
        """Forget what is too old."""
        ...


class TimeBound(dict[K, tuple[V, float]]):
    """Entries with an expiry; inserting again moves it. Look-ups ignore it: entries go only when swept (spec 7.1)."""

    def insert(self, key: K, value: V, expires_s: float) -> None:
        """Add or replace. All entries of one table live equally long, so that the order is that of their expiry."""
        self.pop(key, None)
        self[key] = (value, expires_s)

    def sweep(self, now_s: float) -> None:
        """Drop everything with an expiry of `now_s` or before."""
        old = []
        for key, (_, expires_s) in self.items():  # oldest first, since all entries of one table live equally long
            if expires_s > now_s:
                break
            old.append(key)
        for key in old:
            del self[key]


class ContentMemory:
    """Upstream's: two time-bound tables without any other limit (weakness W33)."""

    def __init__(self, payload_retention_s: float, id_retention_s: float) -> None:
        self._payload_retention_s = payload_retention_s
        self._id_retention_s = id_retention_s
        self.received: TimeBound[MessageId, None] = TimeBound()
        self.cache: TimeBound[MessageId, Gossip] = TimeBound()

    def seen(self, key: MessageId) -> bool:
        """Whether the same bytes came within the retention."""
        return key in self.received

    def remember(self, message: Gossip, now_s: float) -> None:
        """Spec gossip 7.4, 7.5."""
        self.received.insert(message.id, None, now_s + self._id_retention_s)
        self.cache.insert(message.id, message, now_s + self._payload_retention_s)

    def held(self, key: MessageId) -> Gossip | None:
        """The payload, if it is still kept."""
        found = self.cache.get(key)
        return found[0] if found is not None else None

    def sweep(self, now_s: float) -> None:
        """Spec gossip 7.10."""
        self.cache.sweep(now_s)
        self.received.sweep(now_s)
