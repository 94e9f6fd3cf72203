"""The pool: which link gets which parcel, in which order, and what happens when a relay fails. Time is injected."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmb_peer.protocol.link.endings import Ending, Outcome
from rmb_peer.transport.health import PROBATION_S_FIRST, SILENT_S_MIN, STUCK_S
from rmb_peer.transport.hedging import BURST, HEDGE_BYTES_MAX, PATIENCE_S_MIN, SHARE
from rmb_peer.transport.inbox import Inbox
from rmb_peer.transport.parcels import LinkStatus, Parcel, Reached
from rmb_peer.transport.relay_link import RelayLink
from rmb_peer.transport.relay_pool import SWEEP_WATCHFUL_S, RelayPool
from tests.support.parcels import FAR_S, Endings

REFUSED = Outcome(Ending.REFUSED, 404, "no")


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
        silent_since_s: since when a ping has not been answered.
        acknowledges: whether it speaks rmb.2.
        woken: how often the pool said that there is something to send.
        probes: how often the pool asked for a sign of life.
        carried: what it has taken and not ended.
    """

    def __init__(self, link: RelayLink, pool: RelayPool, patch: pytest.MonkeyPatch) -> None:
        self.link = link
        self._pool = pool
        self.room = 10_000
        self.silent_since_s: float | None = None
        self.acknowledges = False
        self.woken = 0
        self.probes = 0
        self.carried: list[Parcel] = []
        patch.setattr(link, "fits", lambda size_bytes: link.connected and self.room > 0)
        patch.setattr(link, "wake", self._wake)
        patch.setattr(link, "probe", self._probe)

    def connect(self) -> None:
        self.link.connected = True
        self._pool.link_changed(self.link)

    def lose(self) -> None:
        self.silent_since_s = None
        carried, self.carried = self.carried, []
        self._pool.give_back(self.link, carried)
        self.link.connected = False
        self._pool.link_changed(self.link)

    def carry(self) -> list[str]:
        """Take all that the pool gives, as a speaker does."""
        taken = []
        while (parcel := self._pool.next_parcel(self.link)) is not None:
            self.carried.append(parcel)
            self.room -= 1
            taken.append(parcel.uid)
        return taken

    def end(self, *uids: str, how: Reached | Outcome = Reached.STORED_AT_RELAY) -> None:
        """The relay ends these."""
        for uid in uids:
            parcel = next(parcel for parcel in self.carried if parcel.uid == uid)
            self.carried.remove(parcel)
            self.room += 1
            if isinstance(how, Outcome):
                self._pool.refused(self.link, parcel, how)
            else:
                self._pool.arrived(self.link, parcel, how)

    def _wake(self) -> None:
        self.woken += 1

    def _probe(self) -> None:
        self.probes += 1


class Bed:
    """A pool with links that no network is behind."""

    def __init__(self, patch: pytest.MonkeyPatch, *urls: str) -> None:
        self.clock = Clock()
        self.endings = Endings()
        self.pool = RelayPool(
            urls,
            Inbox(),
            make_token=str,
            clock=self.clock,
            wall_clock=self.clock,
            random=lambda: 0.5,
            message_bytes_max=1000,
            twin=1,
        )
        self.lines = [Line(lane.link, self.pool, patch) for lane in self.pool._lanes]
        self.first, self.second = self.lines[:2]
        by_link = {line.link: line for line in self.lines}
        patch.setattr(RelayLink, "unanswered_s", property(lambda link: self._silence_s(by_link[link])))
        patch.setattr(RelayLink, "acknowledges", property(lambda link: by_link[link].acknowledges))

    def _silence_s(self, line: Line) -> float:
        return 0.0 if line.silent_since_s is None else self.clock.now_s - line.silent_since_s

    def connect_both(self, *, acknowledges: bool = False) -> None:
        for line in self.lines:
            line.acknowledges = acknowledges
            line.connect()

    def silence(self, line: Line) -> None:
        line.silent_since_s = self.clock.now_s

    def send(self, *uids: str, twin: int = 2, size_bytes: int = 0, expires_at_s: int = FAR_S) -> None:
        for uid in uids:
            self.pool.send(self.endings.parcel(uid, twin=twin, size_bytes=size_bytes, expires_at_s=expires_at_s))

    def send_to(self, relay: str, *uids: str, twin: int) -> None:
        for uid in uids:
            self.pool.send(self.endings.parcel(uid, twin=twin, relays=(relay,)))

    def pass_s(self, seconds: float) -> None:
        """Let time pass, with the looks that the sweeper takes."""
        for _ in range(round(seconds / SWEEP_WATCHFUL_S)):
            self.clock.now_s += SWEEP_WATCHFUL_S
            self.pool.sweep()


