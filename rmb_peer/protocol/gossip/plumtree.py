"""Broadcast in one topic: PlumTree (spec gossip 7), with our corrections behind the switches of `config.Fixes`.

Splits the neighbors into eager ones, which get payloads at once, and lazy ones, which get announcements. Duplicates
make links lazy, missing payloads make them eager again: a spanning tree emerges.

What was seen and what can be served is the business of `memory` and `authors`; who is a neighbor, of `hyparview`. When
nothing more can be done here, `repair` finds what is missing.
"""

import math
from collections.abc import Callable
from typing import Any

from rmb_peer.protocol.gossip.config import Profile
from rmb_peer.protocol.gossip.events import (
    AnnounceDue,
    Delivered,
    Emit,
    EvictDue,
    GraftDue,
    Output,
    PruneDue,
    Send,
    SetTimer,
)
from rmb_peer.protocol.gossip.liveness import Liveness
from rmb_peer.protocol.gossip.memory import Memory
from rmb_peer.protocol.gossip.messages import (
    ROUND_MAX,
    Announcement,
    BroadcastBody,
    Fetch,
    Gossip,
    Graft,
    IHave,
    Message,
    MessageId,
    NotHeld,
    PeerId,
    Prune,
    Stamp,
    TopicId,
    Wanted,
)


class Missing:
    """A message that was announced and has not come.

    Attributes:
        announcers: (peer, round) not yet asked, oldest first.
        asked: those that were asked, to be asked again when nobody is left (ours).
        first: the first announcer (ours).
        since_s: when it was announced first.
        tries: Grafts sent.
        timed: whether a timer runs (ours: one per message, W32).
    """

    __slots__ = ("announcers", "asked", "first", "since_s", "timed", "tries")

    def __init__(self, now_s: float, first: PeerId) -> None:
        self.announcers: list[tuple[PeerId, int]] = []
        self.asked: list[tuple[PeerId, int]] = []
        self.first = first
        self.since_s = now_s
        self.tries = 0
        self.timed = False


