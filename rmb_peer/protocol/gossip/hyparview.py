"""Membership of one topic: HyParView (spec gossip 6), with our corrections behind the switches of `config.Fixes`.

Keeps the active view (neighbors) and the passive view (address book). Knows nothing of payloads: it reports neighbors
that came and went in `changes`, and whoever owns both machines tells the other one.

Liveness is `liveness`, retries over peers that are no neighbors `contacts`.
"""

from collections.abc import Callable
from typing import Any

from rmb_peer.protocol.gossip.config import Profile
from rmb_peer.protocol.gossip.events import (
    DisconnectPeer,
    Emit,
    NeighborDown,
    NeighborTimeout,
    NeighborUp,
    Output,
    PeerDataLearned,
    Send,
    SetTimer,
    ShuffleDue,
)
from rmb_peer.protocol.gossip.messages import (
    Disconnect,
    ForwardJoin,
    Join,
    MembershipBody,
    Message,
    Neighbor,
    PeerId,
    PeerInfo,
    Priority,
    Reason,
    Shuffle,
    ShuffleReply,
    TopicId,
)
from rmb_peer.protocol.gossip.rng import Rng, up_to

HIGH, LOW = Priority.HIGH, Priority.LOW

JOIN_AWAITED_S = 5.0
"""The answer to a Join is expected within this time. A guess."""


class Request:
    """A request for a link that waits for its answer.

    Attributes:
        attempt: distinguishes its timer from those of earlier requests.
        priority: how we treat the answer: a high one may displace a neighbor of ours.
        sent_at_s: when.
    """

    __slots__ = ("attempt", "priority", "sent_at_s")

    def __init__(self, attempt: int, priority: Priority, sent_at_s: float) -> None:
        self.attempt = attempt
        self.priority = priority
        self.sent_at_s = sent_at_s


