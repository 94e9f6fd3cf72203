"""The pool: which link gets which parcel, in which order, and when a relay loses its place. Time is injected."""

from collections.abc import Iterator

import pytest

from rmb_peer.transport.inbox import Inbox
from rmb_peer.transport.parcels import LinkStatus, Parcel
from rmb_peer.transport.relay_link import RelayLink
from rmb_peer.transport.relay_pool import STUCK_S, RelayPool
from tests.support.parcels import Endings


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Line:
    """Stands in for the connection of a link; the pool sees a real link.

    Attributes:
        room: parcels it takes yet.
        silent_s: how long a ping has not been answered.
        woken: how often the pool said that there is something to send.
        carried: what it has taken.
    """

    def __init__(self, link: RelayLink, patch: pytest.MonkeyPatch) -> None:
        self.link = link
        self.room = 10
        self.silent_s = 0.0
        self.woken = 0
        self.carried: list[Parcel] = []
        patch.setattr(link, "fits", lambda size_bytes: link.connected and self.room > 0)
        patch.setattr(link, "wake", self._wake)

    def connect(self, pool: RelayPool, connected: bool = True) -> None:
        if not connected:
            pool.give_back(self.carried)
            self.carried = []
        self.link.connected = connected
        pool.link_changed(self.link)

    def carry(self, pool: RelayPool) -> list[str]:
        """Take all that the pool gives, as a speaker does."""
        taken = []
        while (parcel := pool.next_parcel(self.link)) is not None:
            self.carried.append(parcel)
            self.room -= 1
            taken.append(parcel.uid)
        return taken

    def _wake(self) -> None:
        self.woken += 1


