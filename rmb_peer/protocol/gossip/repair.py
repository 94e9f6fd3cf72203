"""Finds what the tree has missed, by comparing with neighbors (weaknesses W12, W13, W14).

After news a few neighbors are told, one per tick, how far we are with the authors concerned; rarely, about all authors.
Whoever lacks something waits a moment, for it may be on its way, and asks. A late joiner asks for the last messages.

Answers are `Gossip` with `repair` set; they arrive like any other, so that this module never sees a payload come.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from rmb_peer.protocol.gossip.authors import AuthorMemory, Life
from rmb_peer.protocol.gossip.config import Profile
from rmb_peer.protocol.gossip.events import Output, RepairDue, Send, SetTimer
from rmb_peer.protocol.gossip.liveness import Liveness
from rmb_peer.protocol.gossip.messages import (
    BroadcastBody,
    Digest,
    Fetch,
    Gossip,
    Held,
    HistoryRequest,
    Message,
    PeerId,
    Stamp,
    Summary,
    TopicId,
    Wanted,
)
from rmb_peer.protocol.gossip.rng import Rng

SYNC_WAIT_S = 2.0
"""Without a word about older authors after this time with a neighbor, there are none. A guess."""
HISTORY_TRIES = 5
"""Neighbors asked for history before there is none. A guess."""


class Gap:
    """Something is missing of an author.

    Attributes:
        since_s: since when.
        ask_at_s: when to ask next.
        source: who said that it exists, if somebody did.
        tries: how often we asked.
        upto: what was complete when it was looked at last; progress begins the count anew.
    """

    __slots__ = ("ask_at_s", "since_s", "source", "tries", "upto")

    def __init__(self, now_s: float, ask_at_s: float, source: PeerId | None, upto: int) -> None:
        self.since_s = now_s
        self.ask_at_s = ask_at_s
        self.source = source
        self.tries = 0
        self.upto = upto


class Allowance:
    """How much a neighbor may still ask for: a bucket of tokens."""

    __slots__ = ("at_s", "tokens")

    def __init__(self, tokens: float, now_s: float) -> None:
        self.tokens = tokens
        self.at_s = now_s

    def take(self, wanted: int, per_s: float, burst: float, now_s: float) -> int:
        """Take up to `wanted`; returns how many there were."""
        self.tokens = min(burst, self.tokens + (now_s - self.at_s) * per_s)
        self.at_s = now_s
        taken = min(wanted, int(self.tokens))
        self.tokens -= taken
        return taken


class Repair:
    """Comparison and requests of one topic.

    Attributes:
        history: messages that the application wants from before its time, until they are granted.
        entries_max: entries that fit into one Digest, Summary or Fetch.
    """

    def __init__(
        self, topic: TopicId, profile: Profile, memory: AuthorMemory, links: Liveness, rng: Rng, entries_max: int
    ) -> None:
        self._topic = topic
        self._config = profile.repair
        self._memory = memory
        self._links = links
        self._rng = rng
        self.entries_max = entries_max
        self.history = 0
        self._history_asked: PeerId | None = None
        self._history_asked_at_s = 0.0
        self._history_tries = 0
        self._gaps: dict[Life, Gap] = {}
        self._allowances: dict[PeerId, Allowance] = {}
        self._told: deque[dict[Life, None]] = deque(maxlen=profile.repair.digests_after_news)
        self._turn: list[PeerId] = []
        self._next_at_s: float | None = None
        self._idle_at_s: float | None = None
        self._first_neighbor_at_s: float | None = None
        self._rotation = 0
        self.handlers: dict[type[Any], Callable[[PeerId, Any, float, list[Output]], None]] = {
            Digest: self._on_digest,
            Fetch: self._on_fetch,
            HistoryRequest: self._on_history_request,
            Summary: self._on_summary,
        }

    # --- what comes in ------------------------------------------------------------------------------------------------

    def received(self, sender: PeerId, body: BroadcastBody, now_s: float, out: list[Output]) -> None:
        """A message of ours came."""
        self.handlers[type(body)](sender, body, now_s, out)

    def alone(self) -> None:
        """The topic begins here: there is nothing older to learn of."""
        self._memory.synced = True
        self.history = 0

    def neighbor_up(self, peer: PeerId, now_s: float, out: list[Output]) -> None:
        """Tell a new neighbor what we have; ask it for history if that is wanted."""
        self._allowances[peer] = Allowance(float(self._config.history_max), now_s)
        if self._first_neighbor_at_s is None:
            self._first_neighbor_at_s = now_s
        entries = self._entries(list(self._memory.logs))
        for start in range(0, min(len(entries), 8 * self.entries_max), self.entries_max):
            self._send(peer, Digest(tuple(entries[start : start + self.entries_max])), out)
        if self.history and self._history_asked is None:
            self._ask_history(peer, now_s, out)
        self._wake(now_s, self._config.tick_s, out)

    def neighbor_down(self, peer: PeerId) -> None:
        """A neighbor went."""
        self._allowances.pop(peer, None)
        if self._history_asked == peer:
            self._history_asked = None
        for gap in self._gaps.values():
            if gap.source == peer:
                gap.source = None

    def noticed(self, now_s: float, out: list[Output]) -> None:
        """A message came or was sent, and was remembered."""
        if self._next_at_s is None or self._next_at_s > now_s + self._config.tick_s:
            self._wake(now_s, self._config.tick_s, out)

    def due(self, now_s: float, active: dict[PeerId, None], out: list[Output]) -> None:
        """The timer fired."""
        if self._next_at_s is None or now_s < self._next_at_s:
            return
        self._next_at_s = None
        memory = self._memory
        if not memory.synced and self._first_neighbor_at_s is not None:
            memory.synced = now_s >= self._first_neighbor_at_s + SYNC_WAIT_S
        self._ask(now_s, active, out)
        self._tell(now_s, active, out)
        if self.history and active and now_s > self._history_asked_at_s + SYNC_WAIT_S:
            if self._history_tries >= HISTORY_TRIES:
                self.history = 0
            else:
                self._ask_history(self._rng.choice(list(active)), now_s, out)
        if any(self._told) or not memory.synced or self.history:
            self._wake(now_s, self._config.tick_s, out)
        if self._gaps:
            self._wake(now_s, max(0.05, min(gap.ask_at_s for gap in self._gaps.values()) - now_s), out)
        if self._next_at_s is None and active:
            self._wake(now_s, self._config.idle_s, out)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _wake(self, now_s: float, after_s: float, out: list[Output]) -> None:
        """See to it that `due` is called by then; a timer that was set for later finds that it is stale."""
        after_s *= 0.8 + 0.4 * self._rng.random()  # neighbors shall not tick together
        if self._next_at_s is None or self._next_at_s > now_s + after_s:
            self._next_at_s = now_s + after_s
            out.append(SetTimer(after_s, RepairDue(self._topic)))

    def _wait_s(self) -> float:
        return max(self._config.wait_s, 3 * self._links.longest_rtt_s)

    def _ask(self, now_s: float, active: dict[PeerId, None], out: list[Output]) -> None:
        """Fetch what has been missing for long enough; give up what nobody has."""
        memory = self._memory
        self._forget_closed_gaps()
        wanted: dict[PeerId, list[Wanted]] = {}
        left = self._config.fetch_max
        for life in list(memory.holes):
            log = memory.logs[life]
            gap = self._gaps.get(life)
            if gap is None:
                self._gaps[life] = Gap(now_s, now_s + self._wait_s(), None, log.upto)
                continue
            if log.upto > gap.upto:
                gap.upto, gap.since_s, gap.tries = log.upto, now_s, 0
            if gap.ask_at_s > now_s or not active or left <= 0:
                continue
            if gap.tries >= self._config.tries and now_s >= gap.since_s + self._config.give_up_s:
                memory.give_up(life)
                del self._gaps[life]
                continue
            source = gap.source if gap.source in active else self._rng.choice(list(active))
            gap.source = None  # if it has nothing, another one is asked
            gap.tries += 1
            gap.ask_at_s = now_s + self._wait_s()
            ranges = wanted.setdefault(source, [])
            for first, last in log.missing(left):
                if len(ranges) < self.entries_max:
                    ranges.append(Wanted(*life, first, last))
                    left -= last - first + 1
        for peer, asked in wanted.items():
            if asked:
                self._send(peer, Fetch(tuple(asked)), out)

    def _forget_closed_gaps(self) -> None:
        for life in [life for life in self._gaps if life not in self._memory.holes]:
            del self._gaps[life]

    def _tell(self, now_s: float, active: dict[PeerId, None], out: list[Output]) -> None:
        """Tell one neighbor how far we are; each tick another one."""
        memory = self._memory
        if not active:
            return
        if memory.news or any(self._told):
            self._told.append(memory.news)
            memory.news = {}
        lives: dict[Life, None] = {}
        for part in self._told:
            lives.update(part)
        chosen = list(lives)[-self.entries_max :]
        if self._idle_at_s is None:
            self._idle_at_s = now_s + self._config.idle_s
        elif now_s >= self._idle_at_s:
            self._idle_at_s = now_s + self._config.idle_s
            every = list(memory.logs)
            if every:
                start = self._rotation % len(every)
                self._rotation = start + self.entries_max
                chosen += [life for life in every[start:] + every[:start] if life not in lives]
        entries = self._entries(chosen[: self.entries_max])
        if entries:
            self._send(self._next_in_turn(active), Digest(tuple(entries)), out)

    def _next_in_turn(self, active: dict[PeerId, None]) -> PeerId:
        while self._turn:
            peer = self._turn.pop()
            if peer in active:
                return peer
        self._turn = list(active)
        self._rng.shuffle(self._turn)
        return self._turn.pop()

    def _entries(self, lives: list[Life]) -> list[Held]:
        return [entry for entry in map(self._memory.state_of, lives) if entry is not None and entry.upto > 0]

    def _on_digest(self, sender: PeerId, body: Digest, now_s: float, out: list[Output]) -> None:
        memory = self._memory
        behind: list[Life] = []
        for entry in body.entries:
            life = (entry.author, entry.incarnation)
            if memory.exists(entry):
                gap = self._gaps.get(life)
                if gap is None:
                    self._forget_closed_gaps()
                    ask_at_s = now_s + self._wait_s()
                    self._gaps[life] = Gap(now_s, ask_at_s, sender, memory.logs[life].upto)
                    self._wake(now_s, self._wait_s(), out)
                elif gap.source is None:
                    gap.source = sender
            elif not body.answer and life not in memory.news:
                ours = memory.state_of(life)
                if ours is not None and ours.upto > entry.upto:
                    behind.append(life)
        if behind:
            self._send(sender, Digest(tuple(self._entries(behind)), answer=True), out)

    def _on_fetch(self, sender: PeerId, body: Fetch, now_s: float, out: list[Output]) -> None:
        left = self._allowed(sender, self._config.fetch_max, now_s)
        for author, incarnation, first, last in body.ranges:
            for number in range(first, min(last, first + left - 1) + 1):
                message = self._memory.held(Stamp(author, incarnation, number))
                if message is not None:
                    self._send(sender, message._replace(repair=True), out)
                left -= 1

    def _on_history_request(self, sender: PeerId, body: HistoryRequest, now_s: float, out: list[Output]) -> None:
        count = self._allowed(sender, min(body.latest, self._config.history_max), now_s)
        messages = self._memory.latest(count)
        first: dict[Life, int] = {}
        for message in messages:
            assert isinstance(message.id, Stamp)
            life = message.id[:2]
            first[life] = min(first.get(life, message.id.number), message.id.number)
        entries = [
            entry._replace(first=first[life]) for life in first if (entry := self._memory.state_of(life)) is not None
        ]
        self._send(sender, Summary(tuple(entries[-self.entries_max :])), out)
        for message in messages:
            self._send(sender, message._replace(repair=True), out)

    def _on_summary(self, sender: PeerId, body: Summary, now_s: float, out: list[Output]) -> None:
        if self._history_asked != sender or not self.history:
            return
        self.history = 0
        self._history_asked = None
        for entry in body.entries:
            self._memory.exists(entry)
            self._memory.want_from(entry)
        self._wake(now_s, self._wait_s(), out)

    def _ask_history(self, peer: PeerId, now_s: float, out: list[Output]) -> None:
        self._history_asked = peer
        self._history_asked_at_s = now_s
        self._history_tries += 1
        self._send(peer, HistoryRequest(min(self.history, self._config.history_max)), out)

    def _allowed(self, peer: PeerId, wanted: int, now_s: float) -> int:
        allowance = self._allowances.get(peer)
        if allowance is None:
            return 0
        return allowance.take(wanted, self._config.serve_per_s, float(self._config.history_max), now_s)

    def _send(self, peer: PeerId, body: Gossip | Digest | Fetch | HistoryRequest | Summary, out: list[Output]) -> None:
        out.append(Send(peer, Message(self._topic, body)))
