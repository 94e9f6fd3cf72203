"""The upstream profile behaves as spec gossip says: the acceptance tests of section 20 and the corners of 6 and 7."""

import random
from dataclasses import replace

import pytest

from rmb_peer.protocol.gossip.config import MembershipConfig, Profile
from rmb_peer.protocol.gossip.events import (
    AnnounceDue,
    Broadcast,
    Command,
    Delivered,
    DisconnectPeer,
    Emit,
    EvictDue,
    GraftDue,
    JoinTopic,
    NeighborUp,
    Output,
    PeerDisconnected,
    Received,
    Send,
    SetTimer,
    ShuffleDue,
    TimerFired,
)
from rmb_peer.protocol.gossip.identity import content_id
from rmb_peer.protocol.gossip.memory import TimeBound
from rmb_peer.protocol.gossip.messages import (
    Announcement,
    Body,
    Disconnect,
    ForwardJoin,
    Gossip,
    Graft,
    IHave,
    Join,
    Message,
    Neighbor,
    PeerInfo,
    Priority,
    Prune,
    Scope,
    ShuffleReply,
)
from rmb_peer.protocol.gossip.node import GossipNode
from tests.support.gossip_swarm import OTHER_TOPIC, TOPIC, Swarm, downs, ups

UPSTREAM = Profile.upstream()
PAIRS = replace(UPSTREAM, membership=MembershipConfig(active_capacity=2))
HIGH = Priority.HIGH


def say(body: Body) -> Message:
    return Message(TOPIC, body)


def node(profile: Profile = UPSTREAM) -> GossipNode:
    """Node 0, subscribed, alone."""
    made = GossipNode(0, profile, random.Random(1))
    made.handle(Command(TOPIC, JoinTopic()), 0.0)
    return made


def hear(target: GossipNode, sender: int, body: Body, now_s: float = 0.0) -> list[Output]:
    return target.handle(Received(sender, say(body)), now_s)


def befriend(target: GossipNode, *peers: int) -> None:
    """Make peers neighbors, without marks of waiting left behind."""
    for peer in peers:
        hear(target, peer, Neighbor(HIGH))
        hear(target, peer, Neighbor(HIGH))


def test_20_1_membership_smoke() -> None:
    """Two stars become a triangle after three trips; a fourth node displaces exactly one neighbor."""
    swarm = Swarm(4, PAIRS)
    swarm.join(0, [1, 2])
    swarm.join(1, [2])
    swarm.join(2)
    swarm.trips(3)
    told = swarm.take_events()
    assert {number: sorted(ups(events)) for number, events in told.items()} == {0: [1, 2], 1: [0, 2], 2: [0, 1], 3: []}
    swarm.join(3, [0])
    swarm.trips(2)
    told = swarm.take_events()
    assert ups(told[3]) == [0]
    assert ups(told[0]) == [3]
    (lost,) = downs(told[0])
    assert lost in (1, 2)
    assert downs(told[lost]) == [0]
    assert swarm.is_symmetric()


def test_20_2_broadcast_smoke() -> None:
    """A star of three gets a message; joined with another star, all six do."""
    swarm = Swarm(6, UPSTREAM)
    for number in (0, 3):
        swarm.join(number)
    for number, contact in ((1, 0), (2, 0), (4, 3), (5, 3)):
        swarm.join(number, [contact])
    swarm.trips(6)
    swarm.broadcast(1, b"one")
    swarm.trips(4)
    assert sorted(swarm.receivers(b"one")) == [0, 2]
    assert swarm.is_symmetric()
    swarm.join(2, [5])
    swarm.trips(8)
    swarm.broadcast(1, b"two")
    swarm.trips(8)
    assert sorted(swarm.receivers(b"two")) == [0, 2, 3, 4, 5]
    assert swarm.is_symmetric()


def test_20_3_quit() -> None:
    """Who quits is gone from everybody's views, and its topic is forgotten."""
    swarm = Swarm(4, PAIRS)
    swarm.join(0)
    for number in (1, 2, 3):
        swarm.join(number, [number - 1])
        swarm.trips(2)
    swarm.trips(10)
    swarm.quit(3)
    swarm.trips(4)
    assert swarm.nodes[3].topics() == []
    for number in range(3):
        assert 3 not in swarm.view(number).active + swarm.view(number).passive


