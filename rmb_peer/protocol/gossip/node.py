"""One gateway's part in all its topics (spec gossip 5): routes events to topics, and their outputs back.

No I/O, clock or randomness of its own: the driver reports events with the time and carries out the outputs in order.
"""

from collections.abc import Callable, MutableSequence, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from rmb_peer.protocol.gossip.config import Profile
from rmb_peer.protocol.gossip.events import Event, Output
from rmb_peer.protocol.gossip.messages import PeerId, TopicId

T = TypeVar("T")


class Rng(Protocol):
    """The part of `random.Random` that is used; the core may not import a random source."""

    def random(self) -> float:
        """A number from [0, 1)."""
        ...

    def shuffle(self, x: MutableSequence[Any]) -> None:
        """Bring into random order."""
        ...

    def sample(self, population: Sequence[T], k: int) -> list[T]:
        """Choose `k` different members."""
        ...

    def choice(self, seq: Sequence[T]) -> T:
        """Choose one member."""
        ...

    def getrandbits(self, k: int, /) -> int:
        """`k` random bits."""
        ...


class TopicView(NamedTuple):
    """What an observer may see of a topic.

    Attributes:
        active: peers we exchange broadcasts with, in the order of their arrival.
        passive: the address book.
        eager: active peers that get payloads at once, in ascending order.
        lazy: active peers that get announcements, in ascending order.
    """

    active: tuple[PeerId, ...]
    passive: tuple[PeerId, ...]
    eager: tuple[PeerId, ...]
    lazy: tuple[PeerId, ...]


class GossipNode:
    """The state of one gateway."""

    def __init__(
        self,
        me: PeerId,
        profile: Profile,
        rng: Rng,
        *,
        incarnation: int = 1,
        sign: Callable[[bytes], bytes] | None = None,
        verify: Callable[[PeerId, bytes, bytes], bool] | None = None,
    ) -> None:
        """Begin without topics.

        Args:
            me: our own id.
            profile: how to behave.
            rng: seeded source of randomness; every topic derives its own from it.
            incarnation: greater than in any earlier life of this gateway; wall-clock milliseconds at start will do.
            sign: makes our signature of bytes; None: topics are not signed.
            verify: whether (author, signed bytes, signature) fit; None: every author is believed.
        """
        self.me = me
        self.profile = profile

    def handle(self, event: Event, now_s: float) -> list[Output]:
        """Take one event.

        Args:
            event: what happened.
            now_s: a monotonic clock.

        Returns:
            what the driver must do, in this order.

        Raises:
            MessageTooLarge: a broadcast that cannot be sent; nothing has changed.
        """
        raise NotImplementedError

    def topics(self) -> list[TopicId]:
        """The topics that this node takes part in."""
        raise NotImplementedError

    def view(self, topic: TopicId) -> TopicView | None:
        """A look into a topic; None if this node takes no part in it."""
        raise NotImplementedError
