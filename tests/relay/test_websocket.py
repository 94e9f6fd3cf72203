"""The WebSocket of one client, with a real client at the other end: sizes, fragments, limits, slow readers, noise."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from relay.websocket import BROKEN, LOST, UNREAD_BYTES_MAX, ClientSocket, Heard
from rmb_peer.transport.websocket.judge import CLOSE, TEXT
from rmb_peer.transport.websocket.splitter import BINARY, PING, PONG
from tests.support.relay import upgrade_request

WAIT_S = 60.0
MAX = 100_000

Handler = Callable[[ClientSocket], Awaitable[None]]


async def echo(socket: ClientSocket) -> None:
    with suppress(ConnectionError):
        while (heard := await socket.receive())[0] == BINARY:
            await socket.send(heard[1], more=socket.unread > 0)


@asynccontextmanager
async def relay_side(handler: Handler = echo) -> AsyncIterator[str]:
    """A server whose every connection is a `ClientSocket` given to the handler."""

    async def handle(request: web.Request) -> web.StreamResponse:
        socket = await ClientSocket.accept(request, MAX)
        try:
            await handler(socket)
        finally:
            socket.abort()
        return web.Response()

    app = web.Application()
    app.router.add_get("/", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with asyncio.timeout(WAIT_S):
            yield f"ws://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


def client(url: str, **options: Any) -> connect:
    return connect(url, compression=None, ping_interval=None, max_size=2**26, **options)


async def closed(connection: ClientConnection) -> tuple[int | None, str | None]:
    """Code and reason of the relay's Close."""
    with suppress(ConnectionClosed):
        while True:
            await connection.recv()
    await connection.wait_closed()
    return connection.close_code, connection.close_reason


