"""What our profile mends, weakness by weakness (spec gossip 18), in conversations of a few nodes.

The figures at scale are those of tests/simulation.
"""

import hashlib
import random
from dataclasses import replace

import pytest

from rmb_peer.protocol.errors import MessageTooLarge
from rmb_peer.protocol.gossip.config import Limits, MembershipConfig, Profile
from rmb_peer.protocol.gossip.events import (
    Broadcast,
    Command,
    Delivered,
    Emit,
    JoinTopic,
    Missed,
    NeighborDown,
    Output,
    PeerDisconnected,
    QuitTopic,
    Received,
    Send,
    SetTimer,
    TimerFired,
    UpdatePeerData,
)
from rmb_peer.protocol.gossip.identity import signed_bytes
from rmb_peer.protocol.gossip.messages import (
    Announcement,
    Body,
    Digest,
    Disconnect,
    Fetch,
    ForwardJoin,
    Gossip,
    Graft,
    Held,
    HistoryRequest,
    IHave,
    Join,
    Message,
    Neighbor,
    NotHeld,
    PeerInfo,
    Ping,
    Pong,
    Priority,
    Prune,
    Reason,
    Scope,
    Shuffle,
    ShuffleReply,
    Stamp,
    Summary,
)
from rmb_peer.protocol.gossip.node import GossipNode
from tests.support.gossip_swarm import OTHER_TOPIC, TOPIC, Swarm

OURS = Profile.ours()
HIGH, LOW = Priority.HIGH, Priority.LOW


class Talk:
    """One node and what it says, with the test as the rest of the world; time passes only when told to."""

    def __init__(self, profile: Profile = OURS, *bootstrap: int, history: int = 0, ordered: bool = False) -> None:
        self.node = GossipNode(0, profile, random.Random(1))
        self.now_s = 0.0
        self.timers: list[tuple[float, Output]] = []
        self.out: list[Output] = []
        self._take(self.node.handle(Command(TOPIC, JoinTopic(bootstrap, ordered=ordered, history=history)), self.now_s))

    def _take(self, outputs: list[Output]) -> list[Output]:
        self.timers += [(self.now_s + output.after_s, output) for output in outputs if isinstance(output, SetTimer)]
        self.out += outputs
        return outputs

    def hear(self, sender: int, body: Body) -> list[Output]:
        return self._take(self.node.handle(Received(sender, Message(TOPIC, body)), self.now_s))

    def befriend(self, *peers: int) -> None:
        for peer in peers:
            for output in self.hear(peer, Neighbor(HIGH, None, False)):
                if isinstance(output, Send) and isinstance(output.message.body, Ping):
                    self.now_s += 0.01
                    self.hear(peer, Pong(output.message.body.nonce))

    def broadcast(self, payload: bytes, scope: Scope = Scope.SWARM) -> list[Output]:
        return self._take(self.node.handle(Command(TOPIC, Broadcast(payload, scope)), self.now_s))

    def pass_s(self, seconds: float, *alive: int) -> list[Output]:
        """Let time pass; these peers answer pings."""
        until_s, said = self.now_s + seconds, []
        while self.timers and min(self.timers, key=lambda entry: entry[0])[0] <= until_s:
            entry = min(self.timers, key=lambda entry: entry[0])
            self.timers.remove(entry)
            self.now_s, timer = entry
            assert isinstance(timer, SetTimer)
            outputs = self._take(self.node.handle(TimerFired(timer.timer), self.now_s))
            said += outputs
            for to, body in sent(outputs):
                if isinstance(body, Ping) and to in alive:
                    self.hear(to, Pong(body.nonce))
        self.now_s = until_s
        return said

    @property
    def active(self) -> tuple[int, ...]:
        view = self.node.view(TOPIC)
        assert view is not None
        return view.active


def sent(outputs: list[Output]) -> list[tuple[int, Body]]:
    return [(output.to, output.message.body) for output in outputs if isinstance(output, Send)]


def told(outputs: list[Output]) -> list[object]:
    return [output.event for output in outputs if isinstance(output, Emit)]


