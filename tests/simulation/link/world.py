"""A seeded world in which gateways talk through a relay over rmb.2, and anything may break at any time.

The links are the real ones (`rmb_peer/protocol/link`); gateways, relay, their stores and the lines between them are
models, small enough for thousands of messages in a second. What a store has committed survives a crash; all else is
gone.

Lines keep the order of bytes and lose whatever is on its way when they are cut; one side may hear of the cut much later
than the other, so that frames of an old connection arrive after a new one was made.
"""

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from rmb_peer.protocol.link.endings import IS_AT_PEER, IS_SAFE, Ending, Outcome, Window
from rmb_peer.protocol.link.link import Link


@dataclass(frozen=True, slots=True)
class Message:
    """One message: `number` counts what `sender` has taken for `receiver`, so that order can be checked."""

    sender: int
    receiver: int
    number: int

    def encode(self, filler: int) -> bytes:
        return b"%d,%d,%d," % (self.sender, self.receiver, self.number) + bytes(filler)

    @classmethod
    def decode(cls, data: bytes) -> "Message":
        sender, receiver, number, _ = data.split(b",", 3)
        return cls(int(sender), int(receiver), int(number))


@dataclass(slots=True)
class Conditions:
    """How bad the world is. Times in seconds of the simulation."""

    latency_s: float = 0.02
    cut_every_s: float = 0.5
    """Mean time between cuts of some line."""
    crash_every_s: float = 2.0
    """Mean time between crashes of some part."""
    restart_s: float = 0.3
    store_s: float = 0.003
    """Mean time that a store takes."""
    slow_every_s: float = 3.0
    """Mean time between a gateway's store turning slow for a while."""
    gateway_window: Window = field(default_factory=lambda: Window(64, 40_000))
    relay_window: Window = field(default_factory=lambda: Window(32, 20_000))
    direct_max: int = 16
    spill_s: float = 0.2
    careless: bool = False
    """A relay that stores newer envelopes before older ones which it forwards from memory: onlookers must notice."""


class World:
    """Time and chance."""

    def __init__(self, seed: int, conditions: Conditions) -> None:
        self.random = random.Random(seed)
        self.conditions = conditions
        self.now = 0.0
        self.frames = 0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, time_s: float, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._queue, (time_s, self._count, action))

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        self.at(self.now + delay_s, action)

    def about(self, mean_s: float) -> float:
        return self.random.expovariate(1 / mean_s)

    def run(self, until_s: float) -> None:
        while self._queue and self._queue[0][0] <= until_s:
            self.now, _, action = heapq.heappop(self._queue)
            action()
        self.now = until_s


class Store:
    """Carries out writes one after the other, each after some time; a crash of its user loses those that wait."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._writes: deque[Callable[[], None]] = deque()
        self._life = 0
        self.slow_until = 0.0

    def write(self, commit: Callable[[], None], then: Callable[[], None]) -> None:
        """`commit` changes what survives; `then` is the answer, which may get lost in a crash between the two."""
        life = self._life

        def both() -> None:
            commit()
            self._world.after(0.0005, lambda: then() if life == self._life else None)

        self._writes.append(both)
        if len(self._writes) == 1:
            self._schedule()

    def crash(self) -> None:
        self._life += 1
        self._writes.clear()

    def _schedule(self) -> None:
        life = self._life
        delay_s = self._world.about(self._world.conditions.store_s)
        if self._world.now < self.slow_until:
            delay_s *= 50

        def work() -> None:
            if life == self._life:
                self._writes[0]()
                self._writes.popleft()
                if self._writes:
                    self._schedule()

        self._world.after(delay_s, work)


class Line:
    """One connection: two directions of frames."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.ends: list[Callable[[bytes], None] | None] = [None, None]
        self.lost: list[Callable[[], None] | None] = [None, None]
        self._arrives_s = [0.0, 0.0]
        self._cut_s = [float("inf"), float("inf")]
        """For each direction, when the line stops carrying it."""

    def send(self, towards: int, frame: bytes) -> None:
        """A frame arrives whole and in order, or, when the line is cut before its last byte, not at all."""
        world = self._world
        duration_s = len(frame) / 2e6 + world.about(world.conditions.latency_s)
        arrives_s = max(self._arrives_s[towards], world.now + duration_s)
        self._arrives_s[towards] = arrives_s

        def arrive() -> None:
            end = self.ends[towards]
            if end is not None and world.now < self._cut_s[towards]:
                end(frame)

        world.at(arrives_s, arrive)  # not `after`: rounding would turn equal times round

    def cut(self) -> None:
        """Each direction stops at a time of its own, and each end hears of it later, at a time of its own."""
        world = self._world
        for side in (0, 1):
            self._cut_s[side] = min(self._cut_s[side], world.now + world.about(world.conditions.latency_s))
            world.after(world.about(5 * world.conditions.latency_s), lambda side=side: self._tell(side))  # type: ignore[misc]

    def leave(self, side: int) -> None:
        """One end is gone: it hears nothing more; what it sent before still travels."""
        self.ends[side] = self.lost[side] = None
        self._world.after(self._world.about(2 * self._world.conditions.latency_s), lambda: self._tell(1 - side))

    def _tell(self, side: int) -> None:
        lost, self.lost[side], self.ends[side] = self.lost[side], None, None
        if lost is not None:
            lost()