@pytest.fixture
def bed() -> Iterator[Bed]:
    with pytest.MonkeyPatch.context() as patch:
        yield Bed(patch, "ws://first", "ws://second")


def test_only_the_preferred_link_gets_parcels(bed: Bed) -> None:
    """The first that is connected; the others wait."""
    bed.second.connect()
    bed.first.connect()
    bed.send("a", "b")
    assert bed.first.carry() == []
    assert bed.second.carry() == ["a", "b"]


def test_parcels_of_a_dead_link_leave_at_once_by_the_other(bed: Bed) -> None:
    """No time has to pass: the other link is woken, and what was on its way goes first, in order."""
    bed.connect_both()
    bed.send("a", "b")
    assert bed.first.carry() == ["a", "b"]
    bed.send("c")
    woken = bed.second.woken
    bed.first.lose()
    assert bed.second.woken > woken
    assert bed.second.carry() == ["a", "b", "c"]


def test_order_is_kept_when_both_links_die(bed: Bed) -> None:
    """Parcels that both had go out again in the order in which they were sent, whoever died first."""
    bed.connect_both()
    bed.first.room = 2
    bed.send(*"abcde")
    assert bed.first.carry() == ["a", "b"]
    bed.pass_s(STUCK_S + 0.2)
    bed.second.room = 4
    assert bed.second.carry() == list("abcd")
    bed.first.lose()
    bed.second.lose()
    bed.first.room = 10
    bed.first.connect()
    assert bed.first.carry() == list("abcde")
    bed.first.end(*"abcde")
    assert [uid for uid, _ in bed.endings.all] == list("abcde")
    assert bed.pool.idle


def test_a_relay_that_acknowledges_nothing_loses_its_place(bed: Bed) -> None:
    """Its window is full for a second, and parcels wait: they leave by the other, behind copies of older ones."""
    bed.connect_both()
    bed.first.room = 1
    bed.send("a", "b")
    assert bed.first.carry() == ["a"]
    bed.pass_s(STUCK_S)
    assert bed.second.carry() == []
    bed.pass_s(0.2)
    assert bed.second.carry() == ["a", "b"]
    bed.send("c")
    assert bed.second.carry() == ["c"]
    assert bed.endings.all == []


def test_a_large_parcel_keeps_its_conversation_at_a_stuck_relay(bed: Bed) -> None:
    """It is not carried twice over a slow line, and nothing overtakes it; others move."""
    bed.connect_both()
    bed.first.room = 2
    bed.send("large", size_bytes=HEDGE_BYTES_MAX + 1)
    bed.send("other", twin=3)
    bed.send("behind the large one")
    bed.send("behind the other", twin=3)
    bed.first.carry()
    bed.pass_s(STUCK_S + 0.2)
    assert bed.second.carry() == ["other", "behind the other"]
    bed.first.room = 2
    assert bed.first.carry() == ["behind the large one"]


def test_a_full_window_is_no_reason_while_it_moves(bed: Bed) -> None:
    """The second begins anew whenever something fits."""
    bed.connect_both()
    bed.send(*"abcdefgh")
    bed.first.room = 1
    for _ in range(6):
        assert len(bed.first.carry()) == 1
        bed.pass_s(STUCK_S)
        bed.first.room = 1
        bed.pass_s(0.2)
    assert bed.second.carry() == []