@pytest.mark.parametrize(("received_round", "better"), [(6, False), (7, False), (8, True), (9, True)])
def test_20_4_optimisation(received_round: int, better: bool) -> None:
    """With 2 hops announced by A, a payload from B is too long a way from round 8 on (spec 7.8)."""
    target = node()
    befriend(target, 1, 2)
    hear(target, 1, Prune())
    content = b"content"
    hear(target, 1, IHave((Announcement(content_id(content), 2),)))
    outputs = hear(target, 2, Gossip(content_id(content), content, received_round))
    links = [output for output in outputs if isinstance(output, Send) and type(output.message.body) in (Graft, Prune)]
    assert links == ([Send(1, say(Graft(None, 2))), Send(2, say(Prune()))] if better else [])
    assert outputs[-1] == Emit(TOPIC, Delivered(content, 2, received_round, content_id(content)))


def test_20_5_forged_identity() -> None:
    """A payload whose identity is another one's yields nothing at all."""
    target = node()
    befriend(target, 1)
    assert hear(target, 1, Gossip(content_id(b"other"), b"content", 0)) == []


def test_20_6_order_of_outputs() -> None:
    """The first payload without neighbors: sweep timer, announcement timer, delivery; later no sweep timer."""
    target = node()
    key = content_id(b"a")
    assert hear(target, 1, Gossip(key, b"a", 0)) == [
        SetTimer(1.0, EvictDue(TOPIC)),
        SetTimer(0.005, AnnounceDue(TOPIC)),
        Emit(TOPIC, Delivered(b"a", 1, 0, key)),
    ]
    assert hear(target, 1, Gossip(content_id(b"b"), b"b", 0)) == [Emit(TOPIC, Delivered(b"b", 1, 0, content_id(b"b")))]


def test_20_7_cache_eviction() -> None:
    """A payload can be grafted after a second, and no more after its retention and a sweep."""
    target = node()
    befriend(target, 1)
    key = content_id(b"a")
    hear(target, 1, Gossip(key, b"a", 0))
    target.handle(TimerFired(EvictDue(TOPIC)), 1.0)
    assert hear(target, 1, Graft(key, 1), 1.0) == [Send(1, say(Gossip(key, b"a", 1)))]
    target.handle(TimerFired(EvictDue(TOPIC)), 30.0)
    assert hear(target, 1, Graft(key, 1), 30.0) == []


def test_20_8_time_bound_entries() -> None:
    """Inserting again extends life; the old expiry removes nothing."""
    entries: TimeBound[str, int] = TimeBound()
    entries.insert("a", 1, 10.0)
    entries.insert("b", 2, 11.0)
    entries.insert("a", 3, 20.0)
    entries.sweep(10.0)
    assert entries["a"] == (3, 20.0)
    entries.sweep(11.0)
    assert list(entries) == ["a"]
    entries.sweep(20.0)
    assert not entries


def test_first_join_as_in_6_14() -> None:
    """Join, Neighbor, Neighbor: the contact sees its neighbor after one trip, the joiner after two."""
    swarm = Swarm(2, UPSTREAM)
    swarm.join(0)
    swarm.join(1, [0])
    swarm.trips(1)
    assert (ups(swarm.events[0]), ups(swarm.events[1])) == ([1], [])
    swarm.trips(2)
    assert ups(swarm.events[1]) == [0]
    assert [(sender, to, message.body) for sender, to, message in swarm.log] == [
        (1, 0, Join(b"")),
        (0, 1, Neighbor(HIGH, b"")),
        (1, 0, Neighbor(HIGH, b"")),
    ]


def test_join_at_a_full_contact_as_in_6_5() -> None:
    """Eviction, then the neighbor, then its introduction to the others, in this order."""
    target = node()
    befriend(target, 1, 2, 3, 4, 5)
    outputs = hear(target, 9, Join(b""))
    assert isinstance(outputs[0], Emit)
    victim = outputs[0].event.peer  # type: ignore[union-attr]
    others = [peer for peer in (1, 2, 3, 4, 5) if peer != victim]
    sent = [output for output in outputs if isinstance(output, Send)]
    assert [type(output.message.body) for output in sent[:3]] == [ShuffleReply, Disconnect, Neighbor]
    assert [output.to for output in sent[:3]] == [victim, victim, 9]
    assert outputs.index(Emit(TOPIC, NeighborUp(9))) < outputs.index(sent[2])
    assert [(output.to, type(output.message.body)) for output in sent[3:]] == [(peer, ForwardJoin) for peer in others]
    assert DisconnectPeer(victim) in outputs