class Gateway:
    """Outbox, marks and delivered messages survive; the link does not."""

    def __init__(self, world: World, name: int, relay: "Relay") -> None:
        self.world, self.name, self.relay = world, name, relay
        self.store = Store(world)
        self.outbox: dict[Message, bytes] = {}
        self.taken: dict[Message, None] = {}
        self.refused: dict[Message, Outcome] = {}
        self.marks: set[Message] = set()
        self.delivered: list[Message] = []
        self.repeats = 0
        self.unended_max = self.unsettled_max = 0
        self._numbers: dict[int, int] = {}
        self._alive = False
        self._line: Line | None = None
        self._link: Link[Message] | None = None
        self._pending: deque[Message] = deque()

    # --- life

    def start(self) -> None:
        self._alive = True
        self._pending = deque(self.outbox)
        self._connect()

    def crash(self) -> None:
        if not self._alive:
            return
        self._alive = False
        self.store.crash()
        if self._line is not None:
            self._line.leave(0)
            self._line = self._link = None
        self.world.after(self.world.conditions.restart_s, self.start)

    def take(self, receiver: int, filler: int) -> None:
        """A program's message moves into the outbox, at once and for good."""
        if not self._alive:
            return
        self._numbers[receiver] = self._numbers.get(receiver, 0) + 1
        message = Message(self.name, receiver, self._numbers[receiver])
        self.taken[message] = None
        self.outbox[message] = message.encode(filler)
        self._pending.append(message)
        self._pump()

    # --- link

    def _connect(self) -> None:
        if not self._alive or self._line is not None:
            return
        line = self.relay.accept(self.name)
        if line is None:
            self.world.after(self.world.about(0.1), self._connect)
            return
        self._line, self._link = line, Link(self.world.conditions.gateway_window)
        line.ends[0], line.lost[0] = self._heard, self._lost
        self._pump()

    def _lost(self) -> None:
        assert self._link is not None
        self._pending.extendleft(reversed(self._link.take_unended()))
        self._line = self._link = None
        self.world.after(self.world.about(0.05), self._connect)

    def _pump(self) -> None:
        if self._link is None or self._line is None:
            return
        while self._pending and self._link.has_room(len(self.outbox[self._pending[0]])):
            message = self._pending.popleft()
            self._link.put(message, self.outbox[message])
        self.unended_max = max(self.unended_max, self._link.unended)
        _speak(self.world, self._link, partial(self._line.send, 1), self._pump)

    def _heard(self, frame: bytes) -> None:
        assert self._link is not None
        link = self._link
        heard = link.received(frame)
        for message, outcome in heard.ended:
            if outcome.ending is Ending.REFUSED:
                self.refused[message] = outcome
            del self.outbox[message]
        for number, data in heard.envelopes:
            self.store.write(
                lambda data=data: self._deliver(Message.decode(data)),  # type: ignore[misc]
                lambda number=number: self._settle(link, number),  # type: ignore[misc]
            )
        self.unsettled_max = max(self.unsettled_max, link.unsettled)
        self._pump()

    def _deliver(self, message: Message) -> None:
        if message in self.marks:
            self.repeats += 1
            return
        self.marks.add(message)
        self.delivered.append(message)

    def _settle(self, link: Link[Message], number: int) -> None:
        if link is self._link:
            link.settle(number, IS_SAFE)
            self._pump()


@dataclass(slots=True)
class _Direct:
    """An envelope that is forwarded from memory."""

    data: bytes
    end: Callable[[Outcome], None] | None
    """Tells its sender; `None` once that was done."""
    entry: int | None = None
    """Its place in the mailbox, if it had to go there after all."""


class _Session:
    """One connection of one gateway at the relay."""

    def __init__(self, owner: int, line: Line, link: "Link[_Direct | int]") -> None:
        self.owner, self.line, self.link = owner, line, link
        self.alive = True
        self.read_up_to = 0
        self.handed_over: set[int] = set()
        """Entries of the mailbox beyond `read_up_to` that went over this link from memory."""
        self.direct: list[_Direct] = []
        self.waiting: deque[_Direct] = deque()


