"""Whatever happens in whatever order, a node keeps its promises: Hypothesis plays network, application and enemy."""

import random
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from rmb_peer.protocol.errors import MessageTooLarge
from rmb_peer.protocol.gossip.codec import decode, encode
from rmb_peer.protocol.gossip.config import Limits, Profile
from rmb_peer.protocol.gossip.events import (
    Broadcast,
    Command,
    Delivered,
    Emit,
    Event,
    JoinTopic,
    NeighborDown,
    NeighborUp,
    Output,
    PeerDisconnected,
    QuitTopic,
    Received,
    Send,
    SetTimer,
    Timer,
    TimerFired,
)
from rmb_peer.protocol.gossip.messages import Body, Message, Scope, Stamp
from rmb_peer.protocol.gossip.node import GossipNode
from tests.support.gossip_messages import bodies
from tests.support.gossip_swarm import TOPIC

ME = 3
PEERS = st.integers(0, 12)
FEW = Limits(
    authors=4, ahead=8, payloads=6, payload_bytes=64, missing=5, announcers=2, unannounced=3, pending=4, peer_data=6
)


class AnyOrder(RuleBasedStateMachine):
    """One node among thirteen peers that say anything."""

    profile = replace(Profile.ours(), limits=FEW)
    bounded = True

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.node = GossipNode(ME, self.profile, random.Random(seed))
        self.twin = GossipNode(ME, self.profile, random.Random(seed))
        self.now_s = 0.0
        self.timers: list[Timer] = []
        self.neighbors: set[int] = set()
        self.delivered: set[object] = set()
        self.feed(Command(TOPIC, JoinTopic((1, 2, ME))))

    def feed(self, event: Event) -> list[Output]:
        outputs = self.node.handle(event, self.now_s)
        assert outputs == self.twin.handle(event, self.now_s), "the same seed and events give the same outputs"
        for output in outputs:
            if isinstance(output, SetTimer):
                assert output.after_s > 0
                self.timers.append(output.timer)
            elif isinstance(output, Send):
                assert not self.bounded or output.to != ME, "W29: we do not talk to ourselves"
                frame = encode(output.message)
                assert decode(frame, FEW.message_bytes_max) == output.message
            elif isinstance(output, Emit):
                self.told(output)
        return outputs

    def told(self, output: Emit) -> None:
        match output.event:
            case NeighborUp(peer):
                assert peer not in self.neighbors
                self.neighbors.add(peer)
            case NeighborDown(peer, _):
                self.neighbors.remove(peer)
            case Delivered(_, _, _, Stamp() as key):
                assert key.author != ME

    @rule(peers=st.lists(PEERS, max_size=3), history=st.integers(0, 5), ordered=st.booleans())
    def join(self, peers: list[int], history: int, ordered: bool) -> None:
        self.feed(Command(TOPIC, JoinTopic(tuple(peers), ordered=ordered, history=history)))

    @rule(payload=st.binary(max_size=30), scope=st.sampled_from(Scope))
    def broadcast(self, payload: bytes, scope: Scope) -> None:
        self.feed(Command(TOPIC, Broadcast(payload, scope)))

    @rule()
    def too_large(self) -> None:
        if self.profile.name == "upstream":
            return
        for node in (self.node, self.twin):
            try:
                outputs = node.handle(Command(TOPIC, Broadcast(b"x" * 4096)), self.now_s)
            except MessageTooLarge:
                assert TOPIC in node.topics()
            else:
                assert outputs == [], "refused unless the topic was left"

    @rule(rejoin=st.booleans())
    def quit(self, rejoin: bool) -> None:
        self.feed(Command(TOPIC, QuitTopic()))
        self.neighbors.clear()
        if rejoin:
            self.feed(Command(TOPIC, JoinTopic((1,))))

    @rule(sender=PEERS.filter(lambda peer: peer != ME), body=bodies(PEERS, st.integers(1, 20), st.integers(0, 2)))
    def hear(self, sender: int, body: Body) -> None:
        self.feed(Received(sender, Message(TOPIC, body)))

    @rule(peer=PEERS.filter(lambda peer: peer != ME))
    def lose(self, peer: int) -> None:
        self.feed(PeerDisconnected(peer))

    @rule(data=st.data(), passed_s=st.floats(0.0, 70.0))
    def fire(self, data: st.DataObject, passed_s: float) -> None:
        self.now_s += passed_s
        if self.timers:
            place = data.draw(st.integers(0, len(self.timers) - 1))
            self.feed(TimerFired(self.timers.pop(place)))

    @invariant()
    def views_are_in_order(self) -> None:
        view = self.node.view(TOPIC)
        if view is None:
            return
        config = self.profile.membership
        assert len(view.active) <= config.active_capacity
        assert len(view.passive) <= config.passive_capacity
        assert ME not in view.active + view.passive + view.eager + view.lazy
        assert not set(view.active) & set(view.passive)
        assert not set(view.eager) & set(view.lazy)
        assert set(view.active) == self.neighbors
        if self.bounded:
            assert set(view.eager) | set(view.lazy) == set(view.active)

    @invariant()
    def memory_is_bounded(self) -> None:
        topic = self.node._topics.get(TOPIC)
        if topic is None or not self.bounded:
            return
        authors, tree, membership, repair = topic._authors, topic.broadcaster, topic.membership, topic.repair
        assert authors is not None
        assert repair is not None
        assert len(authors.logs) <= FEW.authors
        for log in authors.logs.values():
            assert len(log.beyond) <= FEW.ahead
            assert len(log.late) <= 64
        assert set(authors.holes) <= set(authors.logs)
        assert set(authors.news) <= set(authors.logs)
        assert len(authors._newest) <= FEW.authors
        assert len(authors.kept) <= FEW.payloads
        assert sum(len(kept.message.content) for kept in authors.kept.values()) == authors._bytes <= FEW.payload_bytes
        assert len(tree.missing) <= FEW.missing
        for missing in tree.missing.values():
            assert len(missing.announcers) + len(missing.asked) <= FEW.announcers
        for queue in (tree._unannounced, tree._unannounced_late):
            assert set(queue) <= set(membership.active)
            assert all(len(waiting) <= FEW.unannounced for waiting in queue.values())
        assert set(tree._pruned_at_s) <= set(membership.active)
        assert set(tree._suspects) <= set(membership.active)
        assert len(membership.pending) <= FEW.pending
        assert len(membership._joining) <= FEW.pending
        assert len(membership._peer_data) <= FEW.peer_data
        assert len(membership.refused) <= FEW.peer_data
        assert not membership._alive_disconnect
        assert not membership.changes
        assert len(topic.contacts.lost) <= self.profile.contacts.lost_max
        assert len(topic.contacts.bootstrap) <= self.profile.contacts.bootstrap_max
        assert set(topic.links.links) == set(membership.active)
        assert set(repair._allowances) == set(membership.active)
        assert len(repair._gaps) <= FEW.authors
        assert len(topic._direct) <= 64
        if topic._ordering is not None:
            assert len(topic._ordering._waiting) <= FEW.authors + 1
            assert all(len(waiting) <= FEW.ahead + FEW.payloads for waiting in topic._ordering._waiting.values())


class AnyOrderUpstream(AnyOrder):
    """The same under upstream's rules, which bound less."""

    profile = replace(Profile.upstream(), limits=FEW)
    bounded = False


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnyOrderUpstream = AnyOrderUpstream.TestCase
TestAnyOrderUpstream.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
