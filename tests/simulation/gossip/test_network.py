"""The network around real nodes: time, faults, connections, partitions."""

import pytest

from rmb_peer.protocol.gossip.config import Profile
from rmb_peer.protocol.gossip.events import Broadcast, Command, Delivered, JoinTopic
from tests.simulation.gossip.latency import LatencySpec
from tests.simulation.gossip.network import TOPIC, Network
from tests.simulation.gossip.steps import Faults

LATENCY = LatencySpec(min_ms=50, max_ms=50)  # spec gossip 15.1, library default


class Swarm:
    """A network that notes every delivery."""

    def __init__(self, count: int, profile: Profile | None = None, *, connections: bool = True, stop: int = -1) -> None:
        self.deliveries: list[tuple[int, bytes, float]] = []
        self._stop = stop
        self.network = Network(profile or Profile.upstream(), 1, LATENCY, self._delivered, connections=connections)
        for number in range(count):
            self.network.add(number)
            self.network.command(number, Command(TOPIC, JoinTopic((0,) if number else ())))

    def _delivered(self, number: int, what: Delivered, now_s: float) -> bool:
        self.deliveries.append((number, what.payload, now_s))
        return len(self.deliveries) == self._stop

    def broadcast(self, number: int, payload: bytes) -> None:
        """A node's application sends."""
        self.network.command(number, Command(TOPIC, Broadcast(payload)))


def test_contact_sees_the_joiner_after_one_trip_and_the_joiner_after_two() -> None:
    """Spec gossip 6.14, first join, to the instant."""
    network = Swarm(2).network
    network.run(0.0499)
    assert (network.view(0).active, network.view(1).active) == ((), ())
    network.run(0.05)
    assert (network.view(0).active, network.view(1).active) == ((1,), ())
    network.run(0.10)
    assert (network.view(0).active, network.view(1).active) == ((1,), (0,))
    assert network.controls == 2
    assert network.payloads == 0


def test_run_stops_at_the_delivery_that_ends_it() -> None:
    """Time stands at the last delivery, not at the limit; the rest of the queue waits."""
    swarm = Swarm(2, stop=1)
    swarm.network.run(1.0)
    swarm.broadcast(0, b"a")
    swarm.network.run(9.0)
    assert swarm.deliveries == [(1, b"a", 1.05)]
    assert swarm.network.now_s == 1.05
    swarm.network.run(9.0)
    assert swarm.network.now_s == 9.0


def test_everything_lost_means_nothing_arrives() -> None:
    """Loss applies to every message from the moment on which it is set."""
    swarm = Swarm(2)
    swarm.network.run(1.0)
    swarm.network.faults = Faults(loss=0.999999)
    swarm.broadcast(0, b"a")
    swarm.network.run(2.0)
    assert swarm.deliveries == []


def test_loss_is_as_frequent_as_stated() -> None:
    """Of 2000 payloads to one neighbour, a quarter is lost, give or take four deviations."""
    swarm = Swarm(2)
    swarm.network.run(1.0)
    swarm.network.faults = Faults(loss=0.25)
    for number in range(2000):
        swarm.broadcast(0, b"%d" % number)
    swarm.network.run(1.0501)
    assert abs(swarm.network.payloads - 1500) < 4 * (2000 * 0.25 * 0.75) ** 0.5


def test_duplicates_reach_the_node_and_not_the_application() -> None:
    """The network carries a message twice, the core delivers it once."""
    swarm = Swarm(2)
    swarm.network.run(1.0)
    swarm.network.faults = Faults(duplicate=0.999999)
    swarm.broadcast(0, b"a")
    swarm.network.run(2.0)
    assert swarm.network.payloads == 2
    assert len(swarm.deliveries) == 1


def test_held_back_messages_are_overtaken() -> None:
    """Reordering: with delays, messages arrive in another order than they were sent in."""
    swarm = Swarm(2)
    swarm.network.run(1.0)
    swarm.network.faults = Faults(delayed=0.5, delay_ms=100)
    for number in range(20):
        swarm.broadcast(0, b"%02d" % number)
    swarm.network.run(2.0)
    arrived = [payload for _, payload, _ in swarm.deliveries]
    assert len(arrived) == 20
    assert arrived != sorted(arrived)


@pytest.mark.parametrize("connections", [True, False])
def test_notified_crash_is_noticed_one_latency_later(connections: bool) -> None:
    """Spec gossip 17.2: neighbours of a crashed node hear of it after one latency, over either transport."""
    network = Swarm(3, connections=connections).network
    network.run(1.0)
    assert 2 in network.view(0).active
    network.crash([2], notified=True)
    network.run(1.0499)
    assert 2 in network.view(0).active
    network.run(1.05)
    assert 2 not in network.view(0).active
    assert network.nodes == [0, 1]


def test_silent_crash_is_not_told() -> None:
    """Spec gossip 17.2: nobody is told, and upstream never notices."""
    network = Swarm(3).network
    network.run(1.0)
    network.crash([2], notified=False)
    network.run(300.0)
    assert 2 in network.view(0).active


def test_leaving_closes_the_connection_behind_the_goodbye() -> None:
    """A goodbye arrives before the end of the connection does, and the leaver is forgotten."""
    network = Swarm(3).network
    network.run(1.0)
    network.leave(2)
    network.run(1.06)
    assert network.nodes == [0, 1]
    assert 2 not in {*network.view(0).active, *network.view(0).passive, *network.view(1).passive}


def test_nothing_crosses_a_partition_until_it_heals() -> None:
    """Messages across vanish; attempts fail only if the partition says so."""
    swarm = Swarm(2)
    swarm.network.run(1.0)
    swarm.network.split({0: 0, 1: 1}, notified=False)
    swarm.broadcast(0, b"a")
    swarm.network.run(2.0)
    assert swarm.deliveries == []
    assert swarm.network.view(0).active == (1,)
    swarm.network.split({}, notified=False)
    swarm.broadcast(0, b"b")
    swarm.network.run(3.0)
    assert [payload for _, payload, _ in swarm.deliveries] == [b"b"]


def test_an_attempt_across_a_notified_partition_fails() -> None:
    """Spec gossip 17.4: cross traffic fails with `PeerDisconnected`."""
    swarm = Swarm(2)
    swarm.network.run(1.0)
    swarm.network.split({0: 0, 1: 1}, notified=True)
    swarm.broadcast(0, b"a")
    swarm.network.run(2.0)
    assert swarm.network.view(0).active == ()