def test_a_silent_relay_is_left_within_a_second(bed: Bed) -> None:
    """What it has is offered to the other, too, in order and before younger ones, however large it is."""
    bed.connect_both(acknowledges=True)
    bed.send("a", size_bytes=2 * HEDGE_BYTES_MAX)
    bed.send("b")
    assert bed.first.carry() == ["a", "b"]
    bed.silence(bed.first)
    bed.send("c")
    bed.pass_s(SILENT_S_MIN + 2 * SWEEP_WATCHFUL_S)
    bed.send("d")
    assert bed.second.carry() == list("abcd")
    assert bed.first.carry() == []
    assert bed.pool.copies == 2
    bed.second.end(*"abcd")
    assert bed.endings.all == [(uid, Reached.STORED_AT_RELAY) for uid in "abcd"]
    assert bed.pool.idle


def test_two_endings_of_one_parcel_count_once(bed: Bed) -> None:
    """Whichever relay is first; the other one is heard, and told to nobody."""
    bed.connect_both(acknowledges=True)
    bed.send("a", "b")
    bed.first.carry()
    bed.silence(bed.first)
    bed.pass_s(1.0)
    assert bed.second.carry() == ["a", "b"]
    bed.first.silent_since_s = None
    bed.first.end("a", how=Reached.STORED_AT_PEER)
    bed.second.end("a", "b")
    bed.first.end("b", how=REFUSED)
    assert bed.endings.all == [("a", Reached.STORED_AT_PEER), ("b", Reached.STORED_AT_RELAY)]
    assert bed.pool.idle


def test_a_refusal_waits_for_the_other_relay(bed: Bed) -> None:
    """While another relay may still deliver it, or is to get it, a refusal is not the end; two are."""
    bed.connect_both(acknowledges=True)
    bed.send("a", "b")
    bed.first.carry()
    bed.silence(bed.first)
    bed.pass_s(1.0)
    bed.first.silent_since_s = None
    bed.first.end("a", "b", how=REFUSED)
    assert bed.endings.all == []
    assert bed.second.carry() == ["a", "b"]
    bed.second.end("a")
    bed.second.end("b", how=REFUSED)
    assert bed.endings.all == [("a", Reached.STORED_AT_RELAY), ("b", REFUSED)]


def test_what_the_copy_holder_loses_goes_out_again(bed: Bed) -> None:
    """The relay with the copies dies while the first is still silent: nothing hangs on a relay that does not answer."""
    bed.connect_both(acknowledges=True)
    bed.send("a")
    bed.first.carry()
    bed.silence(bed.first)
    bed.pass_s(1.0)
    bed.send("b")
    assert bed.second.carry() == ["a", "b"]
    bed.second.lose()
    bed.second.connect()
    bed.pass_s(0.2)
    assert bed.second.carry() == ["a", "b"]
    bed.first.lose()
    bed.second.end("a", "b")
    assert len(bed.endings.all) == 2
    assert bed.pool.idle


def test_a_copy_that_is_not_needed_is_not_sent(bed: Bed) -> None:
    """The original ends while the copy waits for room."""
    bed.connect_both(acknowledges=True)
    bed.send("a", "b")
    bed.first.carry()
    bed.silence(bed.first)
    bed.pass_s(1.0)
    bed.first.end("a")
    assert bed.second.carry() == ["b"]


def test_a_relay_that_recovers_is_used_again(bed: Bed) -> None:
    """After its probation, by conversations that begin then and whose record names it alone; it is asked meanwhile."""
    bed.connect_both(acknowledges=True)
    bed.send_to("first", "a", twin=3)
    assert bed.first.carry() == ["a"]
    bed.silence(bed.first)
    bed.pass_s(1.0)
    assert bed.first.probes > 0
    assert bed.second.carry() == ["a"]
    bed.second.end("a")
    bed.first.silent_since_s = None
    bed.first.end("a")
    bed.pass_s(0.2)
    bed.send_to("first", "b", twin=3)
    assert bed.second.carry() == ["b"]
    bed.second.end("b")
    bed.pass_s(PROBATION_S_FIRST)
    bed.send_to("first", "c", twin=3)
    assert bed.first.carry() == ["c"]


