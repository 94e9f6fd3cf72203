"""Connections that say nothing, too little, too slowly, or are too many; with TLS and without, on both event loops."""

import asyncio
import inspect
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop

from relay.certificates import Certificates
from relay.client_address import LOOPBACK
from relay.entrance import REFUSING_MAX, Door, Entrance
from relay.limit_settings import LimitSettings
from relay.metrics import Metrics
from relay.occupancy import Occupancy
from tests.support.certificates import authority_pem, issue
from tests.support.relay import PATIENCE_S, Directory, relay, until, upgrade_request

COUNTED: dict[str, Any] = {"uncounted": ()}
"""Loopback is counted like any other address."""


def on_both_loops(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on asyncio's own event loop and on uvloop: transports and their TLS are not the same there."""

    def run(new_loop: Callable[[], asyncio.AbstractEventLoop], **fixtures: Any) -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(test(**fixtures))

    signature = inspect.signature(test)
    new_loop = inspect.Parameter("new_loop", inspect.Parameter.KEYWORD_ONLY)
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), new_loop])  # type: ignore[attr-defined]
    run.__doc__ = test.__doc__
    loops = [asyncio.new_event_loop, uvloop.new_event_loop]
    pytest.mark.parametrize("new_loop", loops, ids=["asyncio", "uvloop"])(run)
    return run


class Server(asyncio.Protocol):
    """In the place of the HTTP server: answers everything, remembers what it heard."""

    def __init__(self, heard: list[bytes]) -> None:
        self._heard = heard
        self.transport: asyncio.Transport

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._heard.append(data)
        door = self.transport.get_protocol()
        assert isinstance(door, Door)
        door.request_began()
        self.transport.write(b"HTTP/1.1 200 OK\r\n\r\n" + data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._heard.append(b"lost")


class Bed:
    """An entrance and those who come to it."""

    def __init__(self, entrance: Entrance, port: int, heard: list[bytes], tls: ssl.SSLContext | None) -> None:
        self.entrance = entrance
        self.port = port
        self.heard = heard
        self.tls = tls
        self.writers: list[asyncio.StreamWriter] = []

    @property
    def refusals(self) -> dict[str, int]:
        return dict(self.entrance.metrics.refusals)

    async def dial(self, tls: bool = True) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.tls if tls else None)
        self.writers.append(writer)  # one that is forgotten would close its connection
        return reader, writer


@asynccontextmanager
async def entrance(tls: Path | None = None, **limits: Any) -> AsyncIterator[Bed]:
    heard: list[bytes] = []
    settings = LimitSettings(**{**COUNTED, **limits})
    certificates = Certificates(*issue(10).write(tls)) if tls else None
    context = ssl.create_default_context(cadata=authority_pem().decode()) if tls else None
    occupancy: Occupancy[str] = Occupancy(settings.connections_per_address)
    door = Entrance(lambda: Server(heard), settings, Metrics(), occupancy=occupancy, certificates=certificates)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        await door.open(listener)
        bed = Bed(door, port, heard, context)
        try:
            yield bed
        finally:
            await door.close()
            for writer in bed.writers:
                writer.transport.abort()
                with suppress(OSError):
                    await writer.wait_closed()
            await until(lambda: door.doors == 0)