class Bed:
    """A pool with two links that no network is behind."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.clock = Clock()
        self.endings = Endings()
        self.pool = RelayPool(
            ["ws://first", "ws://second"],
            Inbox(),
            make_token=str,
            clock=self.clock,
            wall_clock=self.clock,
            random=lambda: 0.5,
            message_bytes_max=1000,
            twin=1,
        )
        self.first, self.second = (Line(link, patch) for link in self.pool._links)
        lines = {id(line.link): line for line in (self.first, self.second)}
        patch.setattr(RelayLink, "unanswered_s", property(lambda link: lines[id(link)].silent_s))

    def send(self, *uids: str, **fields: int) -> None:
        for uid in uids:
            self.pool.send(self.endings.parcel(uid, **fields))

    def pass_s(self, seconds: float) -> None:
        """Let time pass, with the looks that the sweeper takes."""
        for _ in range(round(seconds / 0.25)):
            self.clock.now_s += 0.25
            self.pool.sweep()


@pytest.fixture
def bed() -> Iterator[Bed]:
    with pytest.MonkeyPatch.context() as patch:
        yield Bed(patch)


def test_only_the_preferred_link_gets_parcels(bed: Bed) -> None:
    """The first that is connected; the others wait."""
    bed.second.connect(bed.pool)
    bed.first.connect(bed.pool)
    bed.send("a", "b")
    assert bed.first.carry(bed.pool) == []
    assert bed.second.carry(bed.pool) == ["a", "b"]


def test_parcels_of_a_dead_link_leave_at_once_by_the_other(bed: Bed) -> None:
    """No time has to pass: the other link is woken, and what was on its way goes first, in order."""
    bed.first.connect(bed.pool)
    bed.second.connect(bed.pool)
    bed.send("a", "b")
    assert bed.first.carry(bed.pool) == ["a", "b"]
    bed.send("c")
    woken = bed.second.woken
    bed.first.connect(bed.pool, False)
    assert bed.second.woken > woken
    assert bed.second.carry(bed.pool) == ["a", "b", "c"]


def test_order_is_kept_when_both_links_die(bed: Bed) -> None:
    """Parcels that both had go out again in the order in which they were sent, whoever died first."""
    bed.first.connect(bed.pool)
    bed.second.connect(bed.pool)
    bed.first.room = 2
    bed.send(*"abcde")
    assert bed.first.carry(bed.pool) == ["a", "b"]
    bed.pass_s(STUCK_S + 0.25)
    bed.second.room = 2
    assert bed.second.carry(bed.pool) == ["c", "d"]
    bed.first.connect(bed.pool, False)
    bed.second.connect(bed.pool, False)
    bed.first.room = 10
    bed.first.connect(bed.pool)
    assert bed.first.carry(bed.pool) == list("abcde")


def test_a_relay_that_acknowledges_nothing_loses_its_place(bed: Bed) -> None:
    """Its window is full for a second, and parcels wait: they leave by the other; what it has stays there."""
    bed.first.connect(bed.pool)
    bed.second.connect(bed.pool)
    bed.first.room = 1
    bed.send("a", "b")
    bed.first.carry(bed.pool)
    bed.pass_s(STUCK_S)
    assert bed.second.carry(bed.pool) == []
    bed.pass_s(0.25)
    assert bed.second.carry(bed.pool) == ["b"]
    assert [parcel.uid for parcel in bed.first.carried] == ["a"]
    assert bed.endings.all == []


def test_a_full_window_is_no_reason_while_it_moves(bed: Bed) -> None:
    """The second begins anew whenever something fits."""
    bed.first.connect(bed.pool)
    bed.second.connect(bed.pool)
    bed.send(*"abcdefgh")
    bed.first.room = 1
    for _ in range(6):
        assert len(bed.first.carry(bed.pool)) == 1
        bed.pass_s(STUCK_S)
        bed.first.room = 1
        bed.pass_s(0.25)
    assert bed.second.carry(bed.pool) == []


def test_a_relay_that_answers_no_ping_loses_its_place(bed: Bed) -> None:
    """Also when its window is not full: new parcels do not go where nobody answers."""
    bed.first.connect(bed.pool)
    bed.second.connect(bed.pool)
    bed.first.silent_s = STUCK_S
    bed.pass_s(0.25)
    bed.send("a")
    assert bed.first.carry(bed.pool) == []
    assert bed.second.carry(bed.pool) == ["a"]


def test_a_place_is_kept_when_nobody_else_takes_parcels(bed: Bed) -> None:
    """One relay that is slow is better than another that is not connected, silent, or full."""
    bed.first.connect(bed.pool)
    bed.first.silent_s = STUCK_S
    bed.pass_s(1.0)
    bed.send("a")
    assert bed.first.carry(bed.pool) == ["a"]
    bed.second.connect(bed.pool)
    bed.second.silent_s = STUCK_S
    bed.pass_s(1.0)
    bed.send("b")
    assert bed.first.carry(bed.pool) == ["b"]
    bed.second.silent_s, bed.second.room = 0.0, 0
    bed.send("c")
    bed.pass_s(1.0)
    assert bed.first.carry(bed.pool) == ["c"]


def test_what_waits_expires_and_what_is_on_its_way_does_not(bed: Bed) -> None:
    """A parcel on a living connection may have arrived: it ends there. Given back by a dead one, it says so."""
    bed.first.connect(bed.pool)
    bed.first.room = 1
    bed.send("a", "b", expires_at_s=1005)
    assert bed.first.carry(bed.pool) == ["a"]
    bed.pass_s(6.0)
    assert bed.endings.all == [("b", "not sent")]
    bed.first.connect(bed.pool, False)
    assert not bed.pool.idle
    bed.pass_s(0.25)
    assert bed.endings.all == [("b", "not sent"), ("a", "maybe arrived")]
    assert bed.pool.idle


def test_what_has_expired_is_not_sent(bed: Bed) -> None:
    """Also between two looks of the sweeper; what comes after it is."""
    bed.send("a", expires_at_s=1000)
    bed.send("b")
    bed.first.connect(bed.pool)
    assert bed.first.carry(bed.pool) == ["b"]
    assert bed.endings.all == [("a", "not sent")]


def test_the_status_names_the_preferred_relay_first(bed: Bed) -> None:
    """One entry for each relay."""
    bed.second.connect(bed.pool)
    assert bed.pool.status() == [
        LinkStatus("ws://second", True, None, None, 0, None),
        LinkStatus("ws://first", False, None, None, 0, None),
    ]
