"""State per twin that outlives its connections, in a table with a limit. It refuses to know what the state is.

Reconnecting must not buy a fresh allowance, so the state of a twin that left is kept; the oldest of those is forgotten
when they become too many. The state of a connected twin is never forgotten (spec rmb 10.13).
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from rmb_peer.registry.lru import Lru

State = TypeVar("State")


class Lasting(Generic[State]):
    """A state for each twin that is connected, and for some that were."""

    def __init__(self, fresh: Callable[[], State], absent_twins_max: int) -> None:
        """Start empty.

        Args:
            fresh: makes the state of a twin that is not remembered.
            absent_twins_max: twins without connection whose state is kept.
        """
        self._fresh = fresh
        self._connected: dict[int, tuple[State, int]] = {}
        self._absent: Lru[int, State] = Lru(absent_twins_max)

    def __len__(self) -> int:
        """Twins whose state is held."""
        return len(self._connected) + len(self._absent)

    def states(self) -> list[State]:
        """All that are held."""
        absent = [self._absent.get(twin) for twin in list(self._absent)]  # oldest first, so their order stays
        return [*(state for state, _ in self._connected.values()), *(state for state in absent if state is not None)]

    def __getitem__(self, twin: int) -> State:
        """The state of a connected twin."""
        return self._connected[twin][0]

    def connect(self, twin: int) -> State:
        """A session of this twin has begun; all sessions of a twin share its state."""
        state, sessions = self._connected.get(twin) or (self._absent.get(twin), 0)
        if state is None:
            state = self._fresh()
        self._absent.drop(twin)
        self._connected[twin] = state, sessions + 1
        return state

    def disconnect(self, twin: int, keep: bool = True) -> None:
        """A session of this twin has ended; `keep` its state if it was the last."""
        state, sessions = self._connected[twin]
        if sessions > 1:
            self._connected[twin] = state, sessions - 1
        else:
            del self._connected[twin]
            if keep:
                self._absent.put(twin, state)
