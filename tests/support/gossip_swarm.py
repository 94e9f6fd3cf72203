"""A few gossip nodes on a loss-free network with one latency, for conversations that a test follows step by step.

Like upstream's test network (spec gossip 15.1): connections whose end the other side notices. Faults, scale and figures
are the business of tests/simulation.
"""

import heapq
import random
from collections.abc import Iterable

from rmb_peer.protocol.gossip.config import Profile
from rmb_peer.protocol.gossip.events import (
    Broadcast,
    Command,
    Delivered,
    DisconnectPeer,
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
    TimerFired,
    TopicEvent,
)
from rmb_peer.protocol.gossip.messages import TOPIC_BYTES, Message, Scope
from rmb_peer.protocol.gossip.node import GossipNode, TopicView

TOPIC = bytes(TOPIC_BYTES)
OTHER_TOPIC = b"\x01" * TOPIC_BYTES
TRIP_S = 0.05


class Swarm:
    """Nodes 0, 1, 2, ... and what happened to them.

    Attributes:
        events: what each node told its application since `take_events`, in order.
        log: every message that was carried: sender, receiver, message.
    """

    def __init__(self, count: int, profile: Profile, *, seed: int = 7) -> None:
        self.now_s = 0.0
        self.profile = profile
        self.nodes = {number: GossipNode(number, profile, random.Random(f"{seed}/{number}")) for number in range(count)}
        self.events: dict[int, list[TopicEvent]] = {number: [] for number in self.nodes}
        self.log: list[tuple[int, int, Message]] = []
        self._connected: set[frozenset[int]] = set()
        self._queue: list[tuple[float, int, int, Event]] = []
        self._made = 0

    def join(self, number: int, peers: Iterable[int] = (), *, topic: bytes = TOPIC, history: int = 0) -> None:
        self.feed(number, Command(topic, JoinTopic(tuple(peers), history=history)))

    def broadcast(self, number: int, payload: bytes, *, topic: bytes = TOPIC, scope: Scope = Scope.SWARM) -> None:
        self.feed(number, Command(topic, Broadcast(payload, scope)))

    def quit(self, number: int, *, topic: bytes = TOPIC) -> None:
        self.feed(number, Command(topic, QuitTopic()))

    def crash(self, number: int) -> None:
        del self.nodes[number]

    def trips(self, count: float) -> None:
        """Let time pass: so many times the latency."""
        self.pass_s(count * TRIP_S)

    def pass_s(self, seconds: float) -> None:
        """Let time pass."""
        until_s = self.now_s + seconds + 1e-6
        while self._queue and self._queue[0][0] <= until_s:
            self.now_s, _, number, event = heapq.heappop(self._queue)
            if number in self.nodes:
                if type(event) is Received:
                    self._connected.add(frozenset((number, event.sender)))
                    self.log.append((event.sender, number, event.message))
                self.feed(number, event)
        self.now_s = until_s

    def feed(self, number: int, event: Event) -> list[Output]:
        """Give a node an event and carry out what it wants."""
        outputs = self.nodes[number].handle(event, self.now_s)
        for output in outputs:
            match output:
                case Send(to, message):
                    self._later(TRIP_S, to, Received(number, message))
                case SetTimer(after_s, timer):
                    self._later(after_s, number, TimerFired(timer))
                case Emit(_, told):
                    self.events[number].append(told)
                case DisconnectPeer(peer):
                    if frozenset((number, peer)) in self._connected:
                        self._connected.discard(frozenset((number, peer)))
                        self._later(TRIP_S + 1e-6, peer, PeerDisconnected(number))
        return outputs

    def view(self, number: int, topic: bytes = TOPIC) -> TopicView:
        view = self.nodes[number].view(topic)
        assert view is not None
        return view

    def take_events(self) -> dict[int, list[TopicEvent]]:
        taken, self.events = self.events, {number: [] for number in self.events}
        return taken

    def receivers(self, payload: bytes) -> list[int]:
        """Who was given this payload, once per delivery."""
        return [
            number
            for number, told in self.events.items()
            for event in told
            if isinstance(event, Delivered) and event.payload == payload
        ]

    def is_symmetric(self, topic: bytes = TOPIC) -> bool:
        """Active and eager links exist at both ends."""
        views = {number: node.view(topic) for number, node in self.nodes.items()}
        return all(
            number in other.active and (number in other.eager) == (peer in view.eager)
            for number, view in views.items()
            if view is not None
            for peer in view.active
            if (other := views.get(peer)) is not None
        )

    def _later(self, delay_s: float, number: int, event: Event) -> None:
        self._made += 1
        heapq.heappush(self._queue, (self.now_s + delay_s, self._made, number, event))


def ups(events: list[TopicEvent]) -> list[int]:
    """Neighbors that came."""
    return [event.peer for event in events if isinstance(event, NeighborUp)]


def downs(events: list[TopicEvent]) -> list[int]:
    """Neighbors that went."""
    return [event.peer for event in events if isinstance(event, NeighborDown)]
