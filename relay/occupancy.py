"""How many of something each has: connections of an address, sessions of a twin, links of a
relay. It refuses to know what they are.

Only those that have any are held, so the table cannot grow beyond what it counts.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

Who = TypeVar("Who", bound=Hashable)


class Occupancy(Generic[Who]):
    """Counts by whom.

    Attributes:
        most: of one at once; `None` means as many as it likes.
    """

    def __init__(self, most: int | None) -> None:
        """Start empty."""
        self.most = most
        self._counts: dict[Who, int] = {}

    def __len__(self) -> int:
        """Those who have any."""
        return len(self._counts)

    @property
    def total(self) -> int:
        """What all of them have together."""
        return sum(self._counts.values())

    def enter(self, who: Who) -> bool:
        """Count one more, if there is room for it."""
        count = self._counts.get(who, 0)
        if self.most is not None and count >= self.most:
            return False
        self._counts[who] = count + 1
        return True

    def leave(self, who: Who) -> None:
        """One that entered has gone."""
        count = self._counts[who] - 1
        if count:
            self._counts[who] = count
        else:
            del self._counts[who]
