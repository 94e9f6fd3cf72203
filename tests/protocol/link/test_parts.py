"""Large envelopes in parts: others go past, the same conversation keeps its order, and nothing is lost or mixed up."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmb_peer.protocol.link import outgoing, parts
from rmb_peer.protocol.link.endings import IS_SAFE, LinkBroken, Window
from rmb_peer.protocol.link.link import Heard, Link
from rmb_peer.protocol.pb import link_pb2 as pb

PART = 100
WIDE = Window(1000, 1_000_000)


@pytest.fixture(autouse=True, scope="module")
def small_parts() -> Iterator[None]:
    """Parts of a size that tests can look at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "PART_BYTES", PART)
        patch.setattr(outgoing, "PART_BYTES", PART)
        yield


def first_byte(data: bytes) -> int:
    return data[0]


def pair(envelope_bytes_max: int = 10_000) -> tuple[Link[str], Link[str]]:
    """Two ends that have heard each other's window."""
    a: Link[str] = Link(WIDE, first_byte, envelope_bytes_max=envelope_bytes_max)
    b: Link[str] = Link(WIDE, first_byte, envelope_bytes_max=envelope_bytes_max)
    for source, target in ((a, b), (b, a)):
        while (frame := source.take_frame()) is not None:
            target.received(frame)
    return a, b


def move(source: Link[str], target: Link[str]) -> Heard[str] | None:
    """One frame."""
    frame = source.take_frame()
    return None if frame is None else target.received(frame)


def move_all(source: Link[str], target: Link[str]) -> list[bytes]:
    """Everything there is to say; the envelopes that came."""
    came = []
    while (heard := move(source, target)) is not None:
        came += [data for _, data in heard.envelopes]
    return came


def test_others_go_past_and_their_own_wait() -> None:
    """Between two parts a frame of other conversations goes out; what belongs to the large one comes after it."""
    a, b = pair()
    large, own, other = b"L" + bytes(250), b"L-own", b"O-other"
    a.put("large", large)
    a.put("own", own)
    assert move(a, b) == Heard([], [])  # a part
    a.put("other", other)
    heard = move(a, b)
    assert heard is not None
    assert heard.envelopes == [(1, other)]
    assert move_all(a, b) == [large, own]
    assert a.unended == 3


def test_no_part_is_larger_than_it_may_be() -> None:
    """Frames are small, however large the envelope."""
    a, b = pair()
    a.put("large", bytes(1000))
    sizes = []
    while (frame := a.take_frame()) is not None:
        sizes.append(len(frame))
        b.received(frame)
    assert len(sizes) == 10
    assert max(sizes) < PART + 20


def test_every_envelope_ends_by_its_number() -> None:
    """Numbers are in the order of arrival, and endings find the right entries."""
    a, b = pair()
    a.put("large", b"L" * 300)
    a.put("other", b"O")
    move_all(a, b)
    b.settle(1, IS_SAFE)
    heard = move(b, a)
    assert heard is not None
    assert [entry for entry, _ in heard.ended] == ["other"]
    b.settle(2, IS_SAFE)
    heard = move(b, a)
    assert heard is not None
    assert [entry for entry, _ in heard.ended] == ["large"]
    assert a.unended == 0
    assert a.take_unended() == []


@pytest.mark.parametrize("frames", range(8))
def test_what_has_not_ended_comes_back_as_it_was_put(frames: int) -> None:
    """When the connection dies, at any instant, the old order is the order."""
    a, b = pair()
    names = ["before", "large", "own", "other", "second", "last"]
    for name, data in zip(names, (b"B", b"L" * 300, b"L", b"O", b"S" * 150, b"O"), strict=True):
        a.put(name, data)
    for _ in range(frames):
        move(a, b)
    assert a.take_unended() == names
    assert (a.unended, a.has_room(), a.take_frame()) == (0, True, None)


def test_who_does_not_take_parts_gets_it_whole() -> None:
    """Only who has said so in its window."""
    a: Link[str] = Link(WIDE, first_byte)
    window = pb.Frame()
    window.window.messages, window.window.size_bytes = 10, 100_000
    a.received(window.SerializeToString())
    a.put("large", b"L" * 300)
    assert list(pb.Frame.FromString(a.take_frame() or b"").envelopes) == [b"L" * 300]


def test_of_one_that_is_too_large_only_the_beginning_is_kept() -> None:
    """It is larger than the limit, so it is refused like others, and does not fill the memory."""
    a, b = pair(envelope_bytes_max=250)
    a.put("large", b"L" * 900)
    (came,) = move_all(a, b)
    assert 250 < len(came) <= 250 + PART
    a.put("next", b"L" * 220)
    assert move_all(a, b) == [b"L" * 220]


@pytest.mark.parametrize("joined", [1, 2])
def test_an_end_without_beginning_breaks_the_link(joined: int) -> None:
    """No part came, or the number is not in the frame."""
    _, b = pair()
    frame = pb.Frame(first=1, envelopes=[b"x"], joined=joined)
    with pytest.raises(LinkBroken, match="the end of an envelope"):
        b.received(frame.SerializeToString())


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(b"abc"), st.integers(1, 450)), max_size=25),
    st.lists(st.integers(0, 3), max_size=60),
)
def test_everything_arrives_once_and_in_order(puts: list[tuple[int, int]], turns: list[int]) -> None:
    """Whatever is put whenever: whole, once, in the order of its conversation, and each ends."""
    a, b = pair()
    sent: list[bytes] = []
    came: list[bytes] = []
    open_numbers: list[int] = []
    ended: list[str] = []

    def read() -> bool:
        heard = move(a, b)
        if heard is not None:
            came.extend(data for _, data in heard.envelopes)
            open_numbers.extend(number for number, _ in heard.envelopes)
        return heard is not None

    for index, (conversation, size) in enumerate(puts):
        data = bytes([conversation, index]) * size
        sent.append(data)
        a.put(str(index), data)
        for _ in range(turns.pop() if turns else 0):
            read()
    while read():
        pass
    for number in reversed(open_numbers):
        b.settle(number, IS_SAFE)
    while (heard := move(b, a)) is not None:
        ended.extend(entry for entry, _ in heard.ended)
    assert sorted(came) == sorted(sent)
    for conversation in b"abc":
        assert [d for d in came if d[0] == conversation] == [d for d in sent if d[0] == conversation]
    assert sorted(ended) == sorted(map(str, range(len(puts))))
    assert (a.unended, b.unsettled) == (0, 0)