class Broadcaster:
    """The tree of one topic, as far as it touches this node.

    Attributes:
        eager: neighbors that get payloads at once.
        lazy: neighbors that get announcements.
        missing: what was announced and has not come.
        highest_round: the largest round at a first delivery (for statistics).
    """

    def __init__(
        self,
        me: PeerId,
        topic: TopicId,
        profile: Profile,
        memory: Memory,
        links: Liveness,
        genuine: Callable[[PeerId, Gossip], bool],
    ) -> None:
        """Begin without neighbors.

        Args:
            me: our own id.
            topic: the topic.
            profile: how to behave.
            memory: what was seen.
            links: the round trips.
            genuine: whether a message from a sender is what its identity says.
        """
        self._me = me
        self._topic = topic
        self._config = profile.broadcast
        self._tree = profile.tree
        self._fixes = profile.fixes
        self._limits = profile.limits
        self._memory = memory
        self._links = links
        self._genuine = genuine
        self.eager: dict[PeerId, None] = {}
        self.lazy: dict[PeerId, None] = {}
        self.missing: dict[MessageId, Missing] = {}
        self._unannounced: dict[PeerId, dict[MessageId, int]] = {}
        self._unannounced_late: dict[PeerId, dict[MessageId, int]] = {}
        self._announcing = False
        self._announcing_late = False
        self._pruned_at_s: dict[PeerId, float] = {}
        self._reference: MessageId | None = None
        self._suspects: dict[PeerId, None] = {}
        self._quiet_until_s = 0.0
        self._fetched = 0
        self._latest_s = self._second_latest_s = -math.inf
        self._graft_scheduled: dict[MessageId, None] = {}
        self._initialised = False
        self._evict_at_s = 0.0
        self._bounded = profile.fixes.repair
        self.entries_max = 1
        self.highest_round = 0
        self.handlers: dict[type[Any], Callable[[PeerId, Any, float, list[Output]], None]] = {
            Gossip: self._on_gossip,
            Prune: self._on_prune,
            Graft: self._on_graft,
            IHave: self._on_ihave,
            NotHeld: self._on_not_held,
        }

    # --- what comes in ------------------------------------------------------------------------------------------------

    def begin(self, now_s: float, out: list[Output]) -> None:
        """The first event of any kind runs the sweep, which schedules the next (spec gossip 7.1)."""
        if not self._initialised:
            self._initialised = True
            self.evict(now_s, out)

    def received(self, sender: PeerId, body: BroadcastBody, now_s: float, out: list[Output]) -> None:
        """A message of the broadcast family came."""
        self.handlers[type(body)](sender, body, now_s, out)

    def neighbor_up(self, peer: PeerId) -> None:
        """Spec gossip 7.2. Ours: lazy if enough are eager, so that no duplicates follow (W11)."""
        if self._fixes.gentle_start and len(self.eager) >= self._tree.eager_at_start:
            self.lazy[peer] = None
        else:
            self.lazy.pop(peer, None)
            self.eager[peer] = None

    def neighbor_down(self, peer: PeerId) -> None:
        """Spec gossip 7.3."""
        for key, missing in list(self.missing.items()):
            missing.announcers = [entry for entry in missing.announcers if entry[0] != peer]
            missing.asked = [entry for entry in missing.asked if entry[0] != peer]
            if not missing.announcers and not missing.asked:
                del self.missing[key]
        self.eager.pop(peer, None)
        self.lazy.pop(peer, None)
        if self._bounded:
            self._unannounced.pop(peer, None)
            self._unannounced_late.pop(peer, None)
            self._pruned_at_s.pop(peer, None)
            self._suspects.pop(peer, None)

    def broadcast(self, message: Gossip, now_s: float, out: list[Output]) -> None:
        """Send a message of our own (spec gossip 7.4)."""
        targets = self.eager
        if message.round is not None:
            self._memory.remember(message, now_s)
            self._passed(message.id, now_s, out)
            self._announce(message.id, 0, None, now_s, out)
        elif self._fixes.all_neighbors:
            targets = self.eager | self.lazy
        wrapped = Message(self._topic, message)
        out += [Send(peer, wrapped) for peer in sorted(targets)]

    def graft_due(self, key: MessageId, now_s: float, out: list[Output]) -> None:
        """Something announced has not come (spec gossip 7.9)."""
        self._graft_scheduled.pop(key, None)
        missing = self.missing.get(key)
        if missing is None or self._memory.seen(key):
            return
        missing.timed = False
        if not missing.announcers and self._bounded:
            if not missing.asked or missing.tries >= self._tree.graft_tries:
                del self.missing[key]  # repair will find it
                return
            missing.announcers, missing.asked = missing.asked, []
        if not missing.announcers:
            return
        peer, hops = missing.announcers.pop(0)
        if self._bounded:
            missing.asked.append((peer, hops))
            missing.tries += 1
            missing.timed = True
        body: Graft | Fetch = Graft(key, hops)
        if isinstance(key, Stamp) and self._only_slow(now_s):
            body = Fetch((Wanted(*key[:2], key.number, key.number),))
        else:
            self._to_eager(peer)
        out.append(Send(peer, Message(self._topic, body)))
        out.append(SetTimer(self._graft_next_s(peer), GraftDue(self._topic, key)))

    def _only_slow(self, now_s: float) -> bool:
        """Whether what is missing is more likely late than cut off (W11): the tree works, for other messages.

        Then it is fetched without a new link, which would bring every message twice. Now and then the link is made all
        the same, in case that only a part of the tree works.
        """
        if not self._fixes.careful_prunes or not self._fixes.repair:
            return False
        self._fetched += 1
        return self._busy(now_s) and self._fetched % self._tree.graft_every != 0

    def announce_due(self, timer: AnnounceDue, out: list[Output]) -> None:
        """Send what waits for announcement (spec gossip 7.7)."""
        if timer.late:
            self._announcing_late = False
            unannounced, self._unannounced_late = self._unannounced_late, {}
        else:
            self._announcing = False
            unannounced, self._unannounced = self._unannounced, {}
        for peer in sorted(unannounced):
            entries = [Announcement(key, hops) for key, hops in unannounced[peer].items()]
            for start in range(0, len(entries), self.entries_max):
                part = tuple(entries[start : start + self.entries_max])
                out.append(Send(peer, Message(self._topic, IHave(part))))

    def evict(self, now_s: float, out: list[Output]) -> None:
        """Sweep, and again in a second (spec gossip 7.10)."""
        if now_s < self._evict_at_s:
            return  # a timer from before we left this topic and came back
        self._evict_at_s = now_s + self._config.evict_interval_s
        self._memory.sweep(now_s)
        out.append(SetTimer(self._config.evict_interval_s, EvictDue(self._topic)))

    # --- messages -----------------------------------------------------------------------------------------------------

    def _on_gossip(self, sender: PeerId, body: Gossip, now_s: float, out: list[Output]) -> None:
        """Spec gossip 7.5."""
        key = body.id
        stamps = self._fixes.author_identity
        known = stamps and body.round is not None and self._memory.seen(key)  # before a signature is checked
        if not known and not self._genuine(sender, body):
            return
        if body.round is None:
            self._on_direct(sender, body, out)
            return
        if known or (not stamps and self._memory.seen(key)):
            if not body.repair:
                self._prune(sender, key, now_s, out)
            return
        forwarded = body._replace(round=min(body.round + 1, ROUND_MAX), repair=False)
        self._memory.remember(forwarded, now_s)
        self._passed(key, now_s, out)
        wrapped = Message(self._topic, forwarded)
        missing = self.missing.pop(key, None)
        self._graft_scheduled.pop(key, None)
        announced = (
            missing.announcers + missing.asked if missing is not None and self._fixes.spare_announcements else ()
        )
        if announced:
            have = [peer for peer, _ in announced]
            out += [Send(peer, wrapped) for peer in sorted(self.eager) if peer != sender and peer not in have]
            self._announce(key, forwarded.round or 0, (sender, *have), now_s, out)
        else:
            out += [Send(peer, wrapped) for peer in sorted(self.eager) if peer != sender]
            self._announce(key, forwarded.round or 0, (sender,), now_s, out)
        if not body.repair:
            if self._fixes.sender_is_eager and sender in self.lazy:
                self._to_eager(sender)
            if missing is not None:
                self._optimise(sender, forwarded.round or 0, missing, now_s, out)
            self.highest_round = max(self.highest_round, body.round)
        out.append(Emit(self._topic, Delivered(body.content, sender, body.round, key, body.repair)))

    def prune_due(self, now_s: float, out: list[Output]) -> None:
        """Enough duplicates were watched: make the links lazy that brought the one that counts."""
        suspects, self._suspects = self._suspects, {}
        self._reference = None
        self._quiet_until_s = now_s + self._tree.prune_quiet_rtts * self._links.longest_rtt_s
        for peer in suspects:
            if peer in self.eager:
                self._prune_now(peer, now_s, out)

    def _prune(self, sender: PeerId, key: MessageId, now_s: float, out: list[Output]) -> None:
        """A duplicate came: make the link lazy at both ends (W11: which one depends on the message).

        In a burst every message has its own best tree, and pruning for all of them at once would leave none. So nodes
        agree without a word: of the messages that come twice within a while, the one with the smallest identity counts.
        """
        if not self._fixes.careful_prunes:
            self._to_lazy(sender)
            out.append(Send(sender, Message(self._topic, Prune())))
            return
        self._spare(sender, key)
        if sender not in self.eager:
            if sender in self.lazy and now_s >= self._pruned_at_s.get(sender, 0.0) + self._links.rtt_s(sender):
                self._prune_now(sender, now_s, out)  # the last Prune was lost
            return
        if self._reference is None and not self._busy(now_s):
            self._prune_now(sender, now_s, out)  # one message at a time: nothing to weigh
            return
        self._watch(key, now_s, out)
        if key == self._reference:
            self._suspects[sender] = None

    def _passed(self, key: MessageId, now_s: float, out: list[Output]) -> None:
        """A new message is passed on."""
        if self._fixes.careful_prunes:
            self._second_latest_s, self._latest_s = self._latest_s, now_s
            self._watch(key, now_s, out)

    def _busy(self, now_s: float) -> bool:
        """Whether several messages are on their way at once."""
        return self._second_latest_s > now_s - self._tree.prune_watch_rtts * self._links.longest_rtt_s

    def _watch(self, key: MessageId, now_s: float, out: list[Output]) -> None:
        """A message came, for the first time or again: it may be the one that counts."""
        if self._reference is None:
            if now_s >= self._quiet_until_s and self._busy(now_s):
                self._reference = key
                out.append(SetTimer(self._tree.prune_watch_rtts * self._links.longest_rtt_s, PruneDue(self._topic)))
        elif key < self._reference:  # type: ignore[operator] # both are stamps
            self._reference = key
            self._suspects = {}

    def _prune_now(self, peer: PeerId, now_s: float, out: list[Output]) -> None:
        self._pruned_at_s[peer] = now_s
        self._to_lazy(peer)
        out.append(Send(peer, Message(self._topic, Prune())))

    def _on_direct(self, sender: PeerId, body: Gossip, out: list[Output]) -> None:
        """Neighbors-scope: delivered, never passed on (spec gossip 10)."""
        if self._memory.seen(body.id) and not self._fixes.author_identity:
            self._to_lazy(sender)
            out.append(Send(sender, Message(self._topic, Prune())))
        else:
            out.append(Emit(self._topic, Delivered(body.content, sender, None, body.id)))

    def _on_prune(self, sender: PeerId, body: Prune, now_s: float, out: list[Output]) -> None:
        self._to_lazy(sender)

    def _on_graft(self, sender: PeerId, body: Graft, now_s: float, out: list[Output]) -> None:
        """Spec gossip 7.9."""
        self._to_eager(sender)
        if body.id is None:
            return
        message = self._memory.held(body.id)
        if message is not None:
            out.append(Send(sender, Message(self._topic, message)))
            self._spare(sender, body.id)
        elif self._fixes.repair:
            out.append(Send(sender, Message(self._topic, NotHeld(body.id))))  # W13

    def _on_not_held(self, sender: PeerId, body: NotHeld, now_s: float, out: list[Output]) -> None:
        """The graft to this peer was in vain: do not ask it again, ask the next one now."""
        missing = self.missing.get(body.id)
        if missing is not None:
            missing.asked = [entry for entry in missing.asked if entry[0] != sender]
            missing.announcers = [entry for entry in missing.announcers if entry[0] != sender]
            if not missing.announcers and not missing.asked:
                del self.missing[body.id]

    def _on_ihave(self, sender: PeerId, body: IHave, now_s: float, out: list[Output]) -> None:
        """Spec gossip 7.6."""
        for key, hops in body.entries:
            self._spare(sender, key)
            if self._memory.seen(key):
                continue
            missing = self.missing.get(key)
            if missing is None:
                if self._bounded and len(self.missing) >= self._limits.missing:
                    del self.missing[next(iter(self.missing))]
                missing = self.missing[key] = Missing(now_s, sender)
            if self._bounded:
                if len(missing.announcers) + len(missing.asked) < self._limits.announcers and all(
                    peer != sender for peer, _ in missing.announcers + missing.asked
                ):
                    missing.announcers.append((sender, hops))
            else:
                missing.announcers.append((sender, hops))
            if self._fixes.measured_timers:
                if not missing.timed:
                    missing.timed = True
                    out.append(SetTimer(self._graft_first_s(), GraftDue(self._topic, key)))
            elif key not in self._graft_scheduled:
                self._graft_scheduled[key] = None
                out.append(SetTimer(self._config.graft_first_s, GraftDue(self._topic, key)))

    # --- helpers ------------------------------------------------------------------------------------------------------

    def _to_eager(self, peer: PeerId) -> None:
        if self._fixes.neighbors_only and peer not in self.lazy:
            return  # already, or no neighbor
        self.lazy.pop(peer, None)
        self.eager[peer] = None

    def _to_lazy(self, peer: PeerId) -> None:
        if self._fixes.neighbors_only and peer not in self.eager:
            return
        self.eager.pop(peer, None)
        self.lazy[peer] = None

    def _announce(
        self, key: MessageId, hops: int, have: tuple[PeerId, ...] | None, now_s: float, out: list[Output]
    ) -> None:
        """Queue an announcement for every lazy neighbor that is not known to have the message (spec gossip 7.7)."""
        for peer in self.lazy:
            if have is None or peer not in have:
                waiting = self._queue_for(peer).setdefault(peer, {})
                if not self._bounded or len(waiting) < self._limits.unannounced:
                    waiting[key] = hops
        if not self._announcing and (self._unannounced or not self._fixes.spare_announcements):
            self._announcing = True
            out.append(SetTimer(self._announce_after_s(), AnnounceDue(self._topic)))
        if not self._announcing_late and self._unannounced_late:
            self._announcing_late = True
            out.append(SetTimer(self._announce_late_s(), AnnounceDue(self._topic, late=True)))

    def _queue_for(self, peer: PeerId) -> dict[PeerId, dict[MessageId, int]]:
        """Of the two ends of a lazy link one announces later, and finds that it need not. Both know which one (W31)."""
        if not self._fixes.spare_announcements:
            return self._unannounced
        late = (self._me < peer) == ((self._me + peer) % 2 == 0)
        return self._unannounced_late if late else self._unannounced

    def _spare(self, peer: PeerId, key: MessageId) -> None:
        """A peer has this message: it need not be announced to it (W31)."""
        if self._fixes.spare_announcements:
            queue = self._queue_for(peer)
            waiting = queue.get(peer)
            if waiting is not None and waiting.pop(key, None) is not None and not waiting:
                del queue[peer]

    def _optimise(self, sender: PeerId, hops: int, missing: Missing, now_s: float, out: list[Output]) -> None:
        """Take a better way for the next messages (spec gossip 7.8)."""
        if self._fixes.no_optimisation:
            return
        if not missing.announcers:
            return
        better, fewer = min(missing.announcers, key=lambda entry: entry[1])
        if fewer < hops and hops - fewer >= self._config.optimization_hops:
            if better not in self.eager:
                self._to_eager(better)
                out.append(Send(better, Message(self._topic, Graft(None, fewer))))
            self._to_lazy(sender)
            out.append(Send(sender, Message(self._topic, Prune())))

    def _announce_late_s(self) -> float:
        return self._announce_after_s() + self._bound(self._tree.announce_late_rtts * self._links.mean_rtt_s)

    def _announce_after_s(self) -> float:
        if not self._fixes.measured_timers:
            return self._config.announce_after_s
        return self._bound(self._tree.announce_rtts * self._links.mean_rtt_s)

    def _graft_first_s(self) -> float:
        return self._bound(self._tree.graft_first_rtts * self._links.longest_rtt_s)

    def _graft_next_s(self, peer: PeerId) -> float:
        if not self._fixes.measured_timers:
            return self._config.graft_next_s
        return self._bound(self._tree.graft_next_rtts * self._links.rtt_s(peer))

    def _bound(self, wait_s: float) -> float:
        return min(max(wait_s, self._tree.wait_min_s), self._tree.wait_max_s)
