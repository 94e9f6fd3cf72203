"""Pings, round trips, and neighbors that are given up."""

import itertools

import pytest

from rmb_peer.protocol.gossip.config import ContactConfig, LinkConfig
from rmb_peer.protocol.gossip.contacts import Contacts
from rmb_peer.protocol.gossip.liveness import Liveness

CONFIG = LinkConfig()


def test_the_latest_ping_counts() -> None:
    """An answer to an earlier one measures nothing (Karn)."""
    links = Liveness(CONFIG)
    first = links.up(1, 0.0)
    ((_, second),), _ = links.due(2.0)
    links.answered(1, first, 2.1)
    assert links.rtt_s(1) == CONFIG.rtt_guess_s
    links.answered(1, second, 2.3)
    assert links.rtt_s(1) == pytest.approx(0.3)


def test_round_trips_are_smoothed_and_bounded() -> None:
    """As RFC 6298, 2.3, and never longer than the limit."""
    links = Liveness(CONFIG)
    links.up(1, 0.0)
    links.up(2, 0.0)
    links.measured(1, 0.8)
    links.measured(1, 0.0)
    assert links.rtt_s(1) == pytest.approx(0.7)
    links.measured(2, 99.0)
    assert (links.rtt_s(2), links.longest_rtt_s) == (CONFIG.rtt_max_s, CONFIG.rtt_max_s)
    assert links.mean_rtt_s == pytest.approx((0.7 + CONFIG.rtt_max_s) / 2)
    links.down(2)
    assert links.longest_rtt_s == pytest.approx(0.7)


def test_silence_ends_a_link_after_so_many_pings() -> None:
    """The first ping after `heartbeat_s`, then one per `probe_s`, then the end."""
    links = Liveness(CONFIG)
    links.answered(1, links.up(1, 0.0), 0.1)
    times_s: list[float] = []
    now_s = 0.1
    dead: list[int] = []
    while not dead:
        now_s += 0.5
        pings, dead = links.due(now_s)
        times_s += [now_s] * len(pings)
    assert times_s[0] == pytest.approx(CONFIG.heartbeat_s, abs=0.6)
    assert len(times_s) == CONFIG.probes
    assert dead == [1]


def test_any_message_begins_the_count_anew() -> None:
    """Lost pongs alone do not end a link."""
    links = Liveness(CONFIG)
    links.up(1, 0.0)
    for second in range(1, 200):
        links.heard(1, float(second))
        assert links.due(second + 0.5)[1] == []


class Half:
    """A source of randomness that is none: always the middle, always the first."""

    def random(self) -> float:
        return 0.5

    def shuffle(self, x: object) -> None:
        pass

    def sample(self, population, k):  # type: ignore[no-untyped-def]
        return population[:k]

    def choice(self, seq):  # type: ignore[no-untyped-def]
        return seq[0]


def test_contacts_are_bounded() -> None:
    """Of bootstrap peers and lost ones the latest are remembered."""
    config = ContactConfig(bootstrap_max=3, lost_max=2)
    contacts = Contacts(0, config, Half())
    contacts.add_bootstrap((0, 1, 2, 3, 4), 0.0)
    assert list(contacts.bootstrap) == [2, 3, 4]
    for peer in (5, 6, 7):
        contacts.was_lost(peer, 0.0)
    assert list(contacts.lost) == [6, 7]
    contacts.found(6)
    assert contacts.recontact(config.recontact_s, {}) == 7
    assert contacts.recontact(config.recontact_s, {}) is None, "one per period"
    assert contacts.recontact(config.lost_for_s + 100, {}) is None
    assert contacts.lost == {}


def test_waits_between_joins_grow_to_their_limit() -> None:
    """0.5, 1, 2, 4 ... 60 seconds, and short again after a neighbor came."""
    config = ContactConfig()
    contacts = Contacts(0, config, Half())
    contacts.add_bootstrap((1,), 0.0)
    times_s = [step / 10 for step in range(4000) if contacts.retry(step / 10, {}, {})]
    waits_s = [later - earlier for earlier, later in itertools.pairwise(times_s)]
    assert times_s[0] == pytest.approx(0.5)
    assert waits_s == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60][: len(waits_s)], abs=0.11)
    contacts.joined(500.0)
    assert contacts.retry(500.6, {}, {}) == [1]