def test_grafts_follow_the_order_of_announcements() -> None:
    """80 ms, then 40 ms apart: first announcer first (spec 7.9)."""
    target = node()
    befriend(target, 1, 2, 3)
    key = content_id(b"a")
    for peer in (3, 1):
        hear(target, peer, Prune())
    assert hear(target, 3, IHave((Announcement(key, 1),))) == [SetTimer(0.08, GraftDue(TOPIC, key))]
    assert hear(target, 1, IHave((Announcement(key, 4),))) == []
    for peer, hops in ((3, 1), (1, 4)):
        assert target.handle(TimerFired(GraftDue(TOPIC, key)), 0.1) == [
            Send(peer, say(Graft(key, hops))),
            SetTimer(0.04, GraftDue(TOPIC, key)),
        ]
    assert target.handle(TimerFired(GraftDue(TOPIC, key)), 0.2) == []
    assert target.view(TOPIC).eager == (1, 2, 3)  # type: ignore[union-attr]


def test_announcements_are_split_at_116_entries() -> None:
    """The batching limit of spec 4.3 follows from the encoding, ours being two bytes per entry longer at most."""
    target = node()
    befriend(target, 1, 2)
    hear(target, 2, Prune())
    for number in range(300):
        content = b"%d" % number
        hear(target, 1, Gossip(content_id(content), content, 0))
    outputs = target.handle(TimerFired(AnnounceDue(TOPIC)), 0.005)
    sizes = [len(output.message.body.entries) for output in outputs if isinstance(output, Send)]  # type: ignore[union-attr]
    assert sum(sizes) == 300
    assert 90 <= sizes[0] == sizes[1] <= 116


def test_neighbors_scope_reaches_only_eager_ones() -> None:
    """The weakness W7 is reproduced."""
    target = node()
    befriend(target, 1, 2)
    hear(target, 2, Prune())
    outputs = target.handle(Command(TOPIC, Broadcast(b"x", Scope.NEIGHBORS)), 0.0)
    assert [output.to for output in outputs if isinstance(output, Send)] == [1]


def test_equal_payloads_prune() -> None:
    """The weakness W6 is reproduced: the second of two equal payloads is lost."""
    target = node()
    befriend(target, 1)
    message = Gossip(content_id(b"a"), b"a", 0)
    hear(target, 1, message)
    assert hear(target, 1, message) == [Send(1, say(Prune()))]


def test_leaving_one_topic_disturbs_others() -> None:
    """The weakness W9 is reproduced: the shared peer is disconnected."""
    swarm = Swarm(2, UPSTREAM)
    for topic in (TOPIC, OTHER_TOPIC):
        swarm.join(0, topic=topic)
        swarm.join(1, [0], topic=topic)
    swarm.trips(4)
    swarm.quit(1)
    swarm.trips(2)
    assert swarm.view(0, OTHER_TOPIC).active == ()


def test_disconnected_peers_are_forgotten_unless_marked() -> None:
    """A passive peer goes with its connection, one that said goodbye alive stays once (spec 6.11)."""
    target = node()
    hear(target, 1, ShuffleReply((PeerInfo(8), PeerInfo(9))))
    assert target.view(TOPIC).passive == (8, 9)  # type: ignore[union-attr]
    hear(target, 8, Disconnect(True))
    for peer in (8, 9):
        target.handle(PeerDisconnected(peer), 0.0)
    assert target.view(TOPIC).passive == (8,)  # type: ignore[union-attr]
    target.handle(PeerDisconnected(8), 0.0)
    assert target.view(TOPIC).passive == ()  # type: ignore[union-attr]


def test_shuffle_timer_only_reschedules_when_alone() -> None:
    """Spec 6.9."""
    assert node().handle(TimerFired(ShuffleDue(TOPIC)), 60.0) == [SetTimer(60.0, ShuffleDue(TOPIC))]
