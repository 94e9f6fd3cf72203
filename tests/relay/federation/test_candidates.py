"""Which relay an envelope goes to, and which is next."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.federation.candidates import CANDIDATES_MAX, Candidates, Tried
from relay.federation.places import PlaceRefused, Places
from relay.federation.ranker import Ranker
from rmb_peer.protocol.twin import Twin
from tests.support.federation import seeded

OWN = frozenset({"own.test"})


class Bench:
    """Relays of which some are sick."""

    def __init__(self) -> None:
        self.sick: set[str] = set()
        self.doubted: dict[str, float] = {}
        self.ranker = Ranker(100.0, seeded(7))
        places = Places(OWN, deny=("denied.test",))
        self.candidates = Candidates(
            places, self.ranker, lambda name: name not in self.sick | set(self.doubted), self.doubted.get
        )


def twin(*relays: str, twin_id: int = 9) -> Twin:
    return Twin(twin_id, bytes(32), frozenset(relays), None)


def test_permitted() -> None:
    """Names are normalised; what is no name, denied, private or this relay is left out."""
    bench = Bench()
    record = twin("B.test", "b.test", "denied.test", "no name!", "10.0.0.1", "own.test", "a.test")
    assert bench.candidates.permitted(record) == ["b.test", "a.test"]
    many = twin(*(f"r{number:02}.test" for number in range(50)))
    assert len(bench.candidates.permitted(many)) == CANDIDATES_MAX


@pytest.mark.parametrize(
    ("relays", "why"),
    [
        (("denied.test",), "this relay does not speak to denied.test"),
        (("no name!",), "'no name!' is no relay"),
        (("10.0.0.1",), "10.0.0.1 is at an address that is not public"),
        ((), ""),
    ],
)
def test_none_permitted(relays: tuple[str, ...], why: str) -> None:
    """The requester reads why."""
    with pytest.raises(PlaceRefused) as refused:
        Bench().candidates.choose(twin(*relays), 0.0)
    assert str(refused.value) == f"destination twin 9 cannot be reached through its relays: {why}"


def test_a_destination_keeps_its_relay() -> None:
    """Different destinations share the relays; each keeps its own until that fails, and does not return by itself."""
    bench = Bench()
    chosen = {n: bench.candidates.choose(twin("a.test", "b.test", twin_id=n), 0.0) for n in range(100)}
    assert set(chosen.values()) == {"a.test", "b.test"}
    for n, name in chosen.items():
        assert bench.candidates.choose(twin("a.test", "b.test", twin_id=n), 0.0) == name
    bench.sick = {"a.test"}
    bench.ranker.failed("a.test", 0.0)
    for n in chosen:
        assert bench.candidates.choose(twin("a.test", "b.test", twin_id=n), 0.0) == "b.test"
    bench.sick = set()
    for n in chosen:
        assert bench.candidates.choose(twin("a.test", "b.test", twin_id=n), 0.0) == "b.test"


def test_all_are_sick() -> None:
    """One that failed least is chosen all the same: what waits there goes when it works again."""
    bench = Bench()
    bench.sick = {"a.test", "b.test"}
    bench.ranker.failed("b.test", 0.0)
    assert bench.candidates.choose(twin("a.test", "b.test"), 1.0) == "a.test"


def test_after_a_failure() -> None:
    """Only one that works; when only this envelope failed, each has one chance; one that refused has none."""
    bench, record = Bench(), twin("a.test", "b.test")
    after = bench.candidates.after_failure
    assert after(record, "a.test", Tried(), 0.0, whole=True) == "b.test"
    assert after(record, "a.test", Tried(failed=frozenset({"b.test"})), 0.0, whole=True) == "b.test"
    assert after(record, "a.test", Tried(failed=frozenset({"b.test"})), 0.0, whole=False) is None
    assert after(record, "a.test", Tried(refused=frozenset({"b.test"})), 0.0, whole=True) is None
    bench.sick = {"b.test"}
    assert after(record, "a.test", Tried(), 0.0, whole=True) is None


def test_a_relay_for_which_nothing_waits() -> None:
    """One envelope tries it after each of its pauses, never more."""
    bench, record = Bench(), twin("a.test", "b.test")

    def after(whole: bool = True) -> str | None:
        return bench.candidates.after_failure(record, "a.test", Tried(), 0.0, whole=whole)

    bench.doubted["b.test"] = 5.0
    assert after(whole=False) is None
    assert [after(), after()] == ["b.test", None]
    bench.doubted["b.test"] = 7.0
    assert [after(), after()] == ["b.test", None]
    bench.doubted.clear()
    assert [after(), after()] == ["b.test", "b.test"]


def test_after_a_refusal() -> None:
    """Any other that has not refused, working or not."""
    bench, record = Bench(), twin("a.test", "b.test", "c.test")
    bench.sick = {"b.test"}
    after = bench.candidates.after_refusal
    assert after(record, "a.test", Tried(), 0.0) == "c.test"
    assert after(record, "c.test", Tried(refused=frozenset({"a.test"})), 0.0) == "b.test"
    assert after(record, "c.test", Tried(refused=frozenset({"a.test", "b.test"})), 0.0) is None


NAMES = st.frozensets(st.sampled_from(["a.test", "b.test:81", "[::1]:80"]))


@given(NAMES, NAMES)
def test_tried_is_written_and_read(refused: frozenset[str], failed: frozenset[str]) -> None:
    """Both sets, apart."""
    tried = Tried(refused, failed)
    assert Tried.read(tried.text()) == tried


@given(st.text(max_size=40))
def test_tried_reads_anything(text: str) -> None:
    """The store may hold anything."""
    assert Tried.read(text) == Tried.read(Tried.read(text).text())
