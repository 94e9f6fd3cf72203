"""The acknowledged link as a conversation: what each side says, and what breaks it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmb_peer.protocol.link.endings import (
    FIRST_WINDOW,
    IS_AT_PEER,
    IS_SAFE,
    REASON_BYTES_MAX,
    Ending,
    LinkBroken,
    Outcome,
    Window,
)
from rmb_peer.protocol.link.link import (
    FRAME_BYTES_MAX,
    FRAME_MESSAGES_MAX,
    FRAME_OVERHEAD_BYTES,
    RUNS_MAX,
    Heard,
    Link,
)
from rmb_peer.protocol.pb import link_pb2 as pb

WIDE = Window(1000, 1_000_000)


def talk(source: Link[str], target: Link[str]) -> Heard[str]:
    """Move everything that one side has to say to the other."""
    heard: Heard[str] = Heard([], [])
    while (frame := source.take_frame()) is not None:
        part = target.received(frame)
        heard.envelopes.extend(part.envelopes)
        heard.ended.extend(part.ended)
    return heard


def pair(window: Window = WIDE) -> tuple[Link[str], Link[str]]:
    """Two ends that have heard each other's window."""
    a: Link[str] = Link(window)
    b: Link[str] = Link(window)
    talk(a, b)
    talk(b, a)
    return a, b


def put(link: Link[str], *names: str) -> None:
    for name in names:
        link.put(name, name.encode())


def test_the_window_is_the_first_thing_said() -> None:
    """Each side says its window at once, and only once."""
    link: Link[str] = Link(Window(7, 70))
    frame = link.take_frame()
    assert frame is not None
    parsed = pb.Frame.FromString(frame)
    assert (parsed.window.messages, parsed.window.size_bytes) == (7, 70)
    assert link.take_frame() is None
    put(link, "a")
    assert not pb.Frame.FromString(link.take_frame() or b"").HasField("window")


def test_the_bytes_of_a_frame() -> None:
    """The format, written down once."""
    link: Link[str] = Link(Window(2, 300))
    put(link, "a", "b")
    assert link.take_frame() == bytes.fromhex("0801 1201 61 1201 62 2a07 0802 10ac02 1801".replace(" ", ""))


def test_envelopes_are_numbered_and_batched() -> None:
    """What was put together travels together, in order."""
    a, b = pair()
    put(a, "x", "y", "z")
    frame = a.take_frame()
    assert frame is not None
    assert a.take_frame() is None
    assert b.received(frame).envelopes == [(1, b"x"), (2, b"y"), (3, b"z")]
    put(a, "w")
    assert talk(a, b).envelopes == [(4, b"w")]


def test_safe_is_cumulative() -> None:
    """One number ends many."""
    a, b = pair()
    put(a, "x", "y", "z")
    talk(a, b)
    b.settle(1, IS_SAFE)
    b.settle(2, IS_SAFE)
    frame = b.take_frame()
    assert frame is not None
    parsed = pb.Frame.FromString(frame)
    assert (parsed.safe, len(parsed.outcomes)) == (2, 0)
    assert a.received(frame).ended == [("x", IS_SAFE), ("y", IS_SAFE)]
    assert (a.unended, b.unsettled) == (1, 1)


def test_outcomes_overtake_an_older_one_that_has_not_ended() -> None:
    """A slow destination does not hold up the endings of others."""
    a, b = pair()
    put(a, "slow", "fast", "refused", "last")
    talk(a, b)
    refused = Outcome(Ending.REFUSED, 103, "unknown twin", 2500)
    b.settle(2, IS_AT_PEER)
    b.settle(3, refused)
    b.settle(4, IS_SAFE)
    assert talk(b, a).ended == [("fast", IS_AT_PEER), ("refused", refused), ("last", IS_SAFE)]
    b.settle(1, IS_SAFE)
    assert talk(b, a).ended == [("slow", IS_SAFE)]
    assert (a.unended, b.unsettled) == (0, 0)


