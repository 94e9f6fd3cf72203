"""Two clients of one relay in a process of their own: one sends envelopes, the other takes them.

    python -m tests.benchmarks.carrier RELAY_URL PROTOCOL

Each line of standard input is a JSON object with `envelopes`, `envelope_bytes` and `online`. It is answered with
one when all have arrived, or are stored if the receiver is not online. With `collect` alone, so many that are stored
are fetched. The relay looks neither at signatures nor at uids, so one envelope is sent again and again. "echo" as
PROTOCOL takes RELAY_URL for a plain echo.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

from rmb_peer.protocol.address import Address
from rmb_peer.protocol.envelope import Envelope
from rmb_peer.protocol.link.endings import IS_SAFE, Window
from rmb_peer.protocol.link.link import Link
from tests.support.relay import request, token

SENDER, RECEIVER, ABSENT = 7, 8, 9
TWINS_OF = {"rmb.1": 0, "rmb.2": 10}
"""Added to these, so that what one client left in a mailbox does not count for the other."""

WINDOW = Window(4096, 16 * 1024 * 1024)
ECHOES_IN_FLIGHT = 256
TURN = 64
"""Envelopes after which the receiver gets its turn."""


def envelope_of(size_bytes: int, source: int, destination: int) -> bytes:
    """A request of about this size, serialised."""
    bare = len(request(source, destination).SerializeToString())
    return request(source, destination, payload=bytes(max(0, size_bytes - bare - 4))).SerializeToString()


class Rmb1:
    """One envelope per binary message; nothing is acknowledged."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self._socket = socket

    async def idle(self) -> None:
        """Read until cancelled: who reads nothing answers no ping, and is dropped after a minute."""
        message = await self._socket.receive()
        raise AssertionError(f"unexpected: {message}")

    async def send(self, data: bytes, count: int) -> None:
        for number in range(count):
            await self._socket.send_bytes(data)
            if number % TURN == 0:
                await asyncio.sleep(0)

    async def take(self, count: int) -> None:
        for _ in range(count):
            assert (await self._socket.receive()).type is WSMsgType.BINARY

    async def close(self) -> None:
        await self._socket.close()

    async def stored(self, source: int) -> None:
        """Wait until everything sent is in its mailbox: an envelope ping comes back after that (spec rmb 6.5)."""
        ping = Envelope(uid="ping", timestamp=int(time.time()), expiration=60)
        Address(source).write_to(ping.source)
        ping.ping.SetInParent()
        await self._socket.send_bytes(ping.SerializeToString())
        await self.take(1)


class Rmb2:
    """The acknowledged link."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self._socket = socket
        self._link: Link[None] = Link(WINDOW)

    async def idle(self) -> None:
        """Read until cancelled: who reads nothing answers no ping, and is dropped after a minute."""
        while True:
            await self._receive()

    async def send(self, data: bytes, count: int) -> None:
        await self._flush()
        left, unended = count, count
        while unended:
            while left and self._link.has_room(len(data)):
                self._link.put(None, data)
                left -= 1
            await self._flush()
            unended -= await self._receive()

    async def close(self) -> None:
        await self._socket.close()

    async def stored(self, source: int) -> None:
        """Nothing to do: `send` has waited for the endings."""

    async def take(self, count: int) -> None:
        await self._flush()
        while count > 0:
            message = await self._socket.receive()
            assert message.type is WSMsgType.BINARY
            envelopes = self._link.received(message.data).envelopes
            for number, _ in envelopes:
                self._link.settle(number, IS_SAFE)
            count -= len(envelopes)
            await self._flush()

    async def _receive(self) -> int:
        message = await self._socket.receive()
        assert message.type is WSMsgType.BINARY
        return len(self._link.received(message.data).ended)

    async def _flush(self) -> None:
        while (frame := self._link.take_frame()) is not None:
            await self._socket.send_bytes(frame)


class Carrier:
    """Connections to the relay, made once."""

    def __init__(self, session: ClientSession, url: str, protocol: str) -> None:
        self._session = session
        self._url = url
        self._protocol = protocol
        more = TWINS_OF[protocol]
        self._source, self._online, self._absent = SENDER + more, RECEIVER + more, ABSENT + more

    async def open(self) -> None:
        self._sender, self._receiver = await self._connect(self._source), await self._connect(self._online)

    async def _connect(self, twin: int) -> Rmb1 | Rmb2:
        acknowledged = self._protocol == "rmb.2"
        socket = await self._session.ws_connect(
            f"{self._url}/?{token(Address(twin))}",
            protocols=("rmb.2",) if acknowledged else (),
            max_msg_size=0,
        )
        return Rmb2(socket) if acknowledged else Rmb1(socket)

    async def idle(self) -> None:
        """Stay connected until cancelled."""
        await asyncio.gather(self._sender.idle(), self._receiver.idle())

    async def run(self, envelopes: int, envelope_bytes: int, online: bool) -> None:
        data = envelope_of(envelope_bytes, self._source, self._online if online else self._absent)
        if online:
            await asyncio.gather(self._sender.send(data, envelopes), self._receiver.take(envelopes))
            return
        async with _beside(self._receiver.idle()):
            await self._sender.send(data, envelopes)
            await self._sender.stored(self._source)

    async def collect(self, envelopes: int) -> None:
        """Connect as the twin that is away, take so many, and go."""
        async with _beside(self.idle()):
            receiver = await self._connect(self._absent)
            await receiver.take(envelopes)
            await receiver.close()


class Echo:
    """Messages to a plain echo and back."""

    def __init__(self, session: ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def open(self) -> None:
        self._socket = await self._session.ws_connect(self._url, max_msg_size=0)

    async def idle(self) -> None:
        """Nothing to do: the echo sends no pings."""

    async def run(self, envelopes: int, envelope_bytes: int, online: bool) -> None:
        data = bytes(envelope_bytes)
        sent = min(ECHOES_IN_FLIGHT, envelopes)
        for _ in range(sent):
            await self._socket.send_bytes(data)
        for _ in range(envelopes):
            await self._socket.receive_bytes()
            if sent < envelopes:
                await self._socket.send_bytes(data)
                sent += 1


async def serve(url: str, protocol: str) -> None:
    """Do as told until standard input ends."""
    async with ClientSession() as session:
        carrier: Echo | Carrier = Echo(session, url) if protocol == "echo" else Carrier(session, url, protocol)
        await carrier.open()
        while line := await _line_while(carrier.idle()):
            told: dict[str, Any] = json.loads(line)
            begin_s = time.perf_counter()
            if isinstance(carrier, Carrier) and "collect" in told:
                await carrier.collect(told["collect"])
            else:
                await carrier.run(**told)
            print(json.dumps({"took_s": time.perf_counter() - begin_s}), flush=True)


@asynccontextmanager
async def _beside(idle: Coroutine[Any, Any, object]) -> AsyncIterator[None]:
    """Do this until the context ends; that it failed is told then."""
    doing = asyncio.create_task(idle)
    try:
        yield
    finally:
        doing.cancel()
        with suppress(asyncio.CancelledError):
            await doing


async def _line_while(idle: Coroutine[Any, Any, object]) -> str:
    """The next line of standard input; this is done meanwhile."""
    async with _beside(idle):
        return await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