def payloads(outputs: list[Output]) -> list[bytes]:
    return [event.payload for event in told(outputs) if isinstance(event, Delivered)]


def gossip(number: int, author: int = 9, *, hops: int | None = 1, life: int = 1, repair: bool = False) -> Gossip:
    return Gossip(Stamp(author, life, number), b"%d" % number, hops, repair=repair)


# --- membership -------------------------------------------------------------------------------------------------------


def test_w1_answers_leave_no_marks() -> None:
    """After a request is granted nothing is pending, so that free places are asked for."""
    talk = Talk()
    talk.befriend(1)
    assert talk.active == (1,)
    outputs = talk.hear(1, ShuffleReply((PeerInfo(5), PeerInfo(6))))
    assert sorted(sent(outputs)) == [(5, Neighbor(LOW, b"", False)), (6, Neighbor(LOW, b"", False))]


def test_w2_joins_are_repeated() -> None:
    """Without an answer every bootstrap peer is asked again and again, with longer and longer waits."""
    talk = Talk(OURS, 1, 2)
    joins = [to for to, body in sent(talk.pass_s(600)) if isinstance(body, Join)]
    assert set(joins) == {1, 2}
    assert 10 <= len(joins) <= 40
    talk.hear(1, Neighbor(HIGH, None, True))
    assert talk.active == (1,)
    assert not [to for to, body in sent(talk.pass_s(120, 1)) if isinstance(body, Join) and to == 1]


def test_w3_silent_neighbors_are_left() -> None:
    """Pings, a few more, then the neighbor is gone and others are asked."""
    talk = Talk()
    talk.befriend(1, 2)
    assert NeighborDown(2, Reason.UNREACHABLE) in told(talk.pass_s(30, 1))
    assert talk.active == (1,)
    assert told(talk.pass_s(300, 1)) == []


def test_w3_any_message_is_a_sign_of_life() -> None:
    """A neighbor whose pongs are lost, and that speaks, is kept."""
    talk = Talk()
    talk.befriend(1)
    for number in range(60):
        talk.pass_s(1)
        talk.hear(1, gossip(number + 1))
    assert talk.active == (1,)


def test_w4_lost_peers_are_tried_again() -> None:
    """Long after a neighbor was lost it is asked for a link, and its answer makes one."""
    talk = Talk()
    talk.befriend(1, 2)
    talk.pass_s(30, 1)
    asked = [to for to, body in sent(talk.pass_s(7200, 1)) if body == Neighbor(HIGH, b"", False)]
    assert 60 <= len(asked) <= 200
    assert set(asked) == {2}
    talk.hear(2, Neighbor(HIGH, None, True))
    assert talk.active == (1, 2)


def test_w5_newcomers_beyond_the_limit_displace_nobody() -> None:
    """When the bucket is empty a newcomer is introduced to others and told who they are."""
    profile = replace(OURS, contacts=replace(OURS.contacts, joins_burst=1, joins_per_s=0.001))
    talk = Talk(profile)
    talk.befriend(1, 2, 3, 4, 5)
    talk.hear(8, Join(None))
    assert 8 in talk.active
    before = talk.active
    outputs = sent(talk.hear(9, Join(None)))
    assert talk.active == before
    assert [type(body) for to, body in outputs if to == 9] == [ShuffleReply, Disconnect]
    assert {to for to, body in outputs if isinstance(body, ForwardJoin)} == set(before)


def test_w9_leaving_one_topic_disturbs_no_other() -> None:
    """The link of the other topic stays."""
    swarm = Swarm(2, OURS)
    for topic in (TOPIC, OTHER_TOPIC):
        swarm.join(0, topic=topic)
        swarm.join(1, [0], topic=topic)
    swarm.trips(4)
    swarm.quit(1)
    swarm.trips(4)
    assert swarm.view(0).active == ()
    assert swarm.view(0, OTHER_TOPIC).active == (1,)
    assert swarm.view(1, OTHER_TOPIC).active == (0,)


