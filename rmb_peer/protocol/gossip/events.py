"""What goes into a node and what comes out (spec gossip 5.1, 5.2, 5.3), as immutable values.

The driver carries out outputs in their order. Timers are opaque to it and never cancelled: a stale one does nothing.
"""

from typing import NamedTuple, TypeAlias

from rmb_peer.protocol.gossip.messages import Message, MessageId, PeerId, Reason, Scope, TopicId

# --- in ---------------------------------------------------------------------------------------------------------------


class JoinTopic(NamedTuple):
    """Subscribe to a topic, or try further bootstrap peers for one.

    Attributes:
        bootstrap: peers to ask; may be empty for the first node of a topic.
        ordered: deliver the messages of each author in order, nothing missing within the retention (ours only).
        history: ask the first neighbor for the last so many messages (ours only).
    """

    bootstrap: tuple[PeerId, ...] = ()
    ordered: bool = False
    history: int = 0


class Broadcast(NamedTuple):
    """Send a payload to everybody in the topic, or to the direct neighbors only."""

    payload: bytes
    scope: Scope = Scope.SWARM


class QuitTopic(NamedTuple):
    """Leave a topic."""


class Command(NamedTuple):
    """The application wants something of a topic."""

    topic: TopicId
    command: JoinTopic | Broadcast | QuitTopic


class Received(NamedTuple):
    """A message came; the driver knows for certain that it is from `sender`."""

    sender: PeerId
    message: Message


class TimerFired(NamedTuple):
    """The time of a timer has come."""

    timer: "Timer"


class PeerDisconnected(NamedTuple):
    """The transport has lost a peer, or could not reach it."""

    peer: PeerId


class UpdatePeerData(NamedTuple):
    """How this node can be reached has changed."""

    data: bytes


Event: TypeAlias = Command | Received | TimerFired | PeerDisconnected | UpdatePeerData

# --- timers -----------------------------------------------------------------------------------------------------------


class ShuffleDue(NamedTuple):
    """Exchange samples of address books (every 60 s)."""

    topic: TopicId


class NeighborTimeout(NamedTuple):
    """No answer to a request for a link. `attempt` tells ours from a later request to the same peer."""

    topic: TopicId
    peer: PeerId
    attempt: int = 0


class GraftDue(NamedTuple):
    """A payload that was announced has not come."""

    topic: TopicId
    id: MessageId


class AnnounceDue(NamedTuple):
    """Send what waits for announcement. `late`: to those neighbors that are to announce first (ours)."""

    topic: TopicId
    late: bool = False


class PruneDue(NamedTuple):
    """Ours: duplicates have been watched for long enough."""

    topic: TopicId


class EvictDue(NamedTuple):
    """Forget old payloads and ids."""

    topic: TopicId


class MaintainDue(NamedTuple):
    """Ours: joins that wait, silent links, free places, contact beyond the component."""

    topic: TopicId


class RepairDue(NamedTuple):
    """Ours: compare with a neighbor; ask again for what is missing."""

    topic: TopicId


Timer: TypeAlias = ShuffleDue | NeighborTimeout | GraftDue | AnnounceDue | PruneDue | EvictDue | MaintainDue | RepairDue

# --- out --------------------------------------------------------------------------------------------------------------


class NeighborUp(NamedTuple):
    """A peer entered the active view."""

    peer: PeerId


class NeighborDown(NamedTuple):
    """A peer left the active view."""

    peer: PeerId
    reason: Reason = Reason.UNSPECIFIED


class Delivered(NamedTuple):
    """A message, once.

    Attributes:
        payload: its content.
        via: the previous hop, not the author.
        round: hops before `via` sent it, 0 if that is the author; None in the scope of neighbors.
        id: its identity; a `Stamp` names the author.
        replayed: it came on request, because it had been missed or is history.
    """

    payload: bytes
    via: PeerId
    round: int | None
    id: MessageId
    replayed: bool = False


class Missed(NamedTuple):
    """Messages `first` to `last` of an author are lost for this subscriber: nobody kept them long enough."""

    author: PeerId
    incarnation: int
    first: int
    last: int


TopicEvent: TypeAlias = NeighborUp | NeighborDown | Delivered | Missed


class Send(NamedTuple):
    """Deliver a message to a peer."""

    to: PeerId
    message: Message


class SetTimer(NamedTuple):
    """Give `TimerFired(timer)` back once, after this time."""

    after_s: float
    timer: Timer


class Emit(NamedTuple):
    """Tell the application."""

    topic: TopicId
    event: TopicEvent


class DisconnectPeer(NamedTuple):
    """Close the connection after what is queued has been sent; nothing to do where there are no connections."""

    peer: PeerId


class PeerDataLearned(NamedTuple):
    """Remember how to reach a peer."""

    peer: PeerId
    data: bytes


Output: TypeAlias = Send | SetTimer | Emit | DisconnectPeer | PeerDataLearned
