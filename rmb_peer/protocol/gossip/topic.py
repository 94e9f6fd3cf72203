"""One topic of one node: joins the two machines and what we have added to them (spec gossip 5.4).

Each machine decides for itself; here is only what one must know of the other: neighbors that came and went, retries
that become joins, silence that becomes a lost neighbor, messages that are let in, numbered, put in order.
"""

from collections.abc import Callable

from rmb_peer.protocol.errors import MessageTooLarge
from rmb_peer.protocol.gossip import codec
from rmb_peer.protocol.gossip.authors import AuthorLog, AuthorMemory, Life
from rmb_peer.protocol.gossip.config import Profile
from rmb_peer.protocol.gossip.contacts import Contacts
from rmb_peer.protocol.gossip.events import (
    AnnounceDue,
    Broadcast,
    Delivered,
    Emit,
    EvictDue,
    GraftDue,
    JoinTopic,
    MaintainDue,
    Missed,
    NeighborTimeout,
    Output,
    PruneDue,
    RepairDue,
    Send,
    SetTimer,
    ShuffleDue,
    Timer,
)
from rmb_peer.protocol.gossip.hyparview import HIGH, Membership
from rmb_peer.protocol.gossip.identity import content_id, signed_bytes
from rmb_peer.protocol.gossip.liveness import Liveness
from rmb_peer.protocol.gossip.memory import ContentMemory, Memory
from rmb_peer.protocol.gossip.messages import (
    Body,
    Disconnect,
    Gossip,
    Message,
    PeerId,
    Ping,
    Pong,
    Reason,
    Scope,
    Stamp,
    TopicId,
)
from rmb_peer.protocol.gossip.ordering import Ordering
from rmb_peer.protocol.gossip.plumtree import Broadcaster
from rmb_peer.protocol.gossip.repair import Repair
from rmb_peer.protocol.gossip.rng import Rng

BUSY_FOR_S = 10.0
"""After a change of neighbors, places are filled at the busy pace for this long. A guess."""
DIRECT_AUTHORS_MAX = 64
"""Authors of neighbors-scope messages remembered for repeats; only neighbors can be."""

Sign = Callable[[bytes], bytes]
Verify = Callable[[PeerId, bytes, bytes], bool]