def test_w23_a_refusal_leads_to_the_next_candidate() -> None:
    """A peer that is full is left in peace for a while, and another one is asked at once."""
    talk = Talk()
    talk.befriend(1)
    (asked, _), *_ = sent(talk.hear(1, ShuffleReply((PeerInfo(5),))))
    assert asked == 5
    talk.hear(5, ShuffleReply((PeerInfo(6),)))
    assert talk.node.view(TOPIC).passive == (5, 6)  # type: ignore[union-attr]
    assert sent(talk.hear(5, Disconnect(True, Reason.FULL))) == []  # 6 has been asked already
    again = [to for to, body in sent(talk.pass_s(15, 1)) if isinstance(body, Neighbor)]
    assert 5 not in again


def test_w24_requests_end() -> None:
    """A walk that ends at an unreachable newcomer leaves nothing behind."""
    talk = Talk()
    talk.befriend(1)
    assert sent(talk.hear(1, ForwardJoin(PeerInfo(7), 3))) == [(7, Neighbor(LOW, b"", False))]
    talk.pass_s(5, 1)
    assert not talk.node._topics[TOPIC].membership.pending


def test_w26_a_shuffle_without_a_way_is_answered() -> None:
    """With only sender and origin as neighbors, the walk ends here."""
    talk = Talk()
    talk.befriend(1, 2)
    outputs = talk.hear(1, Shuffle(2, (PeerInfo(2), PeerInfo(8)), 5))
    assert [(to, type(body)) for to, body in sent(outputs) if to == 2] == [(2, ShuffleReply)]


def test_w27_addresses_come_from_their_owner() -> None:
    """What a third peer says about somebody's address is not taken."""
    talk = Talk()
    talk.befriend(1)
    talk.hear(1, ShuffleReply((PeerInfo(5, b"elsewhere"),)))
    assert not any(type(output).__name__ == "PeerDataLearned" for output in talk.out)
    talk.hear(5, Neighbor(HIGH, b"here", True))
    assert [output for output in talk.out if type(output).__name__ == "PeerDataLearned"] == [(5, b"here")]


def test_w28_who_is_not_subscribed_says_so() -> None:
    """Requests about an unknown topic are answered; everything else is dropped."""
    node = GossipNode(0, OURS, random.Random(1))
    for body in (Join(None), Neighbor(HIGH, None, False), Ping(1)):
        outputs = node.handle(Received(5, Message(TOPIC, body)), 0.0)
        assert sent(outputs) == [(5, Disconnect(False, Reason.NOT_SUBSCRIBED))]
    assert node.handle(Received(5, Message(TOPIC, gossip(1))), 0.0) == []


def test_w29_no_link_with_ourselves() -> None:
    """Neither walk nor bootstrap list leads back."""
    talk = Talk(OURS, 0)
    assert sent(talk.out) == []
    talk.befriend(1)
    assert sent(talk.hear(1, ForwardJoin(PeerInfo(0), 0))) == []


def test_half_a_link_is_noticed() -> None:
    """A ping from somebody who is no neighbor is answered so that both agree."""
    talk = Talk()
    assert sent(talk.hear(1, Ping(7))) == [(1, Disconnect(True, Reason.NOT_NEIGHBORS))]
    talk.befriend(2)
    assert sent(talk.hear(2, Ping(8))) == [(2, Pong(8))]
    assert NeighborDown(2, Reason.NOT_NEIGHBORS) in told(talk.hear(2, Disconnect(True, Reason.NOT_NEIGHBORS)))


def test_a_failed_dial_counts_only_against_who_was_asked() -> None:
    """A connection that ends after its use removes nobody from the address book."""
    talk = Talk()
    talk.befriend(1, 2, 3, 4, 5)
    talk.hear(1, ShuffleReply((PeerInfo(8),)))
    talk._take(talk.node.handle(PeerDisconnected(8), talk.now_s))
    assert talk.node.view(TOPIC).passive == (8,)  # type: ignore[union-attr]


# --- broadcast --------------------------------------------------------------------------------------------------------


def test_w6_equal_payloads_are_two_messages() -> None:
    """Both are delivered, and nobody is pruned."""
    swarm = Swarm(3, OURS)
    swarm.join(0)
    swarm.join(1, [0])
    swarm.join(2, [0])
    swarm.pass_s(3)
    for _ in range(2):
        swarm.broadcast(0, b"same")
        swarm.pass_s(3)
    assert sorted(swarm.receivers(b"same")) == [1, 1, 2, 2]