class Membership:
    """The views of one topic.

    Attributes:
        active: neighbors, in the order of their arrival.
        passive: the address book; disjoint from `active`, without ourselves.
        pending: peers from which a Neighbor is awaited.
        changes: (peer, whether it came) since they were last taken.
        failed: peers that did not answer, or went silently, since they were last taken.
        refused: until when a peer that refused is not asked again.
    """

    def __init__(self, me: PeerId, topic: TopicId, profile: Profile, rng: Rng) -> None:
        self._me = me
        self._topic = topic
        self._config = profile.membership
        self._contacts = profile.contacts
        self._fixes = profile.fixes
        self._limits = profile.limits
        self._rng = rng
        self._my_data: bytes | None = b""
        self.active: dict[PeerId, None] = {}
        self.passive: dict[PeerId, None] = {}
        self.pending: dict[PeerId, Request] = {}
        self.changes: list[tuple[PeerId, bool]] = []
        self.failed: list[PeerId] = []
        self.refused: dict[PeerId, float] = {}
        self._peer_data: dict[PeerId, bytes] = {}
        self._alive_disconnect: dict[PeerId, None] = {}
        self._joining: dict[PeerId, float] = {}
        self._attempts = 0
        self._shuffle_at_s: float | None = None
        self._join_tokens = float(profile.contacts.joins_burst)
        self._join_tokens_at_s = 0.0
        self.neighbor_timeout_s = profile.membership.neighbor_timeout_s
        self.handlers: dict[type[Any], Callable[[PeerId, Any, float, list[Output]], None]] = {
            Join: self._on_join,
            ForwardJoin: self._on_forward_join,
            Shuffle: self._on_shuffle,
            ShuffleReply: self._on_shuffle_reply,
            Neighbor: self._on_neighbor,
            Disconnect: self._on_disconnect,
        }

    # --- what comes in ------------------------------------------------------------------------------------------------

    def received(self, sender: PeerId, body: MembershipBody, now_s: float, out: list[Output]) -> None:
        """A message of the membership family came (spec gossip 6.2 for what is around each)."""
        self.handlers[type(body)](sender, body, now_s, out)
        if type(body) is not Disconnect and sender not in self.active and not self.awaited(sender):
            out.append(DisconnectPeer(sender))

    def awaited(self, peer: PeerId) -> bool:
        """Ours: whether the answer of a peer that is no neighbor yet is awaited."""
        return self._fixes.explicit_answers and (peer in self.pending or peer in self._joining)

    def expire(self, now_s: float) -> None:
        """Ours: forget joins without answer, and refusals that are over."""
        for peer in [peer for peer, until_s in self._joining.items() if until_s <= now_s]:
            del self._joining[peer]
            self.failed.append(peer)
        for peer in [peer for peer, until_s in self.refused.items() if until_s <= now_s]:
            del self.refused[peer]

    def has_room_to_ask(self) -> bool:
        """Ours: whether the views are in order: all places taken, or somebody in the address book to ask for one."""
        return self._full() or bool(self.pending) or bool(self.passive)

    def begin(self, now_s: float, out: list[Output]) -> None:
        """Schedule the first shuffle (spec gossip 6.2)."""
        if self._shuffle_at_s is None:
            self._shuffle_at_s = now_s + self._config.shuffle_interval_s
            out.append(SetTimer(self._config.shuffle_interval_s, ShuffleDue(self._topic)))

    def update_my_data(self, data: bytes) -> None:
        """How we can be reached has changed (spec gossip 6.13)."""
        self._my_data = data

    def request_join(self, peer: PeerId, now_s: float, out: list[Output]) -> None:
        """Ask a bootstrap peer to take us in (spec gossip 6.4)."""
        if self._fixes.self_checks and (peer == self._me or peer in self.active):
            return
        if self._fixes.explicit_answers and len(self._joining) < self._limits.pending:
            self._joining[peer] = now_s + JOIN_AWAITED_S
        self._send(peer, Join(self._my_data), out)

    def peer_disconnected(self, peer: PeerId, now_s: float, out: list[Output]) -> None:
        """The transport lost a peer or could not reach it (spec gossip 6.11)."""
        was_pending = self.pending.pop(peer, None) is not None
        if peer in self.active:
            if self._fixes.explicit_answers:
                self._remove_active(peer, Reason.UNREACHABLE, keep=False, now_s=now_s, out=out)
                self.failed.append(peer)
            else:
                keep = peer in self._alive_disconnect
                self._alive_disconnect.pop(peer, None)
                self._remove_active(peer, Reason.UNREACHABLE, keep=keep, now_s=now_s, out=out)
        elif self._fixes.explicit_answers:
            # A connection that was of no more use ended. Only a request that got no answer speaks against the peer.
            if was_pending:
                self._forget(peer)
                self.failed.append(peer)
                self.refill(now_s, out)
        elif peer in self._alive_disconnect:
            del self._alive_disconnect[peer]
        else:
            self._forget(peer)

    def silent(self, peer: PeerId, now_s: float, out: list[Output]) -> None:
        """A neighbor answers no more pings: it is treated like one whose connection was lost, and told, in case."""
        if peer in self.active:
            self._send(peer, Disconnect(True, Reason.UNREACHABLE), out)
            self._remove_active(peer, Reason.UNREACHABLE, keep=False, now_s=now_s, out=out)
            self.failed.append(peer)

    def quit(self, out: list[Output]) -> None:
        """Say goodbye to every neighbor (spec gossip 6.12)."""
        for peer in list(self.active):
            del self.active[peer]
            self._goodbye(peer, False, Reason.LEAVING, out)

    def neighbor_timeout(self, timer: NeighborTimeout, now_s: float, out: list[Output]) -> None:
        """A request has waited long enough (spec gossip 6.10)."""
        request = self.pending.get(timer.peer)
        if request is None or (self._fixes.explicit_answers and request.attempt != timer.attempt):
            return
        del self.pending[timer.peer]
        self._forget(timer.peer, data=False)
        self.failed.append(timer.peer)
        self.refill(now_s, out)

    def shuffle_due(self, now_s: float, out: list[Output]) -> None:
        """Send a sample of what we know on a walk (spec gossip 6.9)."""
        if self._shuffle_at_s is None or now_s < self._shuffle_at_s:
            return  # a timer from before we left this topic and came back
        self._shuffle_at_s = now_s + self._config.shuffle_interval_s
        out.append(SetTimer(self._config.shuffle_interval_s, ShuffleDue(self._topic)))
        if not self.active:
            return
        target = self._rng.choice(list(self.active))
        nodes = up_to(self._rng, [peer for peer in self.active if peer != target], self._config.shuffle_active)
        nodes += up_to(self._rng, [peer for peer in self.passive if peer != target], self._config.shuffle_passive)
        infos = (*self._infos(nodes), PeerInfo(self._me, self._my_data))
        self._send(target, Shuffle(self._me, infos, self._config.shuffle_walk_ttl), out)

    def refill(self, now_s: float, out: list[Output], exclude: PeerId | None = None) -> None:
        """Ask for links where places are free (spec gossip 6.3): upstream for one, we for all of them."""
        free = self._config.active_capacity - len(self.active) - len(self.pending)
        while free > 0:
            candidates = [peer for peer in self.passive if peer != exclude and peer not in self.pending]
            if self._fixes.explicit_answers:
                if self.active:
                    candidates = [peer for peer in candidates if self.refused.get(peer, 0.0) <= now_s]
                free -= 1
            else:
                free = 0
            if not candidates:
                return
            self.request(self._rng.choice(candidates), LOW if self.active else HIGH, now_s, out)

    def request(
        self, peer: PeerId, priority: Priority, now_s: float, out: list[Output], ours: Priority | None = None
    ) -> None:
        """Ask a peer for a link, with a timer. `ours`: how urgent it is for us, if that differs from what we say."""
        if peer in self.pending or len(self.pending) >= self._limits.pending:
            return
        self._attempts += 1
        self.pending[peer] = Request(self._attempts, priority if ours is None else ours, now_s)
        answer = False if self._fixes.explicit_answers else None
        self._send(peer, Neighbor(priority, self._my_data, answer), out)
        attempt = self._attempts if self._fixes.explicit_answers else 0
        out.append(SetTimer(self.neighbor_timeout_s, NeighborTimeout(self._topic, peer, attempt)))

    # --- messages -----------------------------------------------------------------------------------------------------

    def _on_join(self, sender: PeerId, body: Join, now_s: float, out: list[Output]) -> None:
        """Spec gossip 6.5."""
        if self._fixes.join_limit and self._full() and sender not in self.active and not self._take_token(now_s):
            # Displace nobody: the newcomer is introduced to others, and knows whom to ask meanwhile.
            self._learn(PeerInfo(sender, body.data), sender, out)
            self._goodbye(sender, True, Reason.BUSY, out)
        else:
            self._add_active(PeerInfo(sender, body.data), HIGH, reply=True, now_s=now_s, out=out)
        if sender == self._me:
            return
        message = Message(
            self._topic, ForwardJoin(PeerInfo(sender, self._peer_data.get(sender)), self._config.active_walk_ttl)
        )
        out += [Send(peer, message) for peer in self.active if peer != sender]

    def _take_token(self, now_s: float) -> bool:
        contacts = self._contacts
        grown = self._join_tokens + (now_s - self._join_tokens_at_s) * contacts.joins_per_s
        self._join_tokens = min(float(contacts.joins_burst), grown)
        self._join_tokens_at_s = now_s
        if self._join_tokens < 1.0:
            return False
        self._join_tokens -= 1.0
        return True

    def _on_forward_join(self, sender: PeerId, body: ForwardJoin, now_s: float, out: list[Output]) -> None:
        """Spec gossip 6.6."""
        newcomer = body.peer
        if self._fixes.self_checks and newcomer.id == self._me:
            return
        if newcomer.id in self.active:
            if not self._fixes.explicit_answers:  # the renewal of upstream; our pings do it
                self._learn(newcomer, sender, out)
                self._neighbor_upstream(newcomer.id, HIGH, now_s, out)
            return
        if body.ttl == 0 or len(self.active) <= 1:
            self._learn(newcomer, sender, out)
            if self._fixes.explicit_answers:
                # The newcomer refuses if it has found enough neighbors meanwhile; we make room if it does not.
                self.request(newcomer.id, LOW, now_s, out, ours=HIGH)
            else:
                self._neighbor_upstream(newcomer.id, HIGH, now_s, out)
            return
        if body.ttl == self._config.passive_walk_ttl:
            self._add_passive(newcomer, sender, out)
        if newcomer.id not in self.pending:
            others = [peer for peer in self.active if peer != sender]
            if others:
                self._send(self._rng.choice(others), ForwardJoin(newcomer, body.ttl - 1), out)

    def _on_neighbor(self, sender: PeerId, body: Neighbor, now_s: float, out: list[Output]) -> None:
        """Spec gossip 6.7."""
        request = self.pending.pop(sender, None)
        info = PeerInfo(sender, body.data)
        if body.answer is None or not self._fixes.explicit_answers:
            if not self._add_active(info, body.priority, reply=request is None, now_s=now_s, out=out):
                self._goodbye(sender, True, Reason.FULL, out)
            return
        if sender == self._me:
            return
        self.refused.pop(sender, None)
        self._joining.pop(sender, None)
        priority = body.priority if request is None else min(body.priority, request.priority)
        if body.answer and request is None and sender not in self.active:
            priority = LOW if self.active else HIGH  # the answer to a Join, or one that comes late
        if not self._add_active(info, priority, reply=not body.answer, now_s=now_s, out=out):
            self._goodbye(sender, True, Reason.FULL, out)

    def _on_disconnect(self, sender: PeerId, body: Disconnect, now_s: float, out: list[Output]) -> None:
        """Spec gossip 6.8."""
        request = self.pending.pop(sender, None)
        if sender in self.active:
            self._remove_active(sender, body.reason, keep=body.alive, now_s=now_s, out=out)
        if not self._fixes.explicit_answers:
            if body.alive and sender in self.passive:
                self._alive_disconnect[sender] = None
            return
        self._joining.pop(sender, None)
        if not body.alive:
            self._forget(sender)
        elif request is not None and len(self.refused) < self._limits.peer_data:
            self.refused[sender] = now_s + self._contacts.refused_for_s
        self.refill(now_s, out, exclude=sender)  # W23

    def _on_shuffle(self, sender: PeerId, body: Shuffle, now_s: float, out: list[Output]) -> None:
        """Spec gossip 6.9."""
        if body.ttl > 0 and len(self.active) > 1:
            others = [peer for peer in self.active if peer not in (sender, body.origin)]
            if others:
                forwarded = Shuffle(body.origin, body.nodes, min(body.ttl, self._config.shuffle_walk_ttl) - 1)
                self._send(self._rng.choice(others), forwarded, out)
                return
            if not self._fixes.self_checks:
                return
        if self._fixes.self_checks and body.origin == self._me:
            return
        for info in body.nodes:
            self._add_passive(info, sender, out)
        count = len(body.nodes)
        if self._fixes.self_checks:
            count = min(count, self._config.shuffle_active + self._config.shuffle_passive + 1)
        self._send(body.origin, ShuffleReply(self._sample(count, body.origin)), out)

    def _on_shuffle_reply(self, sender: PeerId, body: ShuffleReply, now_s: float, out: list[Output]) -> None:
        """Spec gossip 6.9."""
        for info in body.nodes:
            self._add_passive(info, sender, out)
        self.refill(now_s, out)

    # --- helpers (spec gossip 6.3) ------------------------------------------------------------------------------------

    def _send(self, peer: PeerId, body: MembershipBody, out: list[Output]) -> None:
        out.append(Send(peer, Message(self._topic, body)))

    def _full(self) -> bool:
        return len(self.active) >= self._config.active_capacity

    def _neighbor_upstream(self, peer: PeerId, priority: Priority, now_s: float, out: list[Output]) -> None:
        """Upstream's one helper for requests and replies: both leave a mark (weakness W1)."""
        if peer not in self.pending:
            self.pending[peer] = Request(0, priority, now_s)
            self._send(peer, Neighbor(priority, self._my_data), out)

    def _learn(self, info: PeerInfo, teller: PeerId, out: list[Output]) -> None:
        if info.data is None or (self._fixes.self_checks and (info.id != teller or info.id == self._me)):
            return
        old = self._peer_data.get(info.id)
        if old is None and self._fixes.self_checks and len(self._peer_data) >= self._limits.peer_data:
            del self._peer_data[next(iter(self._peer_data))]
        self._peer_data[info.id] = info.data
        if info.data and info.data != old:
            out.append(PeerDataLearned(info.id, info.data))

    def _add_passive(self, info: PeerInfo, teller: PeerId, out: list[Output]) -> None:
        self._learn(info, teller, out)
        peer = info.id
        if peer == self._me or peer in self.active or peer in self.passive:
            return
        if len(self.passive) >= self._config.passive_capacity:
            del self.passive[self._rng.choice(list(self.passive))]
        self.passive[peer] = None

    def _add_active(self, info: PeerInfo, priority: Priority, reply: bool, now_s: float, out: list[Output]) -> bool:
        peer = info.id
        if peer == self._me:
            return False
        self._learn(info, peer, out)
        if peer not in self.active:
            if self._full():
                if priority == LOW:
                    return False
                self._evict(out)
            self.passive.pop(peer, None)
            self.active[peer] = None
            self.changes.append((peer, True))
            out.append(Emit(self._topic, NeighborUp(peer)))
        if reply:
            if self._fixes.explicit_answers:
                self._send(peer, Neighbor(priority, self._my_data, True), out)
            else:
                self._neighbor_upstream(peer, priority, now_s, out)
        return True

    def _evict(self, out: list[Output]) -> None:
        victim = self._rng.choice(list(self.active))
        del self.active[victim]
        self.changes.append((victim, False))
        out.append(Emit(self._topic, NeighborDown(victim, Reason.EVICTED)))
        self._goodbye(victim, True, Reason.EVICTED, out)
        self._add_passive(PeerInfo(victim), victim, out)
        if not self._fixes.explicit_answers:
            self._alive_disconnect[victim] = None

    def _goodbye(self, peer: PeerId, alive: bool, reason: Reason, out: list[Output]) -> None:
        count = self._config.shuffle_active + self._config.shuffle_passive
        self._send(peer, ShuffleReply(self._sample(count, peer)), out)
        self._send(peer, Disconnect(alive, reason if self._fixes.explicit_answers else Reason.UNSPECIFIED), out)
        out.append(DisconnectPeer(peer))

    def _sample(self, count: int, receiver: PeerId) -> tuple[PeerInfo, ...]:
        passive, active = list(self.passive), list(self.active)
        if self._fixes.self_checks:
            passive = [peer for peer in passive if peer != receiver]
            active = [peer for peer in active if peer != receiver]
        nodes = up_to(self._rng, passive, count)
        nodes += up_to(self._rng, active, count - len(nodes))
        return self._infos(nodes)

    def _infos(self, peers: list[PeerId]) -> tuple[PeerInfo, ...]:
        return tuple(PeerInfo(peer, self._peer_data.get(peer)) for peer in peers)

    def _remove_active(self, peer: PeerId, reason: Reason, keep: bool, now_s: float, out: list[Output]) -> None:
        del self.active[peer]
        self.changes.append((peer, False))
        out.append(Emit(self._topic, NeighborDown(peer, reason)))
        out.append(DisconnectPeer(peer))
        if keep:
            data = self._peer_data.pop(peer, None)
            self._add_passive(PeerInfo(peer, data), peer, out)
        self.refill(now_s, out, exclude=peer)

    def _forget(self, peer: PeerId, data: bool = True) -> None:
        self.passive.pop(peer, None)
        if data:
            self._peer_data.pop(peer, None)