class Topic:
    """The state of one topic."""

    def __init__(
        self,
        me: PeerId,
        topic: TopicId,
        profile: Profile,
        rng: Rng,
        incarnation: int,
        sign: Sign | None,
        verify: Verify | None,
    ) -> None:
        self._me = me
        self._topic = topic
        self._profile = profile
        self._fixes = fixes = profile.fixes
        self._rng = rng
        self._incarnation = incarnation
        self._sign = sign
        self._verify = verify
        self._numbers = {Scope.SWARM: 0, Scope.NEIGHBORS: 0}
        self._direct: dict[Life, AuthorLog] = {}
        self.links = Liveness(profile.links)
        self.contacts = Contacts(me, profile.contacts, rng)
        self.membership = Membership(me, topic, profile, rng)
        config = profile.broadcast
        self._authors: AuthorMemory | None = None
        memory: Memory = ContentMemory(config.payload_retention_s, config.id_retention_s)
        if fixes.author_identity:
            memory = self._authors = AuthorMemory(me, profile.limits, config.payload_retention_s)
        limits = codec.entry_limits(profile.limits.message_bytes_max, fixes.author_identity)
        self.broadcaster = Broadcaster(me, topic, profile, memory, self.links, self._genuine)
        self.broadcaster.entries_max = limits.announcements
        self.repair: Repair | None = None
        self._ordering: Ordering | None = None
        if fixes.repair and self._authors is not None:
            self.repair = Repair(topic, profile, self._authors, self.links, rng, limits.ranges)
        self._maintained = False
        self._maintain_at_s = 0.0
        self._busy_until_s = 0.0
        self._membership_types = frozenset(self.membership.handlers)
        self._broadcast_types = frozenset(self.broadcaster.handlers)
        self._our_links = fixes.liveness or fixes.measured_timers

    # --- commands -----------------------------------------------------------------------------------------------------

    def join(self, command: JoinTopic, now_s: float, out: list[Output]) -> None:
        """Ask every bootstrap peer (spec gossip 5.4, 6.4)."""
        self._begin(now_s, out)
        if self.repair is not None and self._authors is not None:
            self.repair.history = max(self.repair.history, command.history)
            if not command.bootstrap and not self.contacts.bootstrap:
                self.repair.alone()
            if command.ordered and self._ordering is None:
                self._ordering = Ordering(self._authors)
                self._ordering.held = self.repair.history > 0
        if self._fixes.join_retries:
            self.contacts.add_bootstrap(command.bootstrap, now_s)
        for peer in command.bootstrap:
            self.membership.request_join(peer, now_s, out)

    def broadcast(self, command: Broadcast, now_s: float, out: list[Output]) -> None:
        """Send something of our own (spec gossip 7.4).

        Raises:
            MessageTooLarge: it does not fit; nothing has changed (W15).
        """
        hops = 0 if command.scope is Scope.SWARM else None
        if self._authors is None:
            message = Gossip(content_id(command.payload), command.payload, hops)
        else:
            number = self._numbers[command.scope] + 1
            message = Gossip(Stamp(self._me, self._incarnation, number), command.payload, hops)
            if self._sign is not None:
                message = message._replace(signature=self._sign(signed_bytes(self._topic, message)))
            limit = self._profile.limits.message_bytes_max
            size = codec.largest_size(Message(self._topic, message))
            if size > limit:
                raise MessageTooLarge(
                    f"a payload of {len(command.payload)} bytes makes a message of up to {size} bytes, and the limit"
                    f" is {limit}: send less, or a reference to it"
                )
            self._numbers[command.scope] = number
        self._begin(now_s, out)
        self.broadcaster.broadcast(message, now_s, out)
        if self.repair is not None:
            self.repair.noticed(now_s, out)

    def quit(self, out: list[Output]) -> None:
        """Say goodbye."""
        self.membership.quit(out)

    def update_my_data(self, data: bytes) -> None:
        """How we can be reached has changed."""
        self.membership.update_my_data(data)

    # --- messages -----------------------------------------------------------------------------------------------------

    def received(self, sender: PeerId, body: Body, now_s: float, out: list[Output]) -> None:
        """A message came."""
        kind = type(body)
        if self._our_links:
            self.links.heard(sender, now_s)
            if sender in self.contacts.lost:
                self.contacts.found(sender)
        if kind in self._broadcast_types:
            if (
                self._fixes.neighbors_only
                and sender not in self.membership.active
                and not (kind is Gossip and self.membership.awaited(sender))
            ):
                self._not_neighbors(sender, out)
                return
            self.broadcaster.begin(now_s, out)
            before = len(out)
            self.broadcaster.received(sender, body, now_s, out)  # type: ignore[arg-type]
            if kind is Gossip and self.repair is not None and len(out) > before:
                self.repair.noticed(now_s, out)
                if type(out[-1]) is Emit or self._ordering is not None:
                    self._in_order(before, now_s, out)
        elif kind in self._membership_types:
            self._begin(now_s, out)
            self.membership.received(sender, body, now_s, out)  # type: ignore[arg-type]
            self._settle(now_s, out)
        elif kind is Ping:
            if sender in self.membership.active or self.membership.awaited(sender):
                out.append(Send(sender, Message(self._topic, Pong(body.nonce))))  # type: ignore[union-attr]
            else:
                self._not_neighbors(sender, out)
        elif kind is Pong:
            self.links.answered(sender, body.nonce, now_s)  # type: ignore[union-attr]
        elif self.repair is not None and sender in self.membership.active:
            self.repair.received(sender, body, now_s, out)  # type: ignore[arg-type]
            self._report_lost(out)
            self._end_of_hold(out)

    def peer_disconnected(self, peer: PeerId, now_s: float, out: list[Output]) -> None:
        """The transport lost a peer."""
        self._begin(now_s, out)
        self.membership.peer_disconnected(peer, now_s, out)
        if self._fixes.explicit_answers:
            self._settle(now_s, out)
        else:
            self.broadcaster.neighbor_down(peer)  # spec gossip 5.4: membership first, then this, in any case
            self._settle(now_s, out)

    def timer(self, timer: Timer, now_s: float, out: list[Output]) -> None:
        """A timer fired."""
        kind = type(timer)
        if kind is GraftDue:
            self.broadcaster.graft_due(timer.id, now_s, out)  # type: ignore[union-attr]
        elif kind is AnnounceDue:
            self.broadcaster.announce_due(timer, out)  # type: ignore[arg-type]
        elif kind is EvictDue:
            self.broadcaster.evict(now_s, out)
        elif kind is PruneDue:
            self.broadcaster.prune_due(now_s, out)
        elif kind is MaintainDue:
            self._maintain(now_s, out)
        elif kind is RepairDue:
            if self.repair is not None:
                self.repair.due(now_s, self.membership.active, out)
                self._report_lost(out)
                self._end_of_hold(out)
        elif kind is ShuffleDue:
            self.membership.shuffle_due(now_s, out)
        elif kind is NeighborTimeout:
            self.membership.neighbor_timeout(timer, now_s, out)  # type: ignore[arg-type]
            self._settle(now_s, out)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _begin(self, now_s: float, out: list[Output]) -> None:
        self.membership.begin(now_s, out)
        if self._fixes.liveness and not self._maintained:
            self._maintained = True
            after_s = self._profile.links.tick_lonely_s * (0.5 + self._rng.random())
            self._maintain_at_s = now_s + after_s
            out.append(SetTimer(after_s, MaintainDue(self._topic)))

    def _settle(self, now_s: float, out: list[Output]) -> None:
        """Tell everybody who came and who went, and remember who failed."""
        membership = self.membership
        if membership.failed:
            failed, membership.failed = membership.failed, []
            if self._fixes.recontact:
                for peer in failed:
                    self.contacts.was_lost(peer, now_s)
        if not membership.changes:
            return
        changes, membership.changes = membership.changes, []
        self._busy_until_s = now_s + BUSY_FOR_S
        for peer, came in changes:
            self.broadcaster.begin(now_s, out)
            if came:
                self.broadcaster.neighbor_up(peer)
                self.contacts.joined(now_s)
                if self._our_links:
                    out.append(Send(peer, Message(self._topic, Ping(self.links.up(peer, now_s)))))
                if self.repair is not None:
                    self.repair.neighbor_up(peer, now_s, out)
            else:
                self.broadcaster.neighbor_down(peer)
                self.links.down(peer)
                if self.repair is not None:
                    self.repair.neighbor_down(peer)

    def _maintain(self, now_s: float, out: list[Output]) -> None:
        """Look after links, places and contacts (W2, W3, W4)."""
        if now_s < self._maintain_at_s:
            return  # a timer from before we left this topic and came back
        membership, contacts = self.membership, self.contacts
        pings, dead = self.links.due(now_s)
        for peer, nonce in pings:
            out.append(Send(peer, Message(self._topic, Ping(nonce))))
        for peer in dead:
            membership.silent(peer, now_s, out)
        membership.expire(now_s)
        if len(membership.active) + len(membership.pending) < self._profile.membership.active_capacity:
            membership.refill(now_s, out)
        lonely = not membership.active
        if self._fixes.join_retries and (lonely or not membership.has_room_to_ask()):
            for peer in contacts.retry(now_s, membership.active, membership.passive):
                membership.request_join(peer, now_s, out)
        if self._fixes.recontact:
            lost = contacts.recontact(now_s, membership.active)
            if lost is not None:
                membership.request(lost, HIGH, now_s, out)
        self._settle(now_s, out)
        links = self._profile.links
        busy = bool(membership.pending) or self.links.suspects() or now_s < self._busy_until_s
        after_s = links.tick_busy_s if busy else links.tick_idle_s
        if lonely and self.contacts.soon():
            after_s = links.tick_lonely_s
        after_s *= 0.9 + self._rng.random() / 5
        self._maintain_at_s = now_s + after_s
        out.append(SetTimer(after_s, MaintainDue(self._topic)))

    def _not_neighbors(self, peer: PeerId, out: list[Output]) -> None:
        out.append(Send(peer, Message(self._topic, Disconnect(True, Reason.NOT_NEIGHBORS))))

    def _genuine(self, sender: PeerId, message: Gossip) -> bool:
        """Whether a message is what its identity says (spec gossip 7.5; W35)."""
        key = message.id
        if self._authors is None:
            return key == content_id(message.content)
        if type(key) is not Stamp or key.number < 1 or key.author == self._me:
            return False
        if message.round is None and (key.author != sender or not self._is_new_direct(key)):
            return False
        if self._verify is not None and not self._verify(
            key.author, signed_bytes(self._topic, message), message.signature
        ):
            return False
        if message.round is None:
            self._direct[key[:2]].add(key.number)
        return True

    def _is_new_direct(self, key: Stamp) -> bool:
        """Whether a neighbors-scope message is no repeat; nothing is asked for, so gaps are closed."""
        log = self._direct.get(key[:2])
        if log is None:
            if any(author == key.author and life > key.incarnation for author, life in self._direct):
                return False
            while len(self._direct) >= DIRECT_AUTHORS_MAX:
                del self._direct[next(iter(self._direct))]
            log = self._direct[key[:2]] = AuthorLog(key.number)
        elif key.number > log.upto + DIRECT_AUTHORS_MAX:
            log.give_up(key.number - DIRECT_AUTHORS_MAX)
        return not log.has(key.number)

    def _in_order(self, before: int, now_s: float, out: list[Output]) -> None:
        """After a message: report what it made certain to be lost, and bring deliveries into order if wanted."""
        if self._ordering is not None:
            rest = out[before:]
            del out[before:]
            for output in rest:
                if type(output) is Emit and type(output.event) is Delivered and output.event.round is not None:
                    out += [Emit(self._topic, event) for event in self._ordering.take(output.event)]
                else:
                    out.append(output)
        self._report_lost(out)

    def _end_of_hold(self, out: list[Output]) -> None:
        """Where history begins is known, or there is none: deliveries in order may begin."""
        if self._ordering is not None and self._ordering.held and self.repair is not None and not self.repair.history:
            self._ordering.held = False
            out += [Emit(self._topic, event) for event in self._ordering.release_all()]

    def _report_lost(self, out: list[Output]) -> None:
        authors = self._authors
        if authors is None or not authors.lost:
            return
        lost, authors.lost = authors.lost, []
        for wanted in lost:
            if self._ordering is not None:
                # What comes before the hole goes first.
                out += [Emit(self._topic, event) for event in self._ordering.release(wanted[:2], wanted.first)]
            out.append(Emit(self._topic, Missed(*wanted)))
        if self._ordering is not None:
            out += [Emit(self._topic, event) for event in self._ordering.release_all()]
