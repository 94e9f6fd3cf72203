"""One accepted WebSocket from handshake to end: it is read, pinged, and ended in order.

Whatever ends first ends all; `End` says why. A timer asks the heartbeat for pings. Clients that signed in
(`signed_in`) and other relays (`federation/link_serving`) are attended alike; this module refuses to know who the other
side is, and what a frame means.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from itertools import count
from math import ceil
from typing import Generic, TypeVar

from aiohttp.web import RequestHandler

from relay.bell import Bell
from relay.ends import CLIENT_CLOSED, LOST, SHUTDOWN, SILENT, STUCK, End, how_it_ended
from relay.ends import TEXT as TEXT_END
from relay.tasks import end as end_tasks
from relay.websocket import ClientSocket, Heard
from rmb_peer.protocol.heartbeat import Heartbeat, LinkDead, Rhythm
from rmb_peer.transport.tcp import arriving_at
from rmb_peer.transport.websocket.judge import TEXT
from rmb_peer.transport.websocket.splitter import BINARY, PING, PONG

TURN_FRAMES = 64
"""Frames of one client that are handled before others get their turn; a guess: a few milliseconds."""

FAR_S, TOGETHER_S = 1.0, 0.25
"""Timers that are further away than the first go off at multiples of the second, so that thousands of idle clients wake
us four times a second. Guesses: of 10,000 that are pinged every 20 s it makes 125 at a time, a few milliseconds."""

CLOSE_TEXT_BYTES_MAX = 123
"""Reason in a Close frame (RFC 6455, 5.5)."""

Entry = TypeVar("Entry")
Spawn = Callable[[Coroutine[None, None, None]], object]


class Attended(ABC, Generic[Entry]):
    """One connection. `Entry` is what its heartbeat confirms, if anything."""

    def __init__(self, socket: ClientSocket, rhythm: Rhythm) -> None:
        """Take over a WebSocket that was just accepted."""
        self._socket = socket
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[End] = self._loop.create_future()
        self._heartbeat: Heartbeat[Entry] = Heartbeat(self._loop.time(), rhythm)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._reading_paused = False
        """While we do not read, the client cannot be blamed for a pong that we do not see."""
        self._may_go_on = Bell()
        self._helpers: list[asyncio.Task[None]] = []
        """What runs beside the reader."""
        self._tasks: asyncio.TaskGroup

    # --- what differs -------------------------------------------------------------------------------------------------

    def enter(self) -> None:
        """The handshake has just been answered, in this very turn of the event loop. Call it before `run`."""

    @abstractmethod
    async def run(self) -> None:
        """Serve the connection until it ends. Call it once."""

    @property
    @abstractmethod
    def _roomy(self) -> bool:
        """Whether `_room` would not wait: asked before each frame, since a coroutine costs more than the answer."""

    @abstractmethod
    async def _room(self) -> None:
        """Wait before the next frame is read."""

    @abstractmethod
    def _frame(self, data: bytes) -> End | None:
        """A binary frame came; says why the connection has to end, if it has to."""

    @abstractmethod
    async def _late_frame(self, data: bytes) -> None:
        """A binary frame came that the client sent before it heard our Close."""

    def _on_pong(self, payload: bytes) -> None:
        """A pong came."""
        self._heartbeat.pong(payload)
        self._calm_down()

    @abstractmethod
    async def _wind_up(self, end: End, reader: "asyncio.Task[None]", helpers: "list[asyncio.Task[None]]") -> None:
        """The connection ends: end the helpers; if `end.flush`, give the client a moment to confirm what it has."""

    # --- from the beginning to the end --------------------------------------------------------------------------------

    @property
    def protocol(self) -> RequestHandler:
        """The web server's, of the connection."""
        return self._socket.protocol

    def abort(self) -> None:
        """Cut the connection."""
        self._socket.abort()

    def go_on(self) -> None:
        """The web server has done with the request that began the connection: it may be read and written."""
        self._may_go_on.set()

    def stop(self) -> None:
        """End the connection because the relay stops."""
        self._end(SHUTDOWN)

    async def _attend(
        self, begin: Callable[[Spawn], Sequence[Coroutine[None, None, None]]], leave: Callable[[], None]
    ) -> End:
        """Serve the connection, and say how it ended.

        Args:
            begin: gets what runs things that have to end even if the connection ends first; gives what runs beside the
                reader until the connection ends.
            leave: the connection has just ended; what it was entered in has to forget it.
        """
        await self._may_go_on.wait()
        async with asyncio.TaskGroup() as self._tasks:
            return await self._serve(begin, leave)

    async def _serve(
        self, begin: Callable[[Spawn], Sequence[Coroutine[None, None, None]]], leave: Callable[[], None]
    ) -> End:
        work = begin(self._tasks.create_task)
        reader = self._tasks.create_task(self._read())
        for item in work:
            self._help(item)
        self._arm()
        try:
            end = await self._ended
            leave()
            await self._wind_up(end, reader, self._helpers)
            await end_tasks([reader])
            await self._say_goodbye(end)
        finally:
            if self._timer is not None:
                self._timer.cancel()
            for task in (reader, *self._helpers):
                task.cancel()
        return end

    def _help(self, work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        """Run something beside the reader, until it or the connection ends."""
        helper = self._tasks.create_task(work)
        self._helpers.append(helper)
        return helper

    def _end(self, end: End) -> None:
        if not self._ended.done():
            self._ended.set_result(end)

    async def _say_goodbye(self, end: End) -> None:
        async def on_frame(heard: Heard) -> None:
            if end.listen and heard[0] == BINARY:
                await self._late_frame(heard[1])

        if end is CLIENT_CLOSED:
            await self._socket.answer_close()
        elif end.code is None:
            self._socket.abort()
        else:
            text = end.reason.encode()[:CLOSE_TEXT_BYTES_MAX].decode(errors="ignore")
            await self._socket.close(end.code, text, on_frame)

    # --- reading ------------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        receive, heard, now = self._socket.receive, self._heartbeat.heard, self._loop.time
        for number in count():
            if number % TURN_FRAMES == 0:
                await asyncio.sleep(0)
            if not self._roomy:
                await self._room()
            first, data = await receive()
            heard(now())
            if first == BINARY:
                if (end := self._frame(data)) is not None:
                    self._end(end)
                    return
            elif first == PING:
                await self._answer_ping(data)
            elif first == PONG:
                self._on_pong(data)
            elif first == TEXT:
                self._end(TEXT_END)
                return
            else:
                self._end(how_it_ended(first, data))
                return

    async def _answer_ping(self, payload: bytes) -> None:
        """A ping came."""
        await self._pong(payload)

    async def _pong(self, payload: bytes) -> None:
        try:
            await self._socket.pong(payload)
        except ConnectionError:
            self._end(LOST)

    # --- the link -----------------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        if self._ended.done():
            return
        deadline = self._heartbeat.deadline()
        if deadline - self._loop.time() > FAR_S:
            deadline = ceil(deadline / TOGETHER_S) * TOGETHER_S
        if self._timer is not None:
            if self._timer_at <= deadline:
                return
            self._timer.cancel()
        self._timer_at = deadline  # uvloop's handles do not always tell theirs
        self._timer = self._loop.call_at(deadline, self._on_timer)

    def _calm_down(self) -> None:
        """A ping was answered: what was to look after it need not wake us."""
        if self._timer is not None and not self._heartbeat.unconfirmed:
            self._timer.cancel()
            self._timer = None
        self._arm()

    def _on_timer(self) -> None:
        """Never waits: a client that takes nothing must not stop us from noticing."""
        self._timer = None
        payload = self._due_ping()
        if payload is not None:
            self._help(self._ping(payload)).add_done_callback(self._helpers.remove)
        self._arm()

    def _due_ping(self) -> bytes | None:
        """Ask the heartbeat what is due; a dead link ends the connection."""
        if self._ended.done():
            return None
        now = self._loop.time()
        try:
            # What has arrived matters while a ping is on its way; to ask the system costs more than all else here.
            arriving_at_s = self._arriving_at(now) if self._heartbeat.waiting else now
            return self._heartbeat.expire(now, self._socket.drained_bytes, arriving_at_s)
        except LinkDead:
            self._end(STUCK if self._socket.blocked else SILENT)
            return None

    def _arriving_at(self, now: float) -> float:
        if self._reading_paused:
            return now
        return arriving_at(now, self._heartbeat.heard_at, self._socket.silent_s())

    async def _ping(self, payload: bytes) -> None:
        try:
            await self._socket.ping(payload)
        except ConnectionError:
            self._end(LOST)
