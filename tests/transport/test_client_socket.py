"""The gateway's WebSocket on real connections: everything but plain frames is the library's, and looks like it."""

import asyncio
import os
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConcurrencyError, ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.utils import accept_key

from rmb_peer.transport.client_socket import UNREAD_BYTES_MAX, ClientSocket, dial
from tests.support.certificates import authority_pem, issue

WAIT_S = 60.0
MAX = 100_000

Handler = Callable[[ServerConnection], Awaitable[None]]


async def echo(connection: ServerConnection) -> None:
    with suppress(ConnectionClosed):
        async for message in connection:
            await connection.send(message)


@asynccontextmanager
async def server(handler: Handler = echo, **options: Any) -> AsyncIterator[str]:
    options = {"compression": None, "ping_interval": None, "max_size": 2**26, **options}
    async with serve(handler, "127.0.0.1", 0, **options) as running:
        yield f"ws://127.0.0.1:{next(iter(running.sockets)).getsockname()[1]}"


@asynccontextmanager
async def dialled(dialling: connect) -> AsyncIterator[ClientSocket]:
    async with asyncio.timeout(WAIT_S), dialling as socket:
        yield cast(ClientSocket, socket)


@asynccontextmanager
async def raw_server(answer: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[str]:
    """Answers the handshake, and then as told."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        key = re.search(rb"(?i)sec-websocket-key: *(\S+)", await reader.readuntil(b"\r\n\r\n"))
        assert key is not None
        begin = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        writer.write(f"{begin}Sec-WebSocket-Accept: {accept_key(key[1].decode())}\r\n\r\n".encode())
        with suppress(ConnectionError):
            await answer(writer)
            await reader.read()
        writer.close()

    running = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with running:
        yield f"ws://127.0.0.1:{running.sockets[0].getsockname()[1]}"


def saying(data: bytes) -> Callable[[asyncio.StreamWriter], Awaitable[None]]:
    """Writes this, and no more, in one piece with the answer to the handshake."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    return answer


async def ended(socket: ClientSocket) -> ConnectionClosed:
    """How the connection ended."""
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            await socket.recv()
    return closed.value


@pytest.mark.parametrize("size_bytes", [0, 1, 125, 126, 65_535, 65_536, MAX])
async def test_messages_of_every_size_come_back(size_bytes: int) -> None:
    """Up to the limit, in order, gathered or not."""
    message = os.urandom(size_bytes)
    async with server() as url, dialled(dial(url, (), MAX)) as socket:
        for more in (True, True, False):
            await socket.send(message, more=more)
        assert [await socket.recv() for _ in range(3)] == [message] * 3


async def test_fragments_and_texts_come_in_order_with_the_rest() -> None:
    """Whoever reads them, the order is that of the line; the first of them come with the handshake."""

    async def talk(connection: ServerConnection) -> None:
        await connection.send(b"1")
        await connection.send([b"2", b"", b"two"])
        await connection.send("drei")
        await connection.send(b"4")
        await connection.wait_closed()

    async with server(talk) as url, dialled(dial(url, (), MAX)) as socket:
        assert [await socket.recv() for _ in range(4)] == [b"1", b"2two", "drei", b"4"]
    frames = [Frame(Opcode.BINARY, b"a", fin=False), Frame(Opcode.PING, b""), Frame(Opcode.CONT, b"b")]
    data = b"".join(frame.serialize(mask=False) for frame in frames) + Frame(Opcode.BINARY, b"c").serialize(mask=False)
    async with raw_server(saying(data)) as url, dialled(dial(url, (), MAX)) as socket:
        assert [await socket.recv(), await socket.recv()] == [b"ab", b"c"]


async def test_a_larger_message_is_refused() -> None:
    """1009, and the reason of the library, as ever; in one frame or in fragments."""
    for message in (bytes(MAX + 1), [bytes(MAX), b"x"]):
        codes: list[int | None] = []

        async def talk(connection: ServerConnection, message: Any = message, codes: Any = codes) -> None:
            with suppress(ConnectionClosed):
                await connection.send(message)
            await connection.wait_closed()
            codes.append(connection.close_code)

        async with server(talk) as url, dialled(dial(url, (), MAX)) as socket:
            error = await ended(socket)
            assert error.sent is not None and error.sent.code == 1009
        assert codes == [1009]


async def test_an_announced_gibibyte_is_refused_at_its_header() -> None:
    """Nothing of it has to come, and nothing is kept."""
    async with raw_server(saying(b"\x82\x7f" + (2**30).to_bytes(8))) as url, dialled(dial(url, (), MAX)) as socket:
        error = await ended(socket)
        assert error.sent is not None and error.sent.code == 1009


async def test_close_code_and_reason_are_seen() -> None:
    """By whoever reads, writes or pings; what came before the Close is still read."""

    async def talk(connection: ServerConnection) -> None:
        await connection.send(b"last")
        await connection.close(4001, "another one")

    async with server(talk) as url, dialled(dial(url, (), MAX)) as socket:
        assert await socket.recv() == b"last"
        for doing in (socket.recv, lambda: socket.send(b"x"), lambda: socket.ping(b"p"), lambda: socket.pong(b"p")):
            with pytest.raises(ConnectionClosed) as closed:
                await doing()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "another one")


