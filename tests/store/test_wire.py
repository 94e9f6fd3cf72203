"""One connection, driven as a transport drives it: order, limits, backpressure, and bytes that are no answers."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import exceptions

from rmb_peer.store import wire as wire_module
from rmb_peer.store.wire import LARGE_BYTES, Wire, pack


class Recording(asyncio.Transport):
    """Keeps what is written; says `pause_writing` when it was told to hold more than so many bytes.

    Attributes:
        writes: each write.
        aborted: whether the connection was given up.
    """

    def __init__(self, protocol: Wire, holds_bytes: int = 10**9) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.aborted = False
        self._protocol = protocol
        self._holds_bytes = holds_bytes
        self._held = 0
        protocol.connection_made(self)

    @property
    def written(self) -> bytes:
        return b"".join(self.writes)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))
        self._held += len(data)
        if self._held > self._holds_bytes:
            self._protocol.pause_writing()

    def drain(self) -> None:
        """The socket took everything."""
        self._held = 0
        self._protocol.resume_writing()

    def abort(self) -> None:
        self.aborted = True
        asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)


async def turn() -> None:
    """Let everything run that is due."""
    for _ in range(3):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    "command",
    [
        ("PING",),
        ("SET", "key", b"\x00\r\n" * LARGE_BYTES, "EX", 5),
        (b"x" * LARGE_BYTES,) * 2,
        ("a", 1.5, -3, b"", "é"),
    ],
)
async def test_pieces_are_the_same_command(command: tuple[bytes | str | int | float, ...]) -> None:
    """A command in pieces is the command in one; large arguments are in it as they are, not as copies."""
    pieces = pack(command, large=True)
    assert [b"".join(pieces)] == pack(command)
    large = [word for word in command if isinstance(word, bytes) and len(word) >= LARGE_BYTES]
    assert [sum(word is piece for piece in pieces) > 0 for word in large] == [True] * len(large)


async def test_commands_of_one_turn_are_one_write() -> None:
    """What is sent before the loop goes on leaves together, in the order of the calls."""
    wire = Wire()
    transport = Recording(wire)
    answers = [wire.send(pack(("ECHO", n))) for n in range(50)]
    several = wire.send_many([pack(("A",)), pack(("B",))])
    await turn()
    assert transport.writes == [b"".join(pack(("ECHO", n))[0] for n in range(50)) + pack(("A",))[0] + pack(("B",))[0]]
    wire.data_received(b"".join(b":%d\r\n" % n for n in range(50)) + b"+a\r\n-ERR b\r\n")
    assert [future.result() for future in answers] == list(range(50))
    a, b = several.result()
    assert a == b"a"
    assert isinstance(b, exceptions.ResponseError)
    await wire.close()


async def test_answers_in_any_pieces() -> None:
    """How the bytes of answers arrive does not matter."""
    wire = Wire()
    Recording(wire)
    answers = [wire.send(pack(("X",))) for _ in range(3)]
    for byte in b"$5\r\nab\r\nc\r\n*2\r\n:1\r\n$-1\r\n-OOM no memory\r\n":
        wire.data_received(bytes([byte]))
    assert [answers[0].result(), answers[1].result()] == [b"ab\r\nc", [1, None]]
    assert isinstance(answers[2].exception(), exceptions.OutOfMemoryError)
    await wire.close()


async def test_a_call_that_is_given_up_disturbs_no_other() -> None:
    """The answer to a cancelled command is awaited and dropped."""
    wire = Wire()
    Recording(wire)
    answers = [wire.send(pack(("X",))) for _ in range(3)]
    answers[1].cancel()
    wire.data_received(b":0\r\n:1\r\n:2\r\n")
    assert [answers[0].result(), answers[2].result()] == [0, 2]
    await wire.close()


async def test_what_is_not_answered_fails_with_the_connection() -> None:
    """Every command under way fails, each with an error of its own, and later ones at once."""
    wire = Wire()
    Recording(wire)
    answers = [wire.send(pack(("X",))) for _ in range(3)]
    several = wire.send_many([pack(("A",)), pack(("B",))])
    wire.data_received(b":0\r\n$3\r\na")
    wire.connection_lost(None)
    assert answers[0].result() == 0
    errors = [future.exception() for future in (answers[1], answers[2], several)]
    assert [str(error) for error in errors] == ["Connection closed by server."] * 3
    assert all(isinstance(error, exceptions.ConnectionError) for error in errors)
    assert len({id(error) for error in errors}) == 3
    with pytest.raises(exceptions.ConnectionError):
        wire.send(pack(("X",)))


async def test_a_large_value_is_written_as_fast_as_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The transport holds a slice of it, never all; commands before and behind it keep their places."""
    monkeypatch.setattr(wire_module, "_TURN_BYTES", 3 * wire_module._SLICE_BYTES)
    wire = Wire()
    transport = Recording(wire, holds_bytes=LARGE_BYTES)
    value = bytes(range(256)) * 8 * 1024  # 2 MiB
    expected = b"".join(b"".join(pack(command)) for command in (("A",), ("SET", "k", value), ("B",)))
    futures = [wire.send(pack(command, large=True)) for command in (("A",), ("SET", "k", value), ("B",))]
    seen = 0
    while len(transport.written) < len(expected):
        await turn()
        assert 0 < len(transport.written) - seen <= LARGE_BYTES + wire_module._SLICE_BYTES
        seen = len(transport.written)
        transport.drain()
    assert transport.written == expected
    wire.data_received(b":1\r\n:2\r\n:3\r\n")
    assert [future.result() for future in futures] == [1, 2, 3]
    await wire.close()


