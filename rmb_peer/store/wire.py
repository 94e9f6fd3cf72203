"""One connection to a store that speaks the Redis protocol (RESP 2): many commands under way, answers in their order.

What is sent in one turn of the loop leaves in one write, and no command costs a task, a lock or a timer: one timer
looks at the oldest command that is not answered. A connection that fails fails every command on it, and is not used
again. It refuses to know what commands mean, where the store is, and whether to try again.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

from hiredis import Reader, pack_command
from redis import exceptions
from redis.asyncio.connection import DefaultParser

from rmb_peer.store.address import Command

ANSWER_S_MAX = 30.0
"""Longest wait for an answer. A guess: a server that rewrites its append-only file on a slow disk can pause for
seconds."""

COMMANDS_MAX = 1024
"""Commands under way, after which callers wait. A guess, far above what a gateway has at once."""

UNSENT_BYTES_MAX = 8 * 1024 * 1024
"""Bytes that the server has not accepted yet, after which callers wait. A guess: half of the largest message."""

ANSWER_BYTES_MAX = 1024 * 1024 * 1024
"""Bytes of one answer. Twice the largest value that a server stores by default, so that any item can be fetched."""

LARGE_BYTES = 64 * 1024
"""An argument from this size on is not copied into the command. A guess: below, one copy costs less than a write."""

_SLICE_BYTES = 256 * 1024
"""Of a large argument the transport gets this much at a time: what the socket does not take, the transport copies."""

_TURN_BYTES = 1024 * 1024
"""Written in one turn of the loop, so that large values do not hold up everybody else. A guess: under a millisecond."""

_INCOMPLETE = object()

Packed = list[bytes]


def pack(command: Command, large: bool = False) -> Packed:
    """A command as it is sent, in pieces.

    Args:
        command: its words.
        large: whether an argument may reach `LARGE_BYTES`; such arguments become pieces of their own, not copied.
    """
    if not large:
        return [_packed(command)]
    pieces: Packed = []
    small = [b"*%d\r\n" % len(command)]
    for word in command:
        if isinstance(word, bytes) and len(word) >= LARGE_BYTES:
            small.append(b"$%d\r\n" % len(word))
            pieces += (b"".join(small), word)
            small = [b"\r\n"]
        else:
            small.append(_packed((word,))[4:])  # without its own "*1\r\n"
    pieces.append(b"".join(small))
    return pieces


class Wire(asyncio.Protocol):
    """See the module.

    Attributes:
        ready: whether it takes commands now: connected, and within its limits.
        lost: whether it has ended.
    """

    def __init__(self, answer_s_max: float = ANSWER_S_MAX) -> None:
        """Begin unconnected; the loop's `create_connection` connects it.

        Args:
            answer_s_max: longest wait for an answer; then the connection counts as dead.
        """
        self.ready = False
        self.lost = False
        self._loop = asyncio.get_running_loop()
        self._answer_s_max = answer_s_max
        self._reader = Reader(protocolError=exceptions.InvalidResponse, replyError=_error_of, notEnoughData=_INCOMPLETE)
        self._transport: asyncio.Transport | None = None
        self._ended = self._loop.create_future()
        self._room: asyncio.Future[None] | None = None
        # Who waits, since when, and for several commands the answers so far; only their last one has the future.
        self._unanswered: deque[tuple[asyncio.Future[Any] | None, float, list[Any] | None]] = deque()
        self._unsent: deque[bytes | memoryview] = deque()
        self._unsent_bytes = 0
        self._answer_bytes = 0  # of the answer that is not complete yet
        self._flush_is_due = False
        self._paused = False
        self._watch: asyncio.TimerHandle | None = None

    def send(self, packed: Packed) -> asyncio.Future[Any]:
        """Send a command; its answer is the future's result, an error of the store its exception.

        Cancelling the future disturbs no other: its answer is awaited and dropped.

        Raises:
            exceptions.ConnectionError: the connection has ended.
        """
        future = self._loop.create_future()
        self._enqueue(packed, ((future, self._loop.time(), None),))
        return future

    def send_many(self, commands: Sequence[Packed]) -> asyncio.Future[list[Any]]:
        """Send several commands with nothing in between; the result lists their answers, errors among them.

        Raises:
            exceptions.ConnectionError: the connection has ended.
        """
        future = self._loop.create_future()
        answers: list[Any] = []
        now_s = self._loop.time()
        waiting = [*[(None, now_s, answers)] * (len(commands) - 1), (future, now_s, answers)]
        self._enqueue([piece for packed in commands for piece in packed], waiting)
        return future

    async def room(self) -> None:
        """Wait until it takes commands again, or has ended."""
        while not (self.ready or self.lost):
            if self._room is None:
                self._room = self._loop.create_future()
            await asyncio.shield(self._room)

    async def close(self) -> None:
        """End the connection; commands that are not answered fail."""
        self._fail(exceptions.ConnectionError("the connection was closed here"))
        if self._transport is not None:
            await asyncio.shield(self._ended)

    # --- what the transport calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)
        self.ready = True

    def connection_lost(self, error: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._fail(exceptions.ConnectionError("Connection closed by server." if error is None else _reading(error)))
        if not self._ended.done():
            self._ended.set_result(None)

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._paused = True

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._paused = False
        self._flush()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`: hand out every answer that is complete."""
        reader, unanswered = self._reader, self._unanswered
        self._answer_bytes += len(data)
        try:
            reader.feed(data)
            while (answer := reader.gets()) is not _INCOMPLETE:
                self._answer_bytes = 0
                if not unanswered:  # "max number of clients reached" comes unasked, too
                    text = str(answer) if isinstance(answer, exceptions.RedisError) else "an answer to no question"
                    self._fail(exceptions.ConnectionError(text))
                    return
                future, _, answers = unanswered.popleft()
                if answers is not None:
                    answers.append(answer)
                    answer = answers
                if future is None or future.done():
                    continue
                if isinstance(answer, exceptions.RedisError):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)
        except (exceptions.InvalidResponse, MemoryError, ValueError) as error:
            self._fail(exceptions.ConnectionError(f"this is no Redis protocol: {error}"))
            return
        if self._answer_bytes > ANSWER_BYTES_MAX:
            self._fail(exceptions.ConnectionError("an answer that has no end"))
        elif not self.ready:
            self._look_for_room()

    # --- inside ---

    def _enqueue(
        self, pieces: Packed, waiting: Sequence[tuple[asyncio.Future[Any] | None, float, list[Any] | None]]
    ) -> None:
        if self.lost:
            raise exceptions.ConnectionError("the connection has ended")
        self._unanswered.extend(waiting)
        for piece in pieces:
            self._unsent.append(piece)
            self._unsent_bytes += len(piece)
        if not self._flush_is_due:
            self._flush_is_due = True
            self._loop.call_soon(self._flush)
        if self._watch is None:
            self._watch = self._loop.call_later(self._answer_s_max, self._look_at_the_oldest)
        if len(self._unanswered) >= COMMANDS_MAX or self._unsent_bytes >= UNSENT_BYTES_MAX:
            self.ready = False

    def _flush(self) -> None:
        self._flush_is_due = False
        if self._paused or self._transport is None or not self._unsent:
            return
        if self._unsent_bytes <= LARGE_BYTES:
            self._transport.write(b"".join(self._unsent))
            self._unsent.clear()
            self._unsent_bytes = 0
        else:
            self._flush_much(self._transport)
        if not self.ready:
            self._look_for_room()

    def _flush_much(self, transport: asyncio.Transport) -> None:
        """Write until the socket takes no more, small pieces together and large ones in slices of themselves."""
        written = 0
        while self._unsent and not self._paused and not self.lost and written < _TURN_BYTES:
            together: list[bytes | memoryview] = []
            size = 0
            while self._unsent and size + len(self._unsent[0]) <= LARGE_BYTES:
                together.append(self._unsent.popleft())
                size += len(together[-1])
            if together:
                transport.write(b"".join(together))
            else:
                view = memoryview(self._unsent.popleft())
                size = min(len(view), _SLICE_BYTES)
                if size < len(view):
                    self._unsent.appendleft(view[size:])
                transport.write(view[:size])
            self._unsent_bytes -= size
            written += size
        if self._unsent and not self._paused and not self._flush_is_due:
            self._flush_is_due = True
            self._loop.call_soon(self._flush)

    def _look_for_room(self) -> None:
        """Callers go on when half of everything is free, so that they do not come and go one by one."""
        if self.lost or len(self._unanswered) > COMMANDS_MAX // 2 or self._unsent_bytes > UNSENT_BYTES_MAX // 2:
            return
        self.ready = self._transport is not None
        self._wake()

    def _look_at_the_oldest(self) -> None:
        self._watch = None
        if not self._unanswered:
            return
        until_s = self._unanswered[0][1] + self._answer_s_max
        if until_s <= self._loop.time():
            self._fail(exceptions.TimeoutError("no answer"))
        else:
            self._watch = self._loop.call_at(until_s, self._look_at_the_oldest)

    def _fail(self, error: exceptions.RedisError) -> None:
        if self.lost:
            return
        self.lost, self.ready = True, False
        if self._watch is not None:
            self._watch.cancel()
        if self._transport is not None:
            self._transport.abort()
        for future, _, _ in self._unanswered:
            if future is not None and not future.done():
                future.set_exception(type(error)(*error.args))  # each its own: a traceback grows where it is raised
        self._unanswered.clear()
        self._unsent.clear()
        self._unsent_bytes = 0
        self._wake()

    def _wake(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)


_packed: Callable[[Command], bytes] = cast(Any, pack_command)  # its annotation knows tuples of one element only

_error_of: Callable[[str], Exception] = cast(Any, DefaultParser.parse_error)
"""The class that redis-py has for an answer that is an error, so that both are handled alike."""


def _reading(error: Exception) -> str:
    return f"Error while reading: {error}"