def test_a_place_is_kept_when_nobody_else_takes_parcels(bed: Bed) -> None:
    """One relay that is slow is better than another that is not connected, silent, or full."""
    bed.first.connect()
    bed.silence(bed.first)
    bed.pass_s(1.0)
    bed.send("a")
    assert bed.first.carry() == ["a"]
    bed.second.connect()
    bed.second.silent_since_s = bed.first.silent_since_s
    bed.second.room = 0
    bed.pass_s(1.0)
    bed.send("b")
    assert bed.first.carry() == ["b"]


def test_a_relay_in_the_record_is_chosen(bed: Bed) -> None:
    """Then no relay has to forward; the record of tfchain names no port. A failed one is no choice."""
    bed.connect_both()
    bed.send_to("second", "a", twin=3)
    bed.send_to("elsewhere", "b", twin=4)
    assert bed.first.carry() == ["b"]
    assert bed.second.carry() == ["a"]
    bed.second.end("a")
    bed.second.lose()
    bed.send_to("second", "c", twin=3)
    assert bed.first.carry() == ["c"]


def test_a_conversation_is_not_spread(bed: Bed) -> None:
    """It stays with its relay until all of it has ended, although a better one comes back meanwhile."""
    bed.second.connect()
    bed.send_to("first", "a", twin=3)
    assert bed.second.carry() == ["a"]
    bed.first.connect()
    bed.send_to("first", "b", twin=3)
    assert bed.second.carry() == ["b"]
    bed.second.end("a", "b")
    bed.send_to("first", "c", twin=3)
    assert bed.first.carry() == ["c"]


def test_a_late_envelope_is_offered_to_another_relay(bed: Bed) -> None:
    """The first answers pings, and ends this one late: a copy goes out, and the conversation stays where it is."""
    bed.connect_both(acknowledges=True)
    bed.send("a", "b")
    bed.first.carry()
    bed.first.end("b")
    bed.pass_s(PATIENCE_S_MIN + SWEEP_WATCHFUL_S)
    assert bed.second.carry() == ["a"]
    bed.send("c")
    assert bed.first.carry() == ["c"]
    bed.second.end("a")
    assert [uid for uid, _ in bed.endings.all] == ["b", "a"]


def test_a_slow_relay_is_not_doubled_in_load(bed: Bed) -> None:
    """When everything is late, the extra offers are the burst and the share, each the oldest of its conversation."""
    bed.connect_both(acknowledges=True)
    sent = [f"m{number}" for number in range(400)]
    bed.send(*sent)
    bed.first.carry()
    bed.pass_s(PATIENCE_S_MIN + 1.0)
    copied = bed.second.carry()
    assert copied == sent[:BURST]
    bed.send(*[f"n{number}" for number in range(400)])
    bed.first.carry()
    bed.pass_s(1.0)
    copied += bed.second.carry()
    assert copied == sent[: len(copied)]
    assert len(copied) <= BURST + SHARE * 400


def test_a_late_large_envelope_is_not_offered_again(bed: Bed) -> None:
    """Nor is what comes behind it to the same destination, which would overtake it."""
    bed.connect_both(acknowledges=True)
    bed.send("large", size_bytes=HEDGE_BYTES_MAX + 1)
    bed.send("behind")
    bed.send("elsewhere", twin=3)
    bed.first.carry()
    bed.pass_s(1.0)
    assert bed.second.carry() == ["elsewhere"]


def test_a_relay_of_another_make_gets_no_copies_for_being_late(bed: Bed) -> None:
    """Over rmb.1 an envelope ends with a pong: silence is told from that, and receivers may not know repeats."""
    bed.connect_both()
    bed.send("a")
    bed.first.carry()
    bed.pass_s(20.0)
    assert bed.second.carry() == []


