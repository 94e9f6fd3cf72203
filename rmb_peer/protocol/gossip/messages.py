"""What gateways say to each other about a topic (spec gossip 3, 4), as immutable values.

The ten messages of the upstream protocol, and seven of ours, which `Profile.upstream()` neither sends nor
understands: `Ping`, `Pong`, `NotHeld`, `Digest`, `Fetch`, `HistoryRequest`, `Summary`. All are named tuples, since a
simulation makes millions of them.

Bytes are the business of `codec`; when a message is sent, that of the two machines.
"""

from enum import IntEnum
from typing import NamedTuple, TypeAlias

PeerId: TypeAlias = int
"""The numeric twin id (spec gossip 1)."""

TopicId: TypeAlias = bytes
"""32 opaque bytes."""

TOPIC_BYTES = 32
ROUND_MAX = 65535
"""Rounds and ttls are unsigned 16 bit numbers (spec gossip 3)."""


class Stamp(NamedTuple):
    """Which message of which author: message identity in our profile (weakness W6).

    Attributes:
        author: who wrote it.
        incarnation: grows with every start of the author's gateway, so that counting may begin anew.
        number: counts the author's messages to this topic and scope, from 1, without gaps.
    """

    author: PeerId
    incarnation: int
    number: int


MessageId: TypeAlias = Stamp | bytes
"""A stamp (ours), or the hash of the payload (upstream)."""


class Priority(IntEnum):
    """How urgently a link is asked for; a high one is never refused (spec gossip 6.7)."""

    HIGH = 0
    LOW = 1


class Scope(IntEnum):
    """How far a broadcast goes (spec gossip 10)."""

    SWARM = 0
    NEIGHBORS = 1


class PeerInfo(NamedTuple):
    """A peer, and how to reach it if that is known (spec gossip 3)."""

    id: PeerId
    data: bytes | None = None


# --- membership -------------------------------------------------------------------------------------------------------


class Join(NamedTuple):
    """Asks a known peer to take the sender in."""

    data: bytes | None = None


class ForwardJoin(NamedTuple):
    """A random walk that introduces a newcomer."""

    peer: PeerInfo
    ttl: int


class Shuffle(NamedTuple):
    """A random walk that exchanges samples of address books."""

    origin: PeerId
    nodes: tuple[PeerInfo, ...]
    ttl: int


class ShuffleReply(NamedTuple):
    """The answer to a shuffle; also a gift at parting, so that the other has somewhere to go."""

    nodes: tuple[PeerInfo, ...]


class Neighbor(NamedTuple):
    """Asks for an active link, or accepts one.

    Attributes:
        priority: see `Priority`.
        data: how to reach the sender.
        answer: whether this accepts; absent upstream, where the receiver has to guess (weakness W1).
    """

    priority: Priority
    data: bytes | None = None
    answer: bool | None = None


class Reason(IntEnum):
    """Why a link ended or was refused; upstream does not say (weaknesses W5, W21)."""

    UNSPECIFIED = 0
    EVICTED = 1
    FULL = 2
    LEAVING = 3
    NOT_NEIGHBORS = 4
    UNREACHABLE = 5
    NOT_SUBSCRIBED = 6
    BUSY = 7


class Disconnect(NamedTuple):
    """Ends a link or refuses one. `alive`: keep me in the address book; otherwise the sender leaves the topic."""

    alive: bool
    reason: Reason = Reason.UNSPECIFIED


# --- broadcast --------------------------------------------------------------------------------------------------------


class Gossip(NamedTuple):
    """A payload: the only data message; all others are control messages.

    Attributes:
        id: identity.
        content: the payload.
        round: hops travelled so far, 0 from the author; None in the scope of neighbors.
        signature: of the author, over `identity.signed_bytes`; empty if topics are not signed.
        repair: sent on request, outside the tree: says nothing about links and is not passed on eagerly.
    """

    id: MessageId
    content: bytes
    round: int | None
    signature: bytes = b""
    repair: bool = False


class Prune(NamedTuple):
    """Stop sending me payloads unasked."""


class Graft(NamedTuple):
    """Send me payloads at once from now on, and the one named if one is."""

    id: MessageId | None
    round: int


class Announcement(NamedTuple):
    """One entry of `IHave`. `round`: what the sender's copy would carry."""

    id: MessageId
    round: int


class IHave(NamedTuple):
    """Payloads that the sender holds."""

    entries: tuple[Announcement, ...]


# --- ours -------------------------------------------------------------------------------------------------------------


class Ping(NamedTuple):
    """Are you there, and is our link one for you too (weakness W3)? `nonce`: to be repeated in the answer."""

    nonce: int


class Pong(NamedTuple):
    """The answer to a ping."""

    nonce: int


class NotHeld(NamedTuple):
    """The answer to a graft for a payload that is no longer kept (weakness W13)."""

    id: MessageId


class Held(NamedTuple):
    """What somebody has of one incarnation of an author: everything up to `upto`, and from `first` on can send it."""

    author: PeerId
    incarnation: int
    first: int
    upto: int


class Digest(NamedTuple):
    """What the sender has, for comparison (weakness W12). `answer`: this one answers another, do not answer again."""

    entries: tuple[Held, ...]
    answer: bool = False


class Wanted(NamedTuple):
    """Numbers `first` to `last` of one incarnation of an author."""

    author: PeerId
    incarnation: int
    first: int
    last: int


class Fetch(NamedTuple):
    """Send me these, without changing the tree."""

    ranges: tuple[Wanted, ...]


class HistoryRequest(NamedTuple):
    """Send me the latest messages of this topic, so many: a late joiner asks."""

    latest: int


class Summary(NamedTuple):
    """The end of the answer to a `HistoryRequest`: from which number on each author was sent."""

    entries: tuple[Held, ...]


MembershipBody: TypeAlias = Join | ForwardJoin | Shuffle | ShuffleReply | Neighbor | Disconnect | Ping | Pong
BroadcastBody: TypeAlias = Gossip | Prune | Graft | IHave | NotHeld | Digest | Fetch | HistoryRequest | Summary
Body: TypeAlias = MembershipBody | BroadcastBody


class Message(NamedTuple):
    """What travels between two peers."""

    topic: TopicId
    body: Body
