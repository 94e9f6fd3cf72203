"""Which sessions are connected to this process. It refuses to know what a connection does.

At most one per (twin, session id). The newest wins: it replaces the older one, which is told, and which can no longer
remove the entry, because an entry is only ever removed by the registration that made it (spec rmb 6.2, 10.4).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from relay.feed import Feed
from relay.handover import Handover
from relay.horizon import UNKNOWN
from relay.occupancy import Occupancy
from relay.switch import Refusal, relay_full, too_many_sessions
from rmb_peer.protocol.address import Address


class RelayFull(Exception):
    """As many sessions are connected as may be, in all or of one twin.

    Attributes:
        refusal: which of the two, and what the client is told.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal


@dataclass(slots=True, eq=False)
class Session:
    """One registration.

    Attributes:
        owner: twin and session id.
        generation: grows with every registration in this process, and names this one among them.
        feed: what is to be sent to it.
        supersede: tells the connection that a newer one has taken its place.
        handover: takes envelopes without a mailbox, if the client speaks rmb.2.
        depth: entries in its mailbox, when something was last appended.
        since: what a feed must have seen before it takes this session's envelopes past the mailbox; see `horizon`.
    """

    owner: Address
    generation: int
    feed: Feed
    supersede: Callable[[], None]
    handover: Handover | None = None
    depth: int = 0
    since: int = UNKNOWN


class Sessions:
    """The table of live sessions."""

    def __init__(self, sessions_max: int, per_twin_max: int | None = None) -> None:
        """Start empty.

        Args:
            sessions_max: connected at once.
            per_twin_max: of one twin; `None` means as many as it likes.
        """
        self._sessions_max = sessions_max
        self._per_twin: Occupancy[int] = Occupancy(per_twin_max)
        self._sessions: dict[tuple[int, str | None], Session] = {}
        self._generation = 0

    def limit_per_twin(self, most: int | None) -> None:
        """From now on a twin may have this many; those that are there stay."""
        self._per_twin.most = most

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._sessions.values()))

    def get(self, owner: Address) -> Session | None:
        """The live session with exactly this identity."""
        return self._sessions.get(owner)

    def find(self, twin: int, session: str | None) -> Session | None:
        """`get`, for those who have no address at hand and many envelopes."""
        return self._sessions.get((twin, session))

    def register(
        self, owner: Address, feed: Feed, supersede: Callable[[], None], handover: Handover | None = None
    ) -> Session:
        """Enter a new connection; an older one of the same identity is superseded.

        Raises:
            RelayFull: there is no room. Taking the place of an older connection needs none.
        """
        key = owner.twin, owner.session
        older = self._sessions.get(key)
        if older is None:
            if len(self._sessions) >= self._sessions_max:
                raise RelayFull(relay_full(self._sessions_max))
            if not self._per_twin.enter(owner.twin):
                raise RelayFull(too_many_sessions(owner.twin, self._per_twin.most or 0))
        self._generation += 1
        session = Session(owner, self._generation, feed, supersede, handover)
        self._sessions[key] = session
        if older is not None:
            older.supersede()
        return session

    def unregister(self, session: Session) -> bool:
        """Remove this registration, if it still stands; whether it did. Doing so twice is harmless."""
        key = session.owner.twin, session.owner.session
        if self._sessions.get(key) is not session:
            return False
        del self._sessions[key]
        self._per_twin.leave(session.owner.twin)
        return True