def test_w7_neighbors_scope_reaches_lazy_neighbors() -> None:
    """Every neighbor gets it, none passes it on, and a repeat is not delivered."""
    talk = Talk()
    talk.befriend(1, 2, 3)
    talk.hear(2, Prune())
    assert sorted(to for to, body in sent(talk.broadcast(b"x", Scope.NEIGHBORS))) == [1, 2, 3]
    outputs = talk.hear(1, gossip(1, author=1, hops=None))
    assert (payloads(outputs), sent(outputs)) == ([b"1"], [])
    assert talk.hear(1, gossip(1, author=1, hops=None)) == []
    assert talk.hear(2, gossip(2, author=1, hops=None)) == [], "only the author itself may send it"


def test_w8_who_delivers_first_becomes_eager() -> None:
    """As in the paper."""
    talk = Talk()
    talk.befriend(1, 2)
    talk.hear(1, Prune())
    assert talk.node.view(TOPIC).lazy == (1,)  # type: ignore[union-attr]
    talk.hear(1, gossip(1))
    assert talk.node.view(TOPIC).lazy == ()  # type: ignore[union-attr]


@pytest.mark.parametrize("rtt_s", [0.02, 0.2, 1.0])
def test_w10_graft_timers_follow_round_trips(rtt_s: float) -> None:
    """Twice the measured round trip, then one and a half; one timer for however many announcements (W32)."""
    talk = Talk()
    outputs = sent(talk.hear(1, Neighbor(HIGH, None, False)))
    nonce = next(body.nonce for _, body in outputs if isinstance(body, Ping))
    talk.now_s += rtt_s
    talk.hear(1, Pong(nonce))
    talk.befriend(2)
    tree = OURS.tree
    announced = IHave((Announcement(Stamp(9, 1, 1), 2),))
    (timer,) = talk.hear(1, announced)
    assert isinstance(timer, SetTimer)
    assert timer.after_s == pytest.approx(max(tree.wait_min_s, tree.graft_first_rtts * rtt_s), rel=0.01)
    assert talk.hear(2, announced) == []
    again = talk._take(talk.node.handle(TimerFired(timer.timer), talk.now_s + timer.after_s))
    assert sent(again) == [(1, Graft(Stamp(9, 1, 1), 2))]
    (second,) = [output for output in again if isinstance(output, SetTimer)]
    assert second.after_s == pytest.approx(max(tree.wait_min_s, tree.graft_next_rtts * rtt_s), rel=0.01)


def test_w13_a_graft_in_vain_is_answered() -> None:
    """Who no longer keeps a payload says so, and is not asked again."""
    talk = Talk()
    talk.befriend(1, 2)
    assert sent(talk.hear(1, Graft(Stamp(9, 1, 1), 0))) == [(1, NotHeld(Stamp(9, 1, 1)))]
    talk.hear(2, IHave((Announcement(Stamp(9, 1, 5), 2),)))
    talk.hear(2, NotHeld(Stamp(9, 1, 5)))
    assert not [body for _, body in sent(talk.pass_s(10, 1, 2)) if isinstance(body, Graft)]


def test_w14_what_was_said_alone_is_not_lost() -> None:
    """The first neighbor finds it by comparing."""
    swarm = Swarm(2, OURS)
    swarm.join(0)
    swarm.join(1)
    swarm.pass_s(5)
    swarm.broadcast(0, b"alone")
    swarm.pass_s(5)
    swarm.join(1, [0])
    swarm.pass_s(10)
    assert swarm.receivers(b"alone") == [1]


def test_w15_too_large_is_refused_at_the_call() -> None:
    """The largest payload passes on every part of its way; one byte more is refused, and counts for nothing."""
    talk = Talk()
    talk.befriend(1)
    fits = 4096
    while True:
        try:
            talk.broadcast(b"x" * fits)
            break
        except MessageTooLarge as error:
            assert "the limit is 4096" in str(error)
            fits -= 1
    assert fits > 4000
    stamps = [body.id for _, body in sent(talk.out) if isinstance(body, Gossip)]
    assert [stamp.number for stamp in stamps if isinstance(stamp, Stamp)] == [1]