async def rest(reader: asyncio.StreamReader) -> bytes:
    """Everything until the connection ends, however it does."""
    data = b""
    async with asyncio.timeout(PATIENCE_S):
        try:
            while chunk := await reader.read(65536):
                data += chunk
        except (ConnectionError, ssl.SSLError):
            pass
    return data


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def tls(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path if request.param else None


@on_both_loops
async def test_whoever_asks_is_served(tls: Path | None) -> None:
    """What comes in reaches the server, and what it says goes out; also when it comes with the handshake."""
    async with entrance(tls) as bed:
        for n in range(10):
            reader, writer = await bed.dial()
            writer.write(b"hello <%d>" % n)
            assert b"hello <%d>" % n in await reader.readuntil(b">")
            writer.close()
        await until(lambda: bed.heard.count(b"lost") == 10)
        assert not bed.entrance.silent
        assert len(bed.entrance.occupancy) == 0
        assert not bed.refusals


@on_both_loops
async def test_whoever_says_nothing_is_told_and_cut(tls: Path | None) -> None:
    """408 with a text, after the time for it."""
    async with entrance(tls, handshake_s=0.3) as bed:
        reader, _ = await bed.dial()
        answer = await rest(reader)
        assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert answer.endswith(b"\r\n\r\nno request arrived within 0.3 s")
        assert bed.refusals == {"slow_request": 1}


@on_both_loops
async def test_a_handshake_that_does_not_come(tmp_path: Path) -> None:
    """Whoever should speak TLS and says nothing, or something else, is cut; nothing of it stays."""
    async with entrance(tmp_path, handshake_s=0.3) as bed:
        silent, _ = await bed.dial(tls=False)
        rude, writer = await bed.dial(tls=False)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert not (await rest(rude)).startswith(b"HTTP/1.1 200")
        await rest(silent)
        await until(lambda: bed.refusals == {"tls_handshake": 2})
        await until(lambda: not bed.entrance.silent)
        assert len(bed.entrance.occupancy) == 0
        assert not bed.heard


@on_both_loops
async def test_connections_of_an_address(tls: Path | None) -> None:
    """As many as may be are served, one more is told 429 and when to come back; when one leaves there is room."""
    async with entrance(tls, connections_per_address=2) as bed:
        friends = [await bed.dial() for _ in range(2)]
        reader, writer = await bed.dial()
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(PATIENCE_S):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            assert head.startswith("HTTP/1.1 429 Too Many Requests\r\n")
            assert "\r\nRetry-After: 60\r\n" in head
            assert "\r\nRMB-Refusal: connections_per_address\r\n" in head
            text = (await reader.readexactly(int(head.lower().split("content-length: ")[1].split()[0]))).decode()
        assert text == (
            "127.0.0.1 has 2 connections open, the most that this relay allows from one address: close some, or try "
            "again in 60 s"
        )
        writer.close()
        friends[0][1].close()
        await until(lambda: b"lost" in bed.heard and bed.entrance.refusing == 0)
        reader, writer = await bed.dial()
        writer.write(b"hello")
        assert await reader.readuntil(b"hello")
        assert bed.refusals == {"connections_per_address": 1}


@on_both_loops
async def test_uncounted_and_trusted_addresses() -> None:
    """Neither those that the operator excepts nor proxies are counted."""
    either: list[dict[str, Any]] = [{"uncounted": LOOPBACK}, {"trusted_proxies": LOOPBACK}]
    for limits in either:
        async with entrance(connections_per_address=1, **limits) as bed:
            for _ in range(3):
                reader, writer = await bed.dial()
                writer.write(b"hello")
                assert await reader.readuntil(b"hello")
            assert not bed.refusals


@on_both_loops
async def test_refusals_are_bounded() -> None:
    """So many are told; those beyond are cut, and it costs nothing but a counter."""
    async with entrance(connections_per_address=1) as bed:
        await bed.dial()
        crowd = [await bed.dial() for _ in range(REFUSING_MAX)]
        await until(lambda: bed.refusals == {"connections_per_address": REFUSING_MAX})
        assert bed.entrance.refusing == REFUSING_MAX
        reader, writer = await bed.dial()
        assert await rest(reader) == b""
        for _, writer in crowd:
            writer.close()
        await until(lambda: bed.entrance.refusing == 0)


@on_both_loops
async def test_the_oldest_silent_connection_makes_room(tls: Path | None) -> None:
    """However many say nothing, a newcomer gets its turn; whoever has asked something stays."""
    async with entrance(tls, silent_max=2) as bed:
        busy, writer = await bed.dial()
        writer.write(b"hello")
        assert await busy.readuntil(b"hello")
        first, _ = await bed.dial()
        await until(lambda: len(bed.entrance.silent) == 1)
        for _ in range(2):
            reader, writer2 = await bed.dial()
            await until(lambda: len(bed.entrance.silent) == 2)
        answer = await rest(first)
        assert answer.startswith(b"HTTP/1.1 503 ") and b"\r\nRetry-After: 1\r\n" in answer
        writer2.write(b"newcomer")
        assert await reader.readuntil(b"newcomer")
        writer.write(b" again")
        assert await busy.readuntil(b"again")
        assert bed.refusals == {"silent_connections": 1}


# --- the same before a whole relay ------------------------------------------------------------------------------------


async def dripping(address: str, drops: Callable[[int], bytes]) -> bytes:
    """Send a request byte by byte until the other side has had enough; what it said."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    answer = asyncio.create_task(rest(reader))
    n = 0
    while not answer.done():
        try:
            writer.write(drops(n))
            await writer.drain()
        except ConnectionError:
            break
        n += 1
        await asyncio.sleep(0.01)  # the attack itself: a byte now and then
    writer.close()
    return await answer


async def test_a_head_that_drips(tmp_path: Path) -> None:
    """Bytes that keep coming are no excuse (slowloris); on a connection that was used before neither."""
    head = upgrade_request("/?token")
    async with relay(tmp_path, Directory(), limits=LimitSettings(handshake_s=0.3)) as bed:
        answer = await dripping(bed.app.address, lambda n: head[n : n + 1] or b"x")
        assert answer.startswith(b"HTTP/1.1 408 ") or answer == b""  # it may be lost when a byte crosses our Close
        assert bed.app.metrics.refusals["slow_request"] == 1
        first = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        answer = await dripping(bed.app.address, lambda n: first if n == 0 else head[n - 1 : n] or b"x")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert bed.app.metrics.refusals["slow_request"] == 2


async def test_an_answer_that_is_not_taken(tmp_path: Path) -> None:
    """Whoever asks for much and reads nothing is cut, and its answer with it."""
    async with relay(tmp_path, Directory(), limits=LimitSettings(body_s=0.3)) as bed:
        host, _, port = bed.app.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        metrics = bed.app.metrics.refusals
        ask = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 100

        async def keep_asking() -> None:
            try:
                while not metrics["slow_reader"]:
                    writer.write(ask)
                    await asyncio.sleep(0.01)  # the attack itself
            except ConnectionError:
                pass

        async with asyncio.timeout(PATIENCE_S):
            await keep_asking()
        await rest(reader)
        writer.close()


async def test_a_session_is_not_a_slow_request(tmp_path: Path) -> None:
    """After the upgrade none of these clocks runs: a session may be silent for as long as it answers pings."""
    limits = LimitSettings(handshake_s=0.2, body_s=0.2, silent_max=1)
    async with relay(tmp_path, Directory(7, 9), limits=limits) as bed, bed.client(7) as client:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.recv(), 0.6)  # three times the limit
        assert not bed.app.metrics.refusals
        await (await client.ping())
        assert bed.app.metrics.sessions() == 1


async def test_keep_alive_connections_count_as_silent(tmp_path: Path) -> None:
    """Between two requests, without a text when they have to go."""
    async with relay(tmp_path, Directory(), limits=LimitSettings(silent_max=1)) as bed:
        host, _, port = bed.app.address.rpartition(":")
        first, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        body = b'{"status":"ok"}'
        async with asyncio.timeout(PATIENCE_S):
            assert (await first.readuntil(body)).startswith(b"HTTP/1.1 200 ")
        _, newer = await asyncio.open_connection(host, int(port))
        assert await rest(first) == b""
        assert bed.app.metrics.refusals["silent_connections"] == 1
        writer.close()
        newer.close()
