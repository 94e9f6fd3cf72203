"""One gateway's part in all its topics (spec gossip 5): routes events to topics, and their outputs back.

No I/O, clock or randomness of its own: the driver reports events with the time and carries out the outputs in order.
"""

from typing import NamedTuple

from rmb_peer.protocol.errors import MessageTooLarge
from rmb_peer.protocol.gossip.codec import peer_data_max
from rmb_peer.protocol.gossip.config import Profile
from rmb_peer.protocol.gossip.events import (
    Broadcast,
    Command,
    DisconnectPeer,
    Event,
    JoinTopic,
    Output,
    PeerDisconnected,
    QuitTopic,
    Received,
    Send,
    TimerFired,
    UpdatePeerData,
)
from rmb_peer.protocol.gossip.messages import Disconnect, Join, Message, Neighbor, PeerId, Ping, Reason, TopicId
from rmb_peer.protocol.gossip.rng import Rng
from rmb_peer.protocol.gossip.topic import Sign, Topic, Verify

LIVES_BITS = 20
"""Every entry into a topic counts messages anew; so many of them fit between two incarnations."""

_EXPECT_AN_ANSWER = (Join, Neighbor, Ping)


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
        sign: Sign | None = None,
        verify: Verify | None = None,
    ) -> None:
        """Begin without topics.

        Args:
            me: our own id.
            profile: how to behave.
            rng: seeded source of randomness, for all topics.
            incarnation: greater than in any earlier run of this gateway, below 2**44; wall-clock milliseconds at
                start will do.
            sign: makes our signature of bytes; None: topics are not signed.
            verify: whether (author, signed bytes, signature) fit; None: every author is believed.
        """
        self.me = me
        self.profile = profile
        self._rng = rng
        self._lives = incarnation << LIVES_BITS
        self._sign = sign
        self._verify = verify
        self._topics: dict[TopicId, Topic] = {}
        self._peer_topics: dict[PeerId, dict[TopicId, None]] = {}
        self._my_data: bytes | None = None
        self._separate = profile.fixes.separate_topics
        self._answers_strangers = profile.fixes.join_retries

    def handle(self, event: Event, now_s: float) -> list[Output]:
        """Take one event.

        Args:
            event: what happened.
            now_s: a monotonic clock.

        Returns:
            what the driver must do, in this order.

        Raises:
            MessageTooLarge: a broadcast or an address that cannot be sent; nothing has changed.
        """
        out: list[Output] = []
        kind = type(event)
        if kind is Received:
            self._received(event, now_s, out)  # type: ignore[arg-type]
        elif kind is TimerFired:
            timer = event.timer  # type: ignore[union-attr]
            topic = self._topics.get(timer.topic)
            if topic is not None:
                topic.timer(timer, now_s, out)
                self._filter(timer.topic, out)
        elif kind is Command:
            self._command(event, now_s, out)  # type: ignore[arg-type]
        elif kind is PeerDisconnected:
            for name, topic in list(self._topics.items()):
                part: list[Output] = []
                topic.peer_disconnected(event.peer, now_s, part)  # type: ignore[union-attr]
                self._filter(name, part)
                out += part
        elif kind is UpdatePeerData:
            most = peer_data_max(self.profile.limits.message_bytes_max)
            if len(event.data) > most:  # type: ignore[union-attr]
                raise MessageTooLarge(f"an address of {len(event.data)} bytes: at most {most} fit")  # type: ignore[union-attr]
            self._my_data = event.data  # type: ignore[union-attr]
            for topic in self._topics.values():
                topic.update_my_data(event.data)  # type: ignore[union-attr]
        return out

    def topics(self) -> list[TopicId]:
        """The topics that this node takes part in."""
        return list(self._topics)

    def view(self, topic: TopicId) -> TopicView | None:
        """A look into a topic; None if this node takes no part in it."""
        state = self._topics.get(topic)
        if state is None:
            return None
        membership, broadcaster = state.membership, state.broadcaster
        return TopicView(
            tuple(membership.active),
            tuple(membership.passive),
            tuple(sorted(broadcaster.eager)),
            tuple(sorted(broadcaster.lazy)),
        )

    def _received(self, event: Received, now_s: float, out: list[Output]) -> None:
        sender, (name, body) = event
        topic = self._topics.get(name)
        if topic is not None:
            if not self._separate:
                topics = self._peer_topics.get(sender)
                if topics is None:
                    topics = self._peer_topics[sender] = {}
                topics[name] = None
            topic.received(sender, body, now_s, out)
            self._filter(name, out)
        elif self._answers_strangers and type(body) in _EXPECT_AN_ANSWER:
            out.append(Send(sender, Message(name, Disconnect(False, Reason.NOT_SUBSCRIBED))))  # W28

    def _command(self, event: Command, now_s: float, out: list[Output]) -> None:
        name, command = event
        topic = self._topics.get(name)
        if type(command) is JoinTopic:
            if topic is None:
                self._lives += 1
                topic = self._topics[name] = Topic(
                    self.me, name, self.profile, self._rng, self._lives, self._sign, self._verify
                )
                if self._my_data is not None:
                    topic.update_my_data(self._my_data)
            topic.join(command, now_s, out)
        elif topic is None:
            return
        elif type(command) is Broadcast:
            topic.broadcast(command, now_s, out)
        elif type(command) is QuitTopic:
            topic.quit(out)
            del self._topics[name]
        self._filter(name, out)

    def _filter(self, name: TopicId, out: list[Output]) -> None:
        """Decide about a topic's wish to disconnect a peer (spec gossip 5.1, rule 5)."""
        for index in range(len(out) - 1, -1, -1):
            output = out[index]
            if type(output) is DisconnectPeer and not self._may_disconnect(name, output.peer):
                del out[index]

    def _may_disconnect(self, name: TopicId, peer: PeerId) -> bool:
        if self._separate:  # W9: only when no topic uses the peer any more
            return not any(
                peer in topic.membership.active or topic.membership.awaited(peer) for topic in self._topics.values()
            )
        topics = self._peer_topics.get(peer)
        if topics is None:
            return False
        was_in = name in topics
        topics.pop(name, None)
        if was_in or not topics:
            del self._peer_topics[peer]
            return True
        return False
