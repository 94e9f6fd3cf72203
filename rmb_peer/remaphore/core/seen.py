"""The memory of messages that were handled, against replays within the time window (W11). Bounded; fails closed."""

import hashlib
import heapq

SEEN_MAX = 100_000
"""A guess, some 20 MB: with the default window 16,000 messages a second, about what one core can verify."""


class SeenSet:
    """What was seen until when.

    A full memory refuses instead of forgetting: only known peers can fill it, and what is forgotten could be replayed.
    """

    def __init__(self, limit: int = SEEN_MAX) -> None:
        self._limit = limit
        self._keys: set[bytes] = set()
        self._expiries: list[tuple[int, bytes]] = []

    def __len__(self) -> int:
        return len(self._keys)

    def first_time(self, sender: bytes, signed: bytes, until_ns: int, now_ns: int) -> bool:
        """Remember a message; whether it is new.

        Args:
            sender: public key.
            signed: the signed bytes, so that another signature over them changes nothing.
            until_ns: when its own time is so old that it is refused anyway.
            now_ns: the present.

        Raises:
            Full: it is new, and there is no room for it.
        """
        while self._expiries and self._expiries[0][0] < now_ns:
            self._keys.discard(heapq.heappop(self._expiries)[1])
        key = hashlib.sha256(sender + signed).digest()
        if key in self._keys:
            return False
        if len(self._keys) >= self._limit:
            raise Full(f"more than {self._limit} messages within the time window")
        self._keys.add(key)
        heapq.heappush(self._expiries, (until_ns, key))
        return True


class Full(Exception):
    """There is no room to remember another message."""
