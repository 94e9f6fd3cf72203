"""Frames on the pipe between a gateway and its workers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmb_peer.workers.frames import HEAD, BrokenPipeData, Frame, FrameReader, encode

FRAMES = st.lists(st.builds(Frame, st.integers(0, 2**64 - 1), st.integers(0, 255), st.binary(max_size=40)), max_size=8)


@given(FRAMES, st.lists(st.integers(1, 30), min_size=1))
def test_frames_come_out_as_they_went_in_however_they_are_cut(frames: list[Frame], cuts: list[int]) -> None:
    """Pieces of any size give the same frames in the same order."""
    data = b"".join(encode(*frame) for frame in frames)
    reader, got = FrameReader(), list[Frame]()
    position, turn = 0, 0
    while position < len(data):
        size = cuts[turn % len(cuts)]
        got += reader.feed(data[position : position + size])
        position, turn = position + size, turn + 1
    assert got == frames


@given(st.lists(st.binary(max_size=60)))
def test_noise_gives_frames_or_one_error(pieces: list[bytes]) -> None:
    """Nothing but `BrokenPipeData` is raised, and no body exceeds the limit."""
    reader = FrameReader(body_bytes_max=32)
    for piece in pieces:
        try:
            frames = reader.feed(piece)
        except BrokenPipeData:
            return
        assert all(len(frame.body) <= 32 for frame in frames)


def test_the_largest_body_passes_and_one_byte_more_is_refused_by_its_length() -> None:
    """The limit is exact, and is applied before the body has come."""
    assert FrameReader(body_bytes_max=5).feed(encode(1, 2, b"12345")) == [Frame(1, 2, b"12345")]
    with pytest.raises(BrokenPipeData, match="6 bytes; at most 5"):
        FrameReader(body_bytes_max=5).feed(HEAD.pack(6, 1, 2))