async def test_a_cut_connection_ends_everything_that_waits() -> None:
    """Without a Close; a ping on its way hears of it, too."""

    async def cut(writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x82\x05ab")  # in the middle of a message
        await writer.drain()
        cuts.append(writer)

    cuts: list[asyncio.StreamWriter] = []
    async with raw_server(cut) as url, dialled(dial(url, (), MAX)) as socket:
        reading = asyncio.create_task(socket.recv())
        pong = await socket.ping(b"p")
        while not cuts:
            await asyncio.sleep(0)
        cuts[0].transport.abort()
        with pytest.raises(ConnectionClosed) as closed:
            await reading
        assert closed.value.rcvd is None
        assert pong.done()


async def test_pings_are_reported_with_what_came_before_them() -> None:
    """Without a subprotocol the answer is the speaker's."""
    said = [Frame(Opcode.BINARY, b"1"), Frame(Opcode.PING, b"a"), Frame(Opcode.BINARY, b"2"), Frame(Opcode.PING, b"b")]
    release = asyncio.Event()
    heard: list[tuple[int, bytes]] = []

    async def talk(writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.write(b"".join(frame.serialize(mask=False) for frame in said))

    async with raw_server(talk) as url, dialled(dial(url, (), MAX)) as socket:
        socket.on_ping = lambda before, payload: heard.append((before, payload))
        release.set()
        assert [await socket.recv(), await socket.recv()] == [b"1", b"2"]
        assert heard == [(1, b"a"), (2, b"b")]


@pytest.mark.parametrize("subprotocol", [None, "rmb.2"])
async def test_who_answers_pings(subprotocol: Any) -> None:
    """In rmb.1 nobody but the speaker; else they are answered when they are read."""
    pongs: list[bool] = []

    async def talk(connection: ServerConnection) -> None:
        assert await connection.recv() == b"ready"
        pong = cast("asyncio.Future[float]", await connection.ping(b"p"))
        assert await connection.recv() == b"heard"
        pongs.append(pong.done())
        await connection.send(b"done")
        await connection.wait_closed()

    offered = [subprotocol] if subprotocol else []
    async with server(talk, subprotocols=offered or None) as url, dialled(dial(url, offered, MAX)) as socket:
        heard = asyncio.Event()
        socket.on_ping = lambda before, payload: heard.set()
        await socket.send(b"ready")
        await heard.wait()
        await socket.send(b"heard")
        assert await socket.recv() == b"done"
    assert pongs == [subprotocol is not None]


async def test_a_server_that_does_not_read_makes_send_wait() -> None:
    """Memory is bounded: our side holds what a transport holds, and the rest is not taken."""
    go_on = asyncio.Event()

    async def talk(connection: ServerConnection) -> None:
        connection.transport.pause_reading()
        await go_on.wait()
        connection.transport.resume_reading()
        async for _ in connection:
            pass

    message, sent = bytes(MAX), 0
    async with server(talk) as url, dialled(dial(url, (), MAX)) as socket:

        async def send() -> None:
            nonlocal sent
            for _ in range(1000):
                await socket.send(message, more=True)
                sent += 1
            socket.flush()

        sending = asyncio.create_task(send())
        while not socket.paused:
            await asyncio.sleep(0.001)
        assert sent < 1000
        assert socket.transport.get_write_buffer_size() < 10 * MAX
        go_on.set()
        await sending
        assert sent == 1000


async def test_messages_that_nobody_reads_hold_the_server_up() -> None:
    """The line is not read beyond a bound; later everything comes."""
    message, count = bytes(1000), 60_000

    async def talk(connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            for _ in range(count):
                await connection.send(message)
            await connection.wait_closed()

    async with server(talk) as url, dialled(dial(url, (), MAX)) as socket:
        while socket.transport.is_reading():
            await asyncio.sleep(0.001)
        assert socket._unread_bytes < UNREAD_BYTES_MAX + 2**20
        for _ in range(count):
            assert len(await socket.recv()) == 1000


async def test_a_close_gets_through_to_one_who_does_not_read() -> None:
    """Closing throws unread messages away; the server's answer is read behind them."""

    async def talk(connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            while True:
                await connection.send(bytes(10_000))

    async with server(talk) as url, dialled(dial(url, (), MAX)) as socket:
        while socket.transport.is_reading():
            await asyncio.sleep(0.001)
        await socket.close(1000, "enough")
        assert socket.protocol.close_sent is not None


async def test_a_cancelled_reader_loses_nothing() -> None:
    """The next one gets the message; two at once are an error."""
    async with server() as url, dialled(dial(url, (), MAX)) as socket:
        reading = asyncio.create_task(socket.recv())
        await asyncio.sleep(0)
        with pytest.raises(ConcurrencyError):
            await socket.recv()
        reading.cancel()
        await asyncio.wait([reading])
        await socket.send(b"x")
        assert await socket.recv() == b"x"


async def test_a_text_that_is_none_ends_the_connection() -> None:
    """1007, RFC 6455, 8.1."""
    async with raw_server(saying(b"\x81\x01\xff")) as url, dialled(dial(url, (), MAX)) as socket:
        error = await ended(socket)
        assert error.sent is not None and error.sent.code == 1007


@pytest.mark.parametrize("trusted", [True, False])
async def test_tls_with_a_checked_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool) -> None:
    """A message goes through; without trust in the authority there is no connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*issue(7).write(tmp_path))
    if trusted:
        (tmp_path / "authority.pem").write_bytes(authority_pem())
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    async with server(ssl=context) as url:
        dialling = dialled(dial(url.replace("ws://127.0.0.1", "wss://localhost"), (), MAX))
        if not trusted:
            with pytest.raises(ssl.SSLCertVerificationError):
                await dialling.__aenter__()
            return
        async with dialling as socket:
            for _ in range(3):
                await socket.send(bytes(MAX), more=True)
            socket.flush()
            assert [len(await socket.recv()) for _ in range(3)] == [MAX] * 3


async def test_a_refusal_is_told_with_status_and_body() -> None:
    """However the bytes of the answer are cut."""
    answer = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy"

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for at in range(len(answer)):
            writer.write(answer[at : at + 1])
            await writer.drain()
        writer.close()

    running = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with running:
        with pytest.raises(InvalidStatus) as refused:
            await dial(f"ws://127.0.0.1:{running.sockets[0].getsockname()[1]}", (), MAX)
    assert refused.value.response.status_code == 429
    assert refused.value.response.body == b"busy"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(noise=st.binary(max_size=60))
async def test_noise_ends_the_connection_in_order(noise: bytes) -> None:
    """Whatever a server says: messages, or the end, and never anything else."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(noise)
        writer.write_eof()

    async with raw_server(answer) as url, dialled(dial(url, (), MAX)) as socket:
        assert isinstance(await ended(socket), ConnectionClosed)