class Relay:
    """Mailboxes survive; sessions, and what is forwarded from memory, do not."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.store = Store(world)
        self.mailboxes: dict[int, dict[int, bytes]] = {}
        self.stored = self.forwarded = self.direct_max = 0
        self._entry = 0
        self._appending: dict[int, int] = {}
        """For each owner: appends under way, whichever connection they came from."""
        self._alive = True
        self._sessions: dict[int, _Session] = {}

    def crash(self) -> None:
        if not self._alive:
            return
        self._alive = False
        self.store.crash()
        for session in self._sessions.values():
            session.alive = False
            session.line.leave(1)
        self._sessions = {}
        self._appending = {}
        self.world.after(self.world.conditions.restart_s, self._restart)

    def _restart(self) -> None:
        self._alive = True

    def accept(self, owner: int) -> Line | None:
        if not self._alive:
            return None
        older = self._sessions.get(owner)
        if older is not None:
            older.line.leave(1)
            self._ended(older)
        session = _Session(owner, Line(self.world), Link(self.world.conditions.relay_window))
        self._sessions[owner] = session
        session.line.ends[1] = lambda frame: self._heard(session, frame)
        session.line.lost[1] = lambda: self._ended(session)
        self._pump(session)
        return session.line

    def line_of(self, owner: int) -> Line | None:
        session = self._sessions.get(owner)
        return session.line if session else None

    def _heard(self, session: _Session, frame: bytes) -> None:
        heard = session.link.received(frame)
        for entry, _ in heard.ended:
            self._ended_at_peer(session, entry)
        for number, data in heard.envelopes:
            self._route(session, number, data)
        self._pump(session)

    def _route(self, source: _Session, number: int, data: bytes) -> None:
        def end(outcome: Outcome) -> None:
            if source.alive:
                source.link.settle(number, outcome)
                self._pump(source)

        receiver = Message.decode(data).receiver
        target = self._sessions.get(receiver)
        if target is not None and self._may_forward(target):
            direct = _Direct(data, end)
            target.direct.append(direct)
            target.waiting.append(direct)
            self.direct_max = max(self.direct_max, len(target.direct))
            self.world.after(self.world.conditions.spill_s, lambda: self._spill_if_open(target, direct))
            self._pump(target)
        else:
            if target is not None and not self.world.conditions.careless:
                self._spill(target)  # older ones first, or a crash could turn the order round
            self._append(receiver, data, end)

    def _may_forward(self, target: _Session) -> bool:
        """Only if whatever is older has been handed to the link already."""
        newest = max(self.mailboxes.get(target.owner, {}), default=0)
        return (
            self._appending.get(target.owner, 0) == 0
            and target.read_up_to >= newest
            and len(target.direct) < self.world.conditions.direct_max
        )

    def _spill_if_open(self, session: _Session, direct: _Direct) -> None:
        if direct.end is not None and session.alive:
            self._spill(session)

    def _spill(self, session: _Session) -> None:
        """Everything that is forwarded and has not ended goes into the mailbox, too, in order."""
        for direct in session.direct:
            if direct.end is not None:
                end, direct.end = direct.end, None
                direct.entry = self._append(session.owner, direct.data, end)
                session.handed_over.add(direct.entry)

    def _append(self, owner: int, data: bytes, end: Callable[[Outcome], None]) -> int:
        self.stored += 1
        self._entry += 1
        entry = self._entry
        self._appending[owner] = self._appending.get(owner, 0) + 1

        def commit() -> None:
            self.mailboxes.setdefault(owner, {})[entry] = data

        def done() -> None:
            end(IS_SAFE)
            self._appending[owner] -= 1
            session = self._sessions.get(owner)
            if session is not None:
                self._pump(session)

        self.store.write(commit, done)
        return entry

    def _delete(self, owner: int, entry: int) -> None:
        def commit() -> None:
            self.mailboxes.get(owner, {}).pop(entry, None)

        self.store.write(commit, lambda: None)

    def _ended_at_peer(self, session: _Session, entry: "_Direct | int") -> None:
        if isinstance(entry, int):
            self._delete(session.owner, entry)
            return
        session.direct.remove(entry)
        if entry.end is not None:
            self.forwarded += 1
            end, entry.end = entry.end, None
            end(IS_AT_PEER)
        elif entry.entry is not None:
            self._delete(session.owner, entry.entry)

    def _ended(self, session: _Session) -> None:
        if not session.alive:
            return
        session.alive = False
        if self._sessions.get(session.owner) is session:
            del self._sessions[session.owner]
        self._spill(session)

    def _pump(self, session: _Session) -> None:
        if not session.alive:
            return
        link = session.link
        while session.waiting and link.has_room(len(session.waiting[0].data)):
            direct = session.waiting.popleft()
            link.put(direct, direct.data)
        if not session.waiting:
            for entry, data in list(self.mailboxes.get(session.owner, {}).items()):
                if entry > session.read_up_to and link.has_room(len(data)):
                    if entry not in session.handed_over:
                        link.put(entry, data)
                    session.handed_over.discard(entry)
                    session.read_up_to = entry
                elif entry > session.read_up_to:
                    break
        _speak(self.world, link, partial(session.line.send, 0), partial(self._pump, session))


def _speak(world: World, link: Link[Any], send: Callable[[bytes], None], again: Callable[[], None]) -> None:
    """What a driver of a link does: write now, or ask again when what there is to say may not wait any longer."""
    wait_s = link.wait_s(world.now)
    if wait_s:
        world.after(wait_s, again)
        return
    while (frame := link.take_frame()) is not None:
        world.frames += 1
        send(frame)
