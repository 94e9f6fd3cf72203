"""What to do about each new head of the chain: the decisions of whoever follows it. Pure.

The aim is that what is remembered about twins is what the best chain says (spec rmb 7.5, 10.10). Every block between
the last one whose events were taken over and the new head is asked for its events, and the way there is checked by
parent hashes. Where the new head descends from an older block, what the abandoned blocks said has to be forgotten.
Where there is no way, or a too long one, everything remembered is doubtful.

This module refuses to know how headers and events are fetched.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from rmb_peer.registry.tfchain.header import Header

CATCHUP_BLOCKS_MAX = 600
"""Missed blocks that are asked for one by one, one hour's worth, as in the Rust relay (spec rmb 8.2)."""

BLOCK_TIME_S = 6.0
"""Spec tfchain 1."""

STALL_S = 5 * BLOCK_TIME_S
"""No news for so long is a stall. The Rust relay waits 7 s, which a busy node exceeds now and then (spec rmb 10.10)."""

REMEMBERED_BLOCKS = 128
"""How far back an abandoned branch can begin and still be undone block by block; a guess: finality trails by a few."""


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing to do: nothing new."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask for the header of this block, and hand it to `on_header`."""

    hash: str


@dataclass(frozen=True, slots=True)
class Replay:
    """Take over the events of these blocks, in this order, and tell `on_replayed` about each.

    Attributes:
        blocks: oldest first; each is the parent of the next.
        forget: twins of which abandoned blocks said something; to be done first.
    """

    blocks: tuple[Header, ...]
    forget: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Flush:
    """Nothing that is remembered can be trusted any more; the position is now `at`.

    Attributes:
        reason: a short text for the log.
    """

    at: Header
    reason: str


Decision = Rest | Ask | Replay | Flush


@dataclass(slots=True)
class _Done:
    header: Header
    twins: frozenset[int] = field(default=frozenset())


class Following:
    """One follower's position on the chain. It outlives connections.

    Attributes:
        last: the newest block whose events were taken over; `None` before the first head.
    """

    def __init__(
        self,
        *,
        catchup_blocks_max: int = CATCHUP_BLOCKS_MAX,
        stall_s: float = STALL_S,
        remembered_blocks: int = REMEMBERED_BLOCKS,
        clock: Callable[[], float],
    ) -> None:
        """Nothing is known yet.

        Args:
            catchup_blocks_max: more missed blocks than this are not asked for.
            stall_s: see `STALL_S`.
            remembered_blocks: see `REMEMBERED_BLOCKS`.
            clock: monotonic seconds.
        """
        self._catchup_blocks_max = catchup_blocks_max
        self._stall_s = stall_s
        self._clock = clock
        self._done: deque[_Done] = deque(maxlen=max(remembered_blocks, 1))
        self._way: list[Header] = []
        self._news_at = clock()

    @property
    def last(self) -> Header | None:
        """The newest block whose events were taken over."""
        return self._done[-1].header if self._done else None

    def connected(self) -> None:
        """A node was connected: it gets its time to say something, and a half-known way is given up."""
        self._way = []
        self._news_at = self._clock()

    def patience_s(self) -> float:
        """How long to wait for the next head; 0 or less means a stall: leave this node."""
        return self._news_at + self._stall_s - self._clock()

    def on_head(self, head: Header) -> Decision:
        """A node says that this is its best block."""
        last = self.last
        if last is None:
            return self._flush(head, "start")  # what was read before may have changed since
        if self._position_of(head.hash) is not None:
            return Rest()  # said again, or a node that is behind
        if head.number - last.number > self._catchup_blocks_max:
            return self._flush(head, "too many blocks were missed")
        self._way = [head]
        return self._go_back()

    def on_header(self, header: Header) -> Decision:
        """The answer to `Ask`."""
        assert self._way, "nobody asked"
        child = self._way[-1]
        if header.hash != child.parent or header.number != child.number - 1:
            return self._no_way("the node's headers do not fit together")
        self._way.append(header)
        return self._go_back()

    def on_missing(self) -> Decision:
        """The node does not have what was asked for: a header, or the events of a block of `Replay`."""
        return self._no_way("the node does not keep what was missed")

    def on_unreadable(self) -> Decision:
        """The events of a block of `Replay` cannot be read."""
        return self._no_way("the events of a block cannot be read")

    def on_replayed(self, block: Header, twins: frozenset[int]) -> None:
        """The events of the next block of `Replay` were taken over; they were about these twins."""
        assert self._way, "nothing is being replayed"
        assert block == self._way[-1], "blocks are replayed in order"
        self._way.pop()
        self._done.append(_Done(block, twins))
        self._news_at = self._clock()

    def _go_back(self) -> Decision:
        """Ask for one more header, or begin, when the way from a known block to the head is known."""
        oldest = self._way[-1]
        known = self._position_of(oldest.parent)
        if known is not None:
            return self._replay(known)
        if oldest.number <= self._done[0].header.number + 1:
            return self._no_way("the chain was reorganised too deep")
        return Ask(oldest.parent)

    def _replay(self, known: int) -> Replay:
        forget: frozenset[int] = frozenset()
        while len(self._done) > known + 1:
            forget |= self._done.pop().twins
        return Replay(tuple(reversed(self._way)), forget)

    def _no_way(self, reason: str) -> Flush:
        return self._flush(self._way[0], reason)

    def _flush(self, at: Header, reason: str) -> Flush:
        self._way = []
        self._done.clear()
        self._done.append(_Done(at))
        self._news_at = self._clock()
        return Flush(at, reason)

    def _position_of(self, block_hash: str) -> int | None:
        return next((i for i, done in enumerate(self._done) if done.header.hash == block_hash), None)
