"""Plain frames are found however the bytes are cut; the rest is passed on as it came; noise and lies cost nothing."""

import os
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from rmb_peer.transport.websocket.judge import Judge
from rmb_peer.transport.websocket.outgoing import frame_of
from rmb_peer.transport.websocket.splitter import BINARY, PING, PONG, RAW, Splitter

MAX = 300
FIRST = {Opcode.BINARY: BINARY, Opcode.PING: PING, Opcode.PONG: PONG}


@dataclass
class Stream:
    """Frames as they travel, and what is to be found in them."""

    data: bytes
    plain: list[tuple[int, bytes]]
    passed_on: bytes


@st.composite
def streams(draw: st.DrawFn, masked: bool) -> Stream:
    """Whole messages, in one frame or several, texts, pings and pongs in between."""
    data = passed_on = b""
    plain: list[tuple[int, bytes]] = []

    def add(frame: Frame, is_plain: bool) -> None:
        nonlocal data, passed_on
        serialized = frame.serialize(mask=masked)
        data += serialized
        if is_plain:
            plain.append((FIRST[frame.opcode], bytes(frame.data)))
        else:
            passed_on += serialized

    for _ in range(draw(st.integers(0, 8))):
        kind = draw(st.sampled_from(["binary", "control", "text", "fragments"]))
        size = draw(st.sampled_from([0, 1, 125, 126, 127, MAX]))
        if kind == "binary":
            add(Frame(Opcode.BINARY, b"b" * size), True)
        elif kind == "control":
            opcode = draw(st.sampled_from([Opcode.PING, Opcode.PONG]))
            add(Frame(opcode, draw(st.binary(max_size=125))), True)
        elif kind == "text":
            add(Frame(Opcode.TEXT, b"t" * size), False)
        else:
            parts = draw(st.integers(2, 4))
            for part in range(parts):
                opcode = Opcode.CONT if part else draw(st.sampled_from([Opcode.BINARY, Opcode.TEXT]))
                add(Frame(opcode, b"f" * (size // parts), part == parts - 1), False)
                if draw(st.booleans()):
                    add(Frame(Opcode.PING, b"between"), True)
    return Stream(data, plain, passed_on)


def cut(data: bytes, draw: st.DataObject) -> list[bytes]:
    """Pieces as a transport may hand them over; never an empty one."""
    at = sorted({0, len(data), *draw.draw(st.lists(st.integers(0, len(data)), max_size=12))})
    return [data[begin:end] for begin, end in pairwise(at)]


@pytest.mark.parametrize("masked", [False, True])
@given(draw=st.data())
def test_frames_are_found_however_the_bytes_are_cut(masked: bool, draw: st.DataObject) -> None:
    """Plain ones with their payloads, in order; all others byte for byte."""
    stream = draw.draw(streams(masked))
    splitter = Splitter(MAX, masked=masked)
    found = [item for piece in cut(stream.data, draw) for item in splitter.feed(piece)]
    assert [item for item in found if item[0] != RAW] == stream.plain
    assert b"".join(data for first, data in found if first == RAW) == stream.passed_on
    assert splitter.held_bytes == 0


@pytest.mark.parametrize("masked", [False, True])
def test_byte_by_byte(masked: bool) -> None:
    """The slowest line of all; nothing is held but what has come."""
    frame = Frame(Opcode.BINARY, bytes(range(200))).serialize(mask=masked)
    splitter = Splitter(MAX, masked=masked)
    for at in range(len(frame) - 1):
        assert splitter.feed(frame[at : at + 1]) == []
        assert splitter.held_bytes <= at + 1
    assert splitter.feed(frame[-1:]) == [(BINARY, bytes(range(200)))]


@pytest.mark.parametrize("masked", [False, True])
def test_a_message_at_the_limit_is_plain_and_a_larger_one_is_not(masked: bool) -> None:
    """The larger one is passed on with its header, before its payload has come, and so is all that follows."""
    splitter = Splitter(MAX, masked=masked)
    assert splitter.feed(Frame(Opcode.BINARY, bytes(MAX)).serialize(mask=masked)) == [(BINARY, bytes(MAX))]
    head = Frame(Opcode.BINARY, bytes(MAX + 1)).serialize(mask=masked)[: -MAX - 1]
    assert splitter.feed(head) == [(RAW, head)]
    assert splitter.feed(b"anything") == [(RAW, b"anything")]


@pytest.mark.parametrize("size_bytes", [2**30, 2**63 - 1, 2**64 - 1])
def test_an_announced_gibibyte_is_never_held(size_bytes: int) -> None:
    """Whatever the header says; the judge refuses it as too large, or as no length at all."""
    splitter, judge = Splitter(MAX, masked=True), Judge(MAX)
    head = bytes((BINARY, 0x80 | 127)) + size_bytes.to_bytes(8) + bytes(4)
    found = splitter.feed(head)
    assert found == [(RAW, head)]
    assert judge.feed(head) == []
    assert judge.broken is not None and judge.broken.code in (1002, 1009)
    for _ in range(100):
        splitter.feed(bytes(1000))
    assert splitter.held_bytes == 0


def read_by_both(pieces: list[bytes]) -> tuple[list[tuple[int, bytes]], int | None]:
    """What a server gets: messages, pings and pongs; and the code of the Close that breaks the connection off."""
    splitter, judge = Splitter(MAX, masked=True), Judge(MAX)
    heard: list[tuple[int, bytes]] = []
    for piece in pieces:
        for first, data in splitter.feed(piece):
            if first != RAW:
                heard.append((first, data))
                continue
            heard += judge.feed(data)
            if judge.closed or judge.broken:
                splitter.pass_all_on()
                break
    return heard, judge.broken.code if judge.broken else None


def read_by_the_library(data: bytes) -> tuple[list[tuple[int, bytes]], int | None]:
    """The same, by a complete implementation that gets every byte at once."""
    protocol = ServerProtocol(state=State.OPEN, max_size=MAX)
    protocol.receive_data(data)
    heard: list[tuple[int, bytes]] = []
    message, kind = b"", 0
    for frame in protocol.events_received():
        assert isinstance(frame, Frame)
        if frame.opcode in (Opcode.PING, Opcode.PONG, Opcode.CLOSE):
            heard.append((0x80 | frame.opcode, bytes(frame.data)))
            continue
        kind = kind if frame.opcode is Opcode.CONT else 0x80 | frame.opcode
        message += bytes(frame.data)
        if frame.fin:
            try:
                message.decode() if kind == 0x81 else None
            except UnicodeDecodeError:
                return heard, 1007
            heard.append((kind, message))
            message = b""
    failed = protocol.parser_exc is not None and protocol.close_sent is not None
    return heard, protocol.close_sent.code if failed and protocol.close_sent else None


@st.composite
def noise(draw: st.DrawFn) -> bytes:
    """Frames of all kinds, right and wrong."""
    data = b""
    for _ in range(draw(st.integers(0, 6))):
        first = draw(st.sampled_from([0x82, 0x82, 0x89, 0x8A, 0x02, 0x01, 0x00, 0x80, 0x81]) | st.integers(0, 255))
        size = draw(st.sampled_from([0, 1, 2, 125, 126, MAX, MAX + 1]))
        payload = draw(st.just(b"a" * size) | st.binary(max_size=8))
        data += frame_of(first, payload, masked=draw(st.sampled_from([True] * 9 + [False])))
    return data + draw(st.binary(max_size=12))


@settings(max_examples=int(os.environ.get("WS_EXAMPLES", "200")), deadline=None)
@given(draw=st.data())
def test_what_is_heard_does_not_depend_on_who_reads(draw: st.DataObject) -> None:
    """Of any bytes, however they are cut, the same is heard, and broken off with the same code, as by `websockets`."""
    data = draw.draw(noise())
    ours, theirs = read_by_both(cut(data, draw)), read_by_the_library(data)
    if theirs[1] == 1009:  # `websockets` counts a ping within fragments towards their size; RFC 6455, 5.4 does not
        assert ours[0][: len(theirs[0])] == theirs[0]
    else:
        assert ours == theirs