def test_w31_one_end_of_a_lazy_link_announces() -> None:
    """Of two neighbors exactly one goes first, and the other does not announce what it has just heard of."""
    for peer in range(1, 8):
        talk, other = Talk(), Talk()
        other.node = GossipNode(peer, OURS, random.Random(1))
        other._take(other.node.handle(Command(TOPIC, JoinTopic(())), 0.0))
        first = []
        for side, neighbor in ((talk, peer), (other, 0)):
            side.befriend(neighbor, 50)
            side.hear(neighbor, Prune())
            side.hear(50, gossip(1))
            early = [to for to, body in sent(side.pass_s(0.03, neighbor, 50)) if isinstance(body, IHave)]
            first.append(neighbor in early)
            if neighbor not in early:
                side.hear(neighbor, IHave((Announcement(Stamp(9, 1, 1), 2),)))
                late = sent(side.pass_s(3, neighbor, 50))
                assert not [to for to, body in late if isinstance(body, IHave) and to == neighbor]
        assert sorted(first) == [False, True]


def test_w34_strangers_cannot_inject() -> None:
    """Broadcast messages of somebody who is no neighbor are answered with that fact, and have no effect."""
    talk = Talk()
    talk.befriend(1)
    for body in (gossip(1), Graft(None, 0), Prune(), IHave((Announcement(Stamp(9, 1, 1), 1),))):
        assert talk.hear(5, body) == [Send(5, Message(TOPIC, Disconnect(True, Reason.NOT_NEIGHBORS)))]
    for stranger in (Digest((Held(9, 1, 1, 5),)), Fetch(()), HistoryRequest(5)):
        assert talk.hear(5, stranger) == []
    assert talk.node.view(TOPIC).eager == (1,)  # type: ignore[union-attr]


def test_w35_authors_are_verified_and_rounds_cannot_overflow() -> None:
    """A forged author is not delivered; a round of 65535 stays one."""

    def signature(author: int, covered: bytes) -> bytes:
        return hashlib.blake2b(covered, key=b"%d" % author).digest()[:65]

    node = GossipNode(
        0,
        OURS,
        random.Random(1),
        sign=lambda covered: signature(0, covered),
        verify=lambda author, covered, given: given == signature(author, covered),
    )
    node.handle(Command(TOPIC, JoinTopic()), 0.0)
    for peer in (1, 2):
        node.handle(Received(peer, Message(TOPIC, Neighbor(HIGH, None, False))), 0.0)
    true = gossip(1, hops=65535)
    true = true._replace(signature=signature(9, signed_bytes(TOPIC, true)))
    forged = [
        true._replace(content=b"other"),
        true._replace(id=Stamp(8, 1, 1)),
        true._replace(id=Stamp(9, 1, 2)),
        true._replace(signature=b""),
    ]
    for message in forged:
        assert node.handle(Received(1, Message(TOPIC, message)), 0.0) == []
    outputs = node.handle(Received(1, Message(TOPIC, true)), 0.0)
    assert payloads(outputs) == [b"1"]
    assert [body.round for to, body in sent(outputs) if isinstance(body, Gossip)] == [65535]
    ours = sent(node.handle(Command(TOPIC, Broadcast(b"x")), 0.0))
    assert all(
        body.signature == signature(0, signed_bytes(TOPIC, body)) for _, body in ours if isinstance(body, Gossip)
    )


def test_our_own_messages_do_not_come_back() -> None:
    """Neither an echo, nor what an enemy makes up in our name, nor a message of an earlier life of ours."""
    talk = Talk()
    talk.befriend(1, 2)
    ours = next(body for _, body in sent(talk.broadcast(b"x")) if isinstance(body, Gossip))
    assert sent(talk.hear(1, ours)) == [(1, Prune())]
    for number, life in ((99, ours.id[1]), (1, 0)):
        assert payloads(talk.hear(2, gossip(number, author=0, life=life))) == []
    assert talk.hear(2, Digest((Held(0, 0, 1, 50),))) == []