def test_equal_endings_in_a_row_are_one_run() -> None:
    """A hundred envelopes that ended alike cost one outcome."""
    a, b = pair()
    put(a, *map(str, range(100)))
    talk(a, b)
    for number in range(1, 101):
        b.settle(number, IS_AT_PEER)
    frame = b.take_frame()
    assert frame is not None
    parsed = pb.Frame.FromString(frame)
    assert [(run.first, run.more) for run in parsed.outcomes] == [(1, 99)]
    assert a.received(frame).ended == [(str(n), IS_AT_PEER) for n in range(100)]


def test_more_runs_than_a_frame_holds_follow_in_the_next() -> None:
    """The cumulative number never passes an outcome that has not been said."""
    a, b = pair()
    count = RUNS_MAX + 10
    put(a, *map(str, range(count)))
    talk(a, b)
    expected = {str(n): Outcome(Ending.REFUSED, n + 1, "no") for n in range(count)}
    for number in reversed(range(count)):
        b.settle(number + 1, expected[str(number)])
    frame = b.take_frame()
    assert frame is not None
    assert pb.Frame.FromString(frame).safe == RUNS_MAX
    ended = a.received(frame).ended + talk(b, a).ended
    assert dict(ended) == expected
    assert len(ended) == count


def test_the_window_of_the_other_side_is_kept() -> None:
    """Count and bytes; one message may exceed the bytes when it is alone."""
    a, b = pair(Window(2, 10))
    assert a.has_room(10**9)
    put(a, "0123456")
    assert a.has_room(3)
    assert not a.has_room(4)
    put(a, "abc")
    assert not a.has_room(0)
    talk(a, b)
    b.settle(1, IS_SAFE)
    talk(b, a)
    assert a.has_room(7)
    assert not a.has_room(8)


def test_before_a_window_is_heard_a_small_one_counts() -> None:
    """The first envelopes need not wait for a round trip."""
    a: Link[str] = Link(WIDE)
    b: Link[str] = Link(Window(1, 1))
    count = 0
    while a.has_room(10):
        put(a, f"{count:010}")
        count += 1
    assert count == FIRST_WINDOW.messages
    assert len(talk(a, b).envelopes) == count


def test_a_window_that_is_exceeded_breaks_the_link() -> None:
    """Whoever sends more than was offered is not honest."""
    b: Link[str] = Link(Window(1, 1))
    frame = pb.Frame(
        first=1, envelopes=[b"x"] * (FIRST_WINDOW.messages + 1), window=pb.Window(messages=1, size_bytes=1)
    )
    with pytest.raises(LinkBroken, match="window"):
        b.received(frame.SerializeToString())


