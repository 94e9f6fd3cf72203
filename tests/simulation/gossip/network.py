"""Nodes, a queue of what will happen, and the faults between: a discrete-event network (spec gossip 15.1).

Events are ordered by time, then by the order in which they were made; processing takes no time. Everything random
comes from the seed, one source per purpose, so that one more lost message does not change who is whose neighbor at
the start. The network drives the pure core and counts; what should happen, and whether it was good, is not its concern.
"""

import gc
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from heapq import heappop, heappush

from rmb_peer.protocol.gossip.config import Profile
from rmb_peer.protocol.gossip.events import (
    Command,
    Delivered,
    DisconnectPeer,
    Emit,
    Event,
    Missed,
    Output,
    PeerDisconnected,
    QuitTopic,
    Received,
    Send,
    SetTimer,
    TimerFired,
)
from rmb_peer.protocol.gossip.messages import TOPIC_BYTES, Gossip, Message, PeerId
from rmb_peer.protocol.gossip.node import GossipNode, TopicView
from tests.simulation.gossip.latency import PAIR_SHIFT, LatencySpec
from tests.simulation.gossip.steps import Faults

TOPIC = bytes(TOPIC_BYTES)
AFTER_THE_LAST_S = 1e-6  # a closed connection is noticed just after what was sent on it (spec gossip 15.1)

OnDelivery = Callable[[PeerId, Delivered, float], bool]
"""Node, delivery, time; answers whether the run may stop here."""


def pair(one: PeerId, other: PeerId) -> int:
    """One integer for two nodes, whichever comes first."""
    return one << PAIR_SHIFT | other if one < other else other << PAIR_SHIFT | one