# --- gaps, order, history ---------------------------------------------------------------------------------------------


def test_a_gap_is_fetched_from_who_has_it() -> None:
    """A digest tells of it, a moment later it is asked for, and the answer changes no link."""
    talk = Talk()
    talk.befriend(1, 2)
    talk.hear(1, gossip(1))
    talk.hear(2, Digest((Held(9, 1, 1, 3),)))
    asked = [(to, body) for to, body in sent(talk.pass_s(1.5, 1, 2)) if isinstance(body, Fetch)]
    assert asked[0] == (2, Fetch(((9, 1, 2, 3),)))  # type: ignore[arg-type] # tuples are equal
    talk.hear(1, Prune())
    view = talk.node.view(TOPIC)
    assert payloads(talk.hear(2, gossip(3, repair=True)) + talk.hear(2, gossip(2, repair=True))) == [b"3", b"2"]
    assert talk.node.view(TOPIC) == view
    assert not [body for _, body in sent(talk.pass_s(5, 1, 2)) if isinstance(body, Fetch)]


def test_a_fetch_is_served_within_its_allowance() -> None:
    """What is kept is sent, and no more than a neighbor may ask for at once."""
    profile = replace(OURS, repair=replace(OURS.repair, history_max=3, serve_per_s=1.0))
    talk = Talk(profile)
    talk.befriend(1)
    for number in range(1, 8):
        talk.broadcast(b"%d" % number)
    (life,) = {body.id[1] for _, body in sent(talk.out) if isinstance(body, Gossip)}
    served = sent(talk.hear(1, Fetch(((0, life, 2, 2**63),))))  # type: ignore[arg-type]
    assert [body.content for _, body in served if isinstance(body, Gossip) and body.repair] == [b"2", b"3", b"4"]
    assert sent(talk.hear(1, Fetch(((0, life, 2, 2**63),)))) == []  # type: ignore[arg-type]


def test_ordered_subscribers_get_every_author_in_order() -> None:
    """What comes early waits for what is before it, per author."""
    talk = Talk(OURS, ordered=True)
    talk.befriend(1)
    order = [(1, 9), (3, 9), (2, 8), (4, 9), (1, 8), (2, 9)]
    delivered = [event.id for number, author in order for event in told(talk.hear(1, gossip(number, author)))]  # type: ignore[attr-defined]
    assert delivered == [Stamp(a, 1, n) for n, a in [(1, 9), (1, 8), (2, 8), (2, 9), (3, 9), (4, 9)]]


def test_what_nobody_has_is_reported_and_holds_nothing_up() -> None:
    """After some tries the hole is named, then comes what waited."""
    talk = Talk(OURS, ordered=True)
    talk.befriend(1)
    talk.hear(1, gossip(1))
    talk.hear(1, gossip(4))
    outputs = talk.pass_s(60, 1)
    assert told(outputs)[0] == Missed(9, 1, 2, 3)
    assert payloads(outputs) == [b"4"]
    assert payloads(talk.hear(1, gossip(2))) == [], "given up is given up"
    assert payloads(talk.hear(1, gossip(5))) == [b"5"]


def test_false_claims_silence_nobody() -> None:
    """A neighbor that invents messages of an author cannot keep the true ones from us."""
    talk = Talk()
    talk.befriend(1, 2)
    talk.hear(2, gossip(1, author=7))
    talk.hear(1, Digest((Held(9, 1, 10**9, 10**9), Held(7, 1, 1, 2**64 - 1), Held(7, 2**64 - 1, 1, 5))))
    outputs = talk.pass_s(100, 1, 2)
    assert told(outputs) == []
    for author, number in ((9, 1), (9, 2), (7, 2), (7, 3)):
        assert payloads(talk.hear(2, gossip(number, author))) == [b"%d" % number]