def test_frames_are_bounded() -> None:
    """By count and by bytes; a large envelope travels alone, and nothing is cut."""
    a, b = pair(Window(10_000, 100_000_000))
    sizes = [10] * (FRAME_MESSAGES_MAX + 5) + [FRAME_BYTES_MAX + 1, 10, FRAME_BYTES_MAX // 2, FRAME_BYTES_MAX // 2, 10]
    for size in sizes:
        a.put("x", bytes(size))
    frames = list(iter(a.take_frame, None))
    runs = [[len(data) for data in pb.Frame.FromString(frame).envelopes] for frame in frames]
    assert [size for run in runs for size in run] == sizes
    assert all(len(run) <= FRAME_MESSAGES_MAX for run in runs)
    assert all(sum(run) <= FRAME_BYTES_MAX or len(run) == 1 for run in runs)
    assert all(len(frame) <= sum(run) + FRAME_OVERHEAD_BYTES for frame, run in zip(frames, runs, strict=True))
    assert sum(len(b.received(frame).envelopes) for frame in frames) == len(sizes)


def test_endings_do_not_travel_with_a_large_envelope() -> None:
    """They would arrive with its last byte; a small one does not hold them up."""
    a, b = pair()
    put(b, "x", "y")
    talk(b, a)
    a.settle(1, IS_SAFE)
    a.put("large", bytes(FRAME_BYTES_MAX + 1))
    first, second = (pb.Frame.FromString(frame) for frame in iter(a.take_frame, None))
    assert (first.safe, len(first.envelopes)) == (1, 0)
    assert (second.first, len(second.envelopes)) == (1, 1)
    a.settle(2, IS_SAFE)
    put(a, "small")
    (third,) = (pb.Frame.FromString(frame) for frame in iter(a.take_frame, None))
    assert (third.safe, third.first, len(third.envelopes)) == (2, 2, 1)


def test_the_overhead_of_a_frame_is_bounded() -> None:
    """As many endings as possible with the longest reasons, beside as many envelopes as possible."""
    a, b = pair(Window(10_000, 100_000_000))
    for _ in range(FRAME_MESSAGES_MAX):
        a.put("x", b"1")
        b.put("y", bytes(1000))
    talk(a, b)
    for number in range(1, FRAME_MESSAGES_MAX + 1):
        b.settle(number, Outcome(Ending.REFUSED, 2**32 - 1 - number, "\N{GRINNING FACE}" * 1000, 2**32 + 5))
    frame = b.take_frame()
    assert frame is not None
    assert len(frame) <= sum(map(len, pb.Frame.FromString(frame).envelopes)) + FRAME_OVERHEAD_BYTES
    ended = a.received(frame).ended
    assert all(len(outcome.reason.encode()) <= REASON_BYTES_MAX for _, outcome in ended)
    assert ended[0][1].retry_after_ms == 2**32 - 1


def test_what_has_not_ended_comes_back_in_order() -> None:
    """When the connection is gone, framed or not; what has ended does not."""
    a, b = pair()
    put(a, "one", "two", "three")
    talk(a, b)
    b.settle(2, IS_SAFE)
    talk(b, a)
    put(a, "four")
    assert a.take_unended() == ["one", "three", "four"]
    assert a.take_unended() == []
    assert a.take_frame() is None


def hello(**fields: object) -> pb.Frame:
    frame = pb.Frame(**fields)  # type: ignore[arg-type]  # the tests name the fields
    frame.window.messages, frame.window.size_bytes = 10, 1000
    return frame


BROKEN: dict[str, tuple[bytes | pb.Frame, str]] = {
    "noise": (b"\xff\xff", "no frame"),
    "no window": (pb.Frame(first=1, envelopes=[b"x"]), "window"),
    "a window of no messages": (pb.Frame(window=pb.Window(size_bytes=1)), "window"),
    "a window of no bytes": (pb.Frame(window=pb.Window(messages=1)), "window"),
    "a gap": (hello(first=2, envelopes=[b"x"]), "envelope 2 after 0"),
    "no number": (hello(envelopes=[b"x"]), "envelope 0 after 0"),
    "safe beyond": (hello(safe=3), "3 is acknowledged, but 2 were sent"),
    "outcome beyond": (hello(outcomes=[pb.Outcome(first=2, more=1)]), "2 were sent"),
    "outcome for nothing": (hello(outcomes=[pb.Outcome(first=0)]), "second outcome for 0"),
    "outcome twice": (hello(outcomes=[pb.Outcome(first=1), pb.Outcome(first=1)]), "second outcome for 1"),
    "a run without end": (hello(outcomes=[pb.Outcome(first=1, more=2**64 - 1)]), "were sent"),
    "unknown ending": (hello(outcomes=[pb.Outcome(first=1, ending=9)]), "unknown ending 9"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_rules(name: str) -> None:
    """Each is found; nothing of the frame counts, so that nothing is forgotten that has not ended."""
    frame, text = BROKEN[name]
    link: Link[str] = Link(WIDE)
    put(link, "one", "two")
    link.take_frame()
    with pytest.raises(LinkBroken, match=text):
        link.received(frame if isinstance(frame, bytes) else frame.SerializeToString())
    assert link.take_unended() == ["one", "two"]


def test_a_second_window_breaks_the_link() -> None:
    """Windows do not change under way."""
    a, _ = pair()
    with pytest.raises(LinkBroken, match="only there"):
        a.received(hello().SerializeToString())


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_noise_never_crashes(frames: list[bytes]) -> None:
    """Whatever arrives: a value or `LinkBroken`, and nothing that was put is forgotten without an ending."""
    link: Link[str] = Link(WIDE)
    put(link, "one", "two")
    link.take_frame()
    ended: list[str] = []
    for frame in frames:
        try:
            ended += [entry for entry, _ in link.received(frame).ended]
        except LinkBroken:
            break
    assert sorted(ended + link.take_unended()) == ["one", "two"]