class Network:
    """A swarm on one topic.

    Attributes:
        now_s: simulated time.
        payloads: Gossip messages received by anybody since the start.
        controls: all other messages received by anybody.
        controls_of: the same by kind.
        missed_reports: messages that ordered subscribers were told are lost.
        events: events handled, for the speed of the simulator itself.
    """

    def __init__(
        self, profile: Profile, seed: int, latency: LatencySpec, on_delivery: OnDelivery, *, connections: bool
    ) -> None:
        """Begin without nodes.

        Args:
            profile: how every node behaves.
            seed: of everything random.
            latency: the model.
            on_delivery: called for every message that reaches an application.
            connections: whether nodes talk over connections whose end the other side notices (upstream), or datagrams.
        """
        self.now_s = 0.0
        self.payloads = 0
        self.controls = 0
        self.controls_of: dict[type, int] = {}
        self.missed_reports = 0
        self.events = 0
        self.latency = latency.build(random.Random(f"{seed}/latency"))
        self.faults = Faults()
        self._between = self.latency.between
        self._profile = profile
        self._seed = seed
        self._on_delivery = on_delivery
        self._connected: set[int] | None = set() if connections else None
        self._nodes: dict[PeerId, GossipNode] = {}
        self._chance = random.Random(f"{seed}/faults").random
        self._part_of: dict[PeerId, int] = {}
        self._attempts_fail = False
        self._queue: list[tuple[float, int, PeerId, Event]] = []
        self._made = 0
        self._stop = False

    @property
    def nodes(self) -> list[PeerId]:
        """The live nodes, oldest first."""
        return list(self._nodes)

    def views(self) -> dict[PeerId, TopicView]:
        """The views of all live nodes."""
        seen = ((number, node.view(TOPIC)) for number, node in self._nodes.items())
        return {number: view for number, view in seen if view is not None}

    def view(self, number: PeerId) -> TopicView:
        """The view of one live node."""
        view = self._nodes[number].view(TOPIC)
        assert view is not None, "every node joins when it starts"
        return view

    def add(self, number: PeerId) -> None:
        """A node starts; it does nothing before its first command."""
        self._nodes[number] = GossipNode(number, self._profile, random.Random(f"{self._seed}/node/{number}"))

    def command(self, number: PeerId, command: Command) -> None:
        """An application on a node wants something, now."""
        self._carry_out(number, self._nodes[number].handle(command, self.now_s))

    def leave(self, number: PeerId) -> None:
        """A node says goodbye and is gone."""
        self.command(number, Command(TOPIC, QuitTopic()))
        del self._nodes[number]

    def crash(self, numbers: Iterable[PeerId], *, notified: bool) -> None:
        """Nodes are gone without a word; `notified`: whoever is linked to one hears of it one latency later.

        Linked means by a connection; with datagrams, who has it in its active view.
        """
        gone = set(numbers)
        links: set[tuple[PeerId, PeerId]] = set()
        if self._connected is not None:
            ends = [(key >> PAIR_SHIFT, key & (1 << PAIR_SHIFT) - 1) for key in sorted(self._connected)]
            links = {end for one, other in ends for end in ((one, other), (other, one))}
            self._connected -= {pair(one, other) for one, other in ends if one in gone or other in gone}
        elif notified:
            links = {(number, peer) for number, view in self.views().items() for peer in view.active}
        for number in gone:
            del self._nodes[number]
        if notified:
            for number, peer in sorted(links):
                if peer in gone and number not in gone:
                    self._later(self._between(peer, number), number, PeerDisconnected(peer))

    def split(self, part_of: dict[PeerId, int], *, notified: bool) -> None:
        """Messages between nodes of different parts do not arrive; `notified`: the sender hears so one latency later.

        An empty dictionary heals.
        """
        self._part_of = part_of
        self._attempts_fail = notified
        if self._connected is not None:
            mask = (1 << PAIR_SHIFT) - 1
            self._connected = {k for k in self._connected if not self._apart(k >> PAIR_SHIFT, k & mask)}

    def run(self, until_s: float) -> None:
        """Let time pass, to `until_s` or to the delivery at which `on_delivery` says stop."""
        queue, nodes, connected, controls_of = self._queue, self._nodes, self._connected, self.controls_of
        self._stop = False
        handled = payloads = controls = 0
        while queue and queue[0][0] <= until_s:
            self.now_s, _, number, event = heappop(queue)
            node = nodes.get(number)
            if node is None:
                continue
            handled += 1
            if type(event) is Received:
                kind = type(event.message.body)
                if kind is Gossip:
                    payloads += 1
                else:
                    controls += 1
                    controls_of[kind] = controls_of.get(kind, 0) + 1
                if connected is not None:
                    connected.add(pair(number, event.sender))
            outputs = node.handle(event, self.now_s)
            if outputs:
                self._carry_out(number, outputs)
                if self._stop:
                    break
        else:
            self.now_s = until_s
        self.events += handled
        self.payloads += payloads
        self.controls += controls

    def _carry_out(self, number: PeerId, outputs: list[Output]) -> None:
        for output in outputs:
            kind = type(output)
            if kind is Send:
                self._send(number, output.to, output.message)  # type: ignore[union-attr]
            elif kind is SetTimer:
                self._later(output.after_s, number, TimerFired(output.timer))  # type: ignore[union-attr]
            elif kind is Emit:
                told = output.event  # type: ignore[union-attr]
                if type(told) is Delivered:
                    self._stop |= self._on_delivery(number, told, self.now_s)
                elif type(told) is Missed:
                    self.missed_reports += told.last - told.first + 1
            elif kind is DisconnectPeer:
                self._disconnect(number, output.peer)  # type: ignore[union-attr]

    def _later(self, delay_s: float, number: PeerId, event: Event) -> None:
        self._made += 1
        heappush(self._queue, (self.now_s + delay_s, self._made, number, event))

    def _send(self, sender: PeerId, to: PeerId, message: Message) -> None:
        if self._part_of and self._apart(sender, to):
            if self._attempts_fail:
                self._later(self._between(sender, to), sender, PeerDisconnected(to))
            return
        faults = self.faults
        delay_s = self._between(sender, to)
        if faults.loss and self._chance() < faults.loss:
            return
        if faults.delayed and self._chance() < faults.delayed:
            delay_s += self._chance() * faults.delay_ms / 1000
        if faults.duplicate and self._chance() < faults.duplicate:
            again_s = self._between(sender, to) + self._chance() * faults.delay_ms / 1000
            self._later(again_s, to, Received(sender, message))
        self._made += 1
        heappush(self._queue, (self.now_s + delay_s, self._made, to, Received(sender, message)))

    def _disconnect(self, number: PeerId, peer: PeerId) -> None:
        if self._connected is None:
            return
        key = pair(number, peer)
        if key in self._connected:
            self._connected.discard(key)
            self._later(self._between(number, peer) + AFTER_THE_LAST_S, peer, PeerDisconnected(number))

    def _apart(self, one: PeerId, other: PeerId) -> bool:
        return self._part_of.get(one) != self._part_of.get(other)


@contextmanager
def without_collector() -> Iterator[None]:
    """Run without the cyclic garbage collector, which would look at millions of queued tuples again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
            gc.collect()