def test_a_late_joiner_gets_the_last_messages() -> None:
    """As many as it asks for, of all authors, and then what comes."""
    swarm = Swarm(4, OURS)
    swarm.join(0)
    for number in (1, 2):
        swarm.join(number, [0])
    swarm.pass_s(5)
    for number in range(10):
        swarm.broadcast(number % 3, b"m%d" % number)
        swarm.pass_s(0.3)
    swarm.join(3, [0], history=4)
    swarm.pass_s(5)
    swarm.broadcast(1, b"m10")
    swarm.pass_s(3)
    got = [event.payload for event in swarm.events[3] if isinstance(event, Delivered)]
    assert sorted(got) == [b"m10", b"m6", b"m7", b"m8", b"m9"]


def test_history_comes_before_order() -> None:
    """An ordered subscriber that asked for history gets nothing newer before it."""
    talk = Talk(OURS, 1, history=2, ordered=True)
    talk.hear(1, Neighbor(HIGH, None, True))
    assert (1, HistoryRequest(2)) in sent(talk.out)
    assert payloads(talk.hear(1, gossip(5))) == []
    talk.hear(1, Summary((Held(9, 1, 3, 5),)))
    assert payloads(talk.hear(1, gossip(4, repair=True))) == []
    assert payloads(talk.hear(1, gossip(3, repair=True))) == [b"3", b"4", b"5"]


def test_history_that_nobody_gives_holds_nothing_up_for_long() -> None:
    """After a few tries the subscriber gets what there is."""
    talk = Talk(OURS, 1, history=2, ordered=True)
    talk.hear(1, Neighbor(HIGH, None, True))
    talk.hear(1, gossip(5))
    assert payloads(talk.pass_s(60, 1)) == [b"5"]


def test_a_new_life_counts_anew() -> None:
    """After leaving and coming back our messages are not taken for repeats."""
    swarm = Swarm(2, OURS)
    swarm.join(0)
    swarm.join(1, [0])
    swarm.pass_s(2)
    swarm.broadcast(1, b"before")
    swarm.pass_s(2)
    swarm.quit(1)
    swarm.join(1, [0])
    swarm.pass_s(5)
    swarm.broadcast(1, b"after")
    swarm.pass_s(2)
    assert swarm.receivers(b"before") == swarm.receivers(b"after") == [0]


def test_timers_of_an_earlier_life_multiply_nothing() -> None:
    """A node that leaves and comes back a hundred times has as many timers as one that stayed."""
    talk = Talk()
    for _ in range(100):
        talk._take(talk.node.handle(Command(TOPIC, QuitTopic()), talk.now_s))
        talk._take(talk.node.handle(Command(TOPIC, JoinTopic()), talk.now_s))
        talk.befriend(1)
        talk.pass_s(0.3, 1)
    talk.pass_s(130, 1)
    assert len(talk.timers) <= 6


# --- limits -----------------------------------------------------------------------------------------------------------


def test_limits_at_the_limit() -> None:
    """So many payloads, bytes and announced messages are kept; the oldest goes for one more."""
    profile = replace(OURS, limits=Limits(payloads=3, payload_bytes=10, missing=2))
    talk = Talk(profile)
    talk.befriend(1)
    memory, missing = talk.node._topics[TOPIC]._authors, talk.node._topics[TOPIC].broadcaster.missing
    assert memory is not None
    for number in range(1, 5):
        talk.hear(1, gossip(number))
    assert [stamp.number for stamp in memory.kept] == [2, 3, 4]
    talk.hear(1, gossip(5)._replace(content=b"12345678"))
    assert [stamp.number for stamp in memory.kept] == [3, 4, 5]
    talk.hear(1, gossip(6)._replace(content=b"123"))
    assert [stamp.number for stamp in memory.kept] == [6]
    for number in (11, 12, 13):
        talk.hear(1, IHave((Announcement(Stamp(9, 1, number), 1),)))
    assert [key.number for key in missing if isinstance(key, Stamp)] == [12, 13]


def test_address_at_the_limit() -> None:
    """An address that would not fit into a Shuffle eight times is refused at the call."""
    talk = Talk(replace(OURS, membership=MembershipConfig()))
    talk.node.handle(UpdatePeerData(bytes(488)), 0.0)
    with pytest.raises(MessageTooLarge, match="at most 488"):
        talk.node.handle(UpdatePeerData(bytes(489)), 0.0)