async def test_other_activities_run_between_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the socket takes everything, one turn of the loop writes only so much."""
    monkeypatch.setattr(wire_module, "_TURN_BYTES", 2 * wire_module._SLICE_BYTES)
    wire = Wire()
    transport = Recording(wire)
    future = wire.send(pack(("SET", "k", bytes(10 * wire_module._SLICE_BYTES)), large=True))
    turns = 0
    while len(transport.written) < 10 * wire_module._SLICE_BYTES:
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 5
    future.cancel()
    await wire.close()


async def test_commands_under_way_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit the connection is not ready; when half is answered, those who wait go on."""
    monkeypatch.setattr(wire_module, "COMMANDS_MAX", 4)
    wire = Wire()
    Recording(wire)
    futures = [wire.send(pack(("X",))) for _ in range(3)]
    assert wire.ready
    futures.append(wire.send(pack(("X",))))
    assert not wire.ready
    waiting = asyncio.create_task(wire.room())
    wire.data_received(b":0\r\n")
    await turn()
    assert not wire.ready
    wire.data_received(b":1\r\n")
    await waiting
    assert wire.ready
    waiting = asyncio.create_task(wire.room())
    wire.connection_lost(None)
    await waiting
    assert [isinstance(future.exception(), exceptions.ConnectionError) for future in futures[2:]] == [True] * 2


async def test_bytes_that_are_not_sent_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that reads nothing does not make us hold more and more; one value of any size always gets through."""
    monkeypatch.setattr(wire_module, "UNSENT_BYTES_MAX", 2 * LARGE_BYTES)
    wire = Wire()
    transport = Recording(wire, holds_bytes=0)
    first = wire.send(pack(("A",)))
    await turn()  # from here on the transport takes nothing
    assert wire.ready
    large = wire.send(pack(("SET", "k", bytes(3 * LARGE_BYTES)), large=True))
    assert not wire.ready
    await turn()
    assert not wire.ready
    while not wire.ready:
        transport.drain()
        await turn()
    wire.data_received(b":0\r\n:1\r\n")
    assert [first.result(), large.result()] == [0, 1]
    await wire.close()


@pytest.mark.parametrize(
    "pieces", [lambda: b"$9999999\r\n" + b"x" * 600, lambda: b"*9999\r\n" + b":1\r\n" * 200], ids=["bytes", "members"]
)
async def test_an_answer_has_a_limit(monkeypatch: pytest.MonkeyPatch, pieces: Callable[[], bytes]) -> None:
    """An answer without end ends the connection, before it fills the memory."""
    monkeypatch.setattr(wire_module, "ANSWER_BYTES_MAX", 1000)
    wire = Wire()
    transport = Recording(wire)
    future = wire.send(pack(("X",)))
    wire.data_received(pieces())
    assert not transport.aborted
    wire.data_received(b"x" * 600 if pieces()[:1] == b"$" else b":1\r\n" * 200)
    assert transport.aborted
    with pytest.raises(exceptions.ConnectionError, match="no end"):
        await future


async def test_an_error_that_comes_unasked_is_told() -> None:
    """A server that is full says so before anybody asked it."""
    wire = Wire()
    transport = Recording(wire)
    wire.data_received(b"-ERR max number of clients reached\r\n")
    assert transport.aborted
    assert wire.lost


FRAGMENTS = [*(bytes([kind]) for kind in b"*$:-+_#(,!=%~>|1x\xff"), b"-1", b"99", b"\r\n"]


@pytest.mark.parametrize("ahead", [b"", b":1\r\n"])
@given(noise=st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(FRAGMENTS), max_size=30).map(b"".join)))
@settings(max_examples=300, deadline=None)
def test_noise_is_no_answer(ahead: bytes, noise: bytes) -> None:
    """Whatever a server sends, each command ends with an answer or an error, and nothing is raised at the transport."""

    async def feed() -> None:
        wire = Wire()
        transport = Recording(wire)
        futures: list[asyncio.Future[Any]] = [wire.send(pack(("X",))) for _ in range(3)]
        for piece in (ahead, noise):
            wire.data_received(piece)
        await wire.close()
        for future in futures:
            assert future.done()
            assert future.exception() is None or isinstance(future.exception(), exceptions.RedisError)
        assert transport.aborted

    asyncio.run(feed())