def test_what_waits_expires_and_what_is_on_its_way_does_not(bed: Bed) -> None:
    """A parcel on a living connection may have arrived: it ends there. Given back by a dead one, it says so."""
    bed.first.connect()
    bed.first.room = 1
    bed.send("a", "b", expires_at_s=1005)
    assert bed.first.carry() == ["a"]
    bed.pass_s(6.0)
    assert bed.endings.all == [("b", "not sent")]
    bed.first.lose()
    assert not bed.pool.idle
    bed.pass_s(0.2)
    assert bed.endings.all == [("b", "not sent"), ("a", "maybe arrived")]
    assert bed.pool.idle


def test_a_copy_expires_without_a_word(bed: Bed) -> None:
    """The relay with the original still owes it an ending."""
    bed.connect_both()
    bed.second.room = 1
    bed.send("a", expires_at_s=1003)
    bed.first.carry()
    bed.silence(bed.first)
    bed.pass_s(1.0)
    bed.second.room = 0
    bed.pass_s(3.0)
    assert bed.endings.all == []
    bed.first.end("a")
    assert bed.endings.all == [("a", Reached.STORED_AT_RELAY)]


def test_what_has_expired_is_not_sent(bed: Bed) -> None:
    """Also between two looks of the sweeper; what comes after it is."""
    bed.send("a", expires_at_s=1000)
    bed.send("b")
    bed.first.connect()
    assert bed.first.carry() == ["b"]
    assert bed.endings.all == [("a", "not sent")]


def test_the_status_names_the_preferred_relay_first(bed: Bed) -> None:
    """One entry for each relay."""
    bed.second.connect()
    assert bed.pool.status() == [
        LinkStatus("ws://second", True, None, None, 0, None),
        LinkStatus("ws://first", False, None, None, 0, None),
    ]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(("send", "carry", "end", "pass", "lose", "connect", "silence", "answer", "fill")),
        st.integers(0, 2),
        st.integers(1, 8),
    ),
    max_size=80,
)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_every_parcel_ends_once_and_no_conversation_loses_its_order(steps: list[tuple[str, int, int]]) -> None:
    """Whatever three relays do, as long as each passes on in order: each parcel ends once, in order per destination."""
    with pytest.MonkeyPatch.context() as patch:
        bed = Bed(patch, "ws://first", "ws://second", "ws://third")
        sent = 0

        def carry(line: Line) -> None:
            before = len(line.carried)
            line.carry()
            for destination in ("2", "3"):
                run = [parcel.number for parcel in line.carried[before:] if parcel.destination == destination]
                assert run == sorted(run)

        for what, which, amount in steps:
            line = bed.lines[which]
            connected = line.link.connected
            if what == "send":
                for _ in range(amount):
                    bed.send(str(sent), twin=2 + sent % 2)
                    sent += 1
            elif what == "carry" and connected:
                carry(line)
            elif what == "end" and connected and line.silent_since_s is None:
                line.end(*[parcel.uid for parcel in line.carried[:amount]])
            elif what == "pass":
                bed.pass_s(amount / 4)
            elif what == "lose" and connected:
                line.lose()
            elif what == "connect" and not connected:
                line.acknowledges = which < 2
                line.connect()
            elif what == "silence" and connected and line.silent_since_s is None:
                bed.silence(line)
            elif what == "answer":
                line.silent_since_s = None
                line.room = 10_000
            elif what == "fill":
                line.room = amount
        for line in bed.lines:
            line.silent_since_s, line.room = None, 10_000
            if not line.link.connected:
                line.connect()
        for _ in range(3):
            bed.pass_s(0.2)
            for line in bed.lines:
                carry(line)
                line.end(*[parcel.uid for parcel in tuple(line.carried)])
        ended = [int(uid) for uid, _ in bed.endings.all]
        assert sorted(ended) == list(range(sent))
        for destination in (0, 1):
            conversation = [number for number in ended if number % 2 == destination]
            assert conversation == sorted(conversation)
        assert bed.pool.idle
        assert not bed.pool.pending
        assert not bed.pool._conversations
        assert not any(lane.offered for lane in bed.pool._lanes)