@pytest.mark.parametrize("size_bytes", [0, 1, 125, 126, 65_535, 65_536, MAX])
async def test_messages_of_every_size_come_back(size_bytes: int) -> None:
    """Up to the limit, in order; whole or in fragments."""
    message = os.urandom(size_bytes)
    async with relay_side() as url, client(url) as connection:
        await connection.send(message)
        await connection.send([message[: size_bytes // 2], b"", message[size_bytes // 2 :]])
        await connection.send(message)
        assert [await connection.recv() for _ in range(3)] == [message] * 3


async def test_every_kind_of_frame_is_heard_in_order() -> None:
    """Pings and pongs are handed out, texts are told apart, and the Close comes last."""
    heard: list[Heard] = []
    over = asyncio.Event()

    async def listen(socket: ClientSocket) -> None:
        while not heard or heard[-1][0] not in (CLOSE, LOST):
            heard.append(await socket.receive())
        await socket.answer_close()
        over.set()

    async with relay_side(listen) as url, client(url) as connection:
        await connection.ping(b"ping")
        await connection.send("text")
        await connection.pong(b"pong")
        await connection.send(b"binary")
        await connection.close(1000, "bye")
        await over.wait()
        assert connection.close_code == 1000
    close = (CLOSE, (1000).to_bytes(2) + b"bye")
    assert heard == [(PING, b"ping"), (TEXT, b"text"), (PONG, b"pong"), (BINARY, b"binary"), close]


@pytest.mark.parametrize("message", [bytes(MAX + 1), [bytes(MAX), b"x"]], ids=["whole", "in fragments"])
async def test_a_larger_message_is_refused_with_the_limit(message: Any) -> None:
    """1009, and a reason that says what is accepted."""
    heard: list[Heard] = []

    async def listen(socket: ClientSocket) -> None:
        heard.append(await socket.receive())

    async with relay_side(listen) as url, client(url) as connection:
        await connection.send(message)
        assert await closed(connection) == (1009, f"message is too large: at most {MAX} bytes are accepted")
    assert [first for first, _ in heard] == [BROKEN]


async def raw(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection behind its handshake."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1].strip("/")))
    writer.write(upgrade_request("/"))
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    return reader, writer


async def test_an_announced_gibibyte_is_refused_at_its_header() -> None:
    """Nothing of it has to come."""

    async def listen(socket: ClientSocket) -> None:
        assert (await socket.receive())[0] == BROKEN

    async with relay_side(listen) as url:
        reader, writer = await raw(url)
        writer.write(b"\x82\xff" + (2**30).to_bytes(8) + bytes(4))
        answer = await reader.read()
        assert answer[0] == 0x88 and int.from_bytes(answer[2:4]) == 1009
        writer.close()


async def test_a_client_that_does_not_read_makes_send_wait() -> None:
    """And it goes on when the client does; nothing is lost."""
    sent = 0
    blocked = asyncio.Event()

    async def talk(socket: ClientSocket) -> None:
        nonlocal sent
        while sent < 500:
            sending = asyncio.ensure_future(socket.send(sent.to_bytes(4) + bytes(MAX), more=True))
            await asyncio.sleep(0)
            if not sending.done():
                blocked.set()
            await sending
            sent += 1
        socket.flush()
        await socket.receive()

    async with relay_side(talk) as url, client(url) as connection:
        connection.transport.pause_reading()
        await blocked.wait()
        assert sent < 500
        connection.transport.resume_reading()
        for number in range(500):
            message = await connection.recv()
            assert isinstance(message, bytes) and message[:4] == number.to_bytes(4)


async def test_frames_that_nobody_reads_hold_the_client_up() -> None:
    """A bounded number of bytes waits; later everything comes."""
    go_on, held = asyncio.Event(), asyncio.Event()
    count = 20_000

    async def talk(socket: ClientSocket) -> None:
        while socket._transport.is_reading():
            await asyncio.sleep(0.001)
        assert socket._unread_bytes < UNREAD_BYTES_MAX + 2**20
        held.set()
        await go_on.wait()
        for _ in range(count):
            assert await socket.receive() == (BINARY, bytes(1000))
        await socket.send(b"all")
        await socket.receive()

    async with relay_side(talk) as url, client(url) as connection:

        async def send() -> None:
            for _ in range(count):
                await connection.send(bytes(1000))

        sending = asyncio.create_task(send())
        await held.wait()
        go_on.set()
        await sending
        assert await connection.recv() == b"all"


async def test_a_cut_connection_is_heard_of() -> None:
    """After what came before; whoever writes then gets an error."""
    heard: list[Heard] = []
    told = asyncio.Event()

    async def listen(socket: ClientSocket) -> None:
        while not heard or heard[-1][0] != LOST:
            heard.append(await socket.receive())
        with pytest.raises(ConnectionError):
            await socket.send(b"x")
        told.set()

    async with relay_side(listen) as url, client(url) as connection:
        await connection.send(b"last")
        while not heard:
            await asyncio.sleep(0)
        connection.transport.abort()
        await told.wait()
    assert heard == [(BINARY, b"last"), (LOST, b"")]


async def test_what_came_before_our_close_is_still_heard() -> None:
    """The client learns code and reason; what it had sent is handed out."""
    late: list[Heard] = []

    async def on_frame(heard: Heard) -> None:
        late.append(heard)

    async def talk(socket: ClientSocket) -> None:
        while not socket.unread:
            await asyncio.sleep(0)
        await socket.close(4001, "another one", on_frame)

    async with relay_side(talk) as url, client(url) as connection:
        await connection.send(b"late")
        assert await closed(connection) == (4001, "another one")
    assert late == [(BINARY, b"late")]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(noise=st.binary(max_size=60))
async def test_noise_ends_the_connection_in_order(noise: bytes) -> None:
    """Whatever a client says is heard as frames, or ends the connection."""
    heard: list[Heard] = []
    over = asyncio.Event()

    async def listen(socket: ClientSocket) -> None:
        while not heard or heard[-1][0] not in (CLOSE, LOST, BROKEN):
            heard.append(await socket.receive())
        over.set()

    async with relay_side(listen) as url:
        _, writer = await raw(url)
        writer.write(noise)
        writer.close()
        await over.wait()
