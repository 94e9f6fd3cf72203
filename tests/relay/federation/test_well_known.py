"""Asking other relays for their keys: real web servers that answer well, badly, endlessly and not at all."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import web

from relay.federation.peers import KeyUnknown
from relay.federation.places import Places
from relay.federation.post_speaker import open_session
from relay.federation.well_known import ANSWER_BYTES_MAX, WellKnown

pytestmark = pytest.mark.asyncio(loop_scope="module")
KEY = bytes(range(32))
CARD = {"relay_key": KEY.hex(), "protocols": []}


class Remote:
    """A web server that answers what it is told to.

    Attributes:
        name: host and port.
        answer: makes the next answers.
        asked: paths.
    """

    def __init__(self) -> None:
        self.name = ""
        self.answer: web.Response | None = None
        self.endless = False
        self.asked: list[str] = []

    def says(self, body: str | bytes, status: int = 200, **headers: str) -> None:
        self.answer = web.Response(
            status=status, body=body if isinstance(body, bytes) else body.encode(), headers=headers
        )

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        if self.endless:
            response = web.StreamResponse()
            await response.prepare(request)
            while True:
                await response.write(b" " * 4096)
        if self.answer is None:
            await asyncio.Event().wait()
        assert self.answer is not None
        return self.answer


@pytest_asyncio.fixture(loop_scope="module")
async def remote() -> AsyncIterator[Remote]:
    remote = Remote()
    app = web.Application()
    app.router.add_get("/{path:.*}", remote.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    remote.name = f"localhost:{runner.addresses[0][1]}"
    yield remote
    await runner.cleanup()


@pytest_asyncio.fixture(loop_scope="module")
async def source() -> AsyncIterator[WellKnown]:
    places = Places(frozenset({"localhost:1"}), deny=["evil.test"])
    async with open_session(places, 5.0) as session:
        yield WellKnown(session, places)


async def failure(source: WellKnown, name: str) -> tuple[str, bool]:
    with pytest.raises(KeyUnknown) as info:
        await source.key(name)
    return str(info.value), info.value.final


async def test_the_key(source: WellKnown, remote: Remote) -> None:
    """It is in the file where clients look, too."""
    remote.says(json.dumps(CARD))
    assert await source.key(remote.name) == KEY
    assert remote.asked == ["/.well-known/rmb"]


@pytest.mark.parametrize(
    "body",
    ["", "[]", "null", "no json", "{}", b"\xff\xfe", '{"relay_key": null}', '{"relay_key": 7}', '{"relay_key": "00"}',
     json.dumps({"relay_key": KEY.hex().upper()}), json.dumps({"relay_key": KEY.hex() + "\n"}), "[" * 60_000],
)  # fmt: skip
async def test_files_without_a_key(source: WellKnown, remote: Remote, body: str | bytes) -> None:
    """That is the relay's own word: final."""
    remote.says(body)
    assert await failure(source, remote.name) == (f"the /.well-known/rmb of {remote.name} has no relay_key", True)


@pytest.mark.parametrize("status", [404, 410])
async def test_no_file(source: WellKnown, remote: Remote, status: int) -> None:
    """A relay of another make, or no relay: final."""
    remote.says("page not found", status)
    assert await failure(source, remote.name) == (f"{remote.name} publishes no /.well-known/rmb", True)


@pytest.mark.parametrize("status", [500, 502, 503, 403, 204])
async def test_other_answers(source: WellKnown, remote: Remote, status: int) -> None:
    """A web server without its relay: later."""
    remote.says(json.dumps(CARD) if status != 204 else "", status)
    text = f"{remote.name} answered {status} when it was asked for its /.well-known/rmb"
    assert await failure(source, remote.name) == (text, False)


async def test_redirects_are_not_followed(source: WellKnown, remote: Remote) -> None:
    """They could lead anywhere."""
    remote.says("", 302, Location="/elsewhere")
    assert (await failure(source, remote.name))[0].startswith(f"{remote.name} answered 302")
    assert remote.asked == ["/.well-known/rmb"]


async def test_the_size_is_limited(source: WellKnown, remote: Remote) -> None:
    """At the limit it is read; one byte more is not, and an endless file is broken off."""
    full = json.dumps(CARD).ljust(ANSWER_BYTES_MAX)
    remote.says(full)
    assert await source.key(remote.name) == KEY
    text = f"the /.well-known/rmb of {remote.name} is longer than {ANSWER_BYTES_MAX} bytes"
    remote.says(full + " ")
    assert await failure(source, remote.name) == (text, True)
    remote.endless = True
    assert await failure(source, remote.name) == (text, True)


async def test_a_packed_file_is_not_unpacked(source: WellKnown, remote: Remote) -> None:
    """A small answer must not become a large one."""
    remote.says(b"\x1f\x8b not really", 200, **{"Content-Encoding": "gzip"})
    assert await failure(source, remote.name) == (f"the /.well-known/rmb of {remote.name} has no relay_key", True)


async def test_the_time_is_limited(remote: Remote) -> None:
    """A relay that says nothing is left alone, for now."""
    places = Places(frozenset({"localhost:1"}))
    async with open_session(places, 5.0) as session:
        found = await failure(WellKnown(session, places, 0.05), remote.name)
    assert found == (f"{remote.name} did not answer within 0.05 s", False)


async def test_nobody_listens(source: WellKnown) -> None:
    """Later; the text does not say what the network did."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        name = f"localhost:{server.getsockname()[1]}"
    assert await failure(source, name) == (f"{name} cannot be asked for its key: no connection", False)


async def test_what_is_no_web_server(source: WellKnown) -> None:
    """Garbage is no crash."""

    async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\xffSSH-2.0\r\n\r\n" * 10)
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(garbage, "127.0.0.1", 0)
    async with server:
        name = f"localhost:{server.sockets[0].getsockname()[1]}"
        text = f"{name} cannot be asked for its key: it does not answer like a web server"
        assert await failure(source, name) == (text, False)


@pytest.mark.parametrize("name", ["10.0.0.1", "169.254.169.254", "[::ffff:0:0]", "192.168.1.1:8080", "evil.test"])
async def test_places_that_are_not_asked(source: WellKnown, name: str) -> None:
    """Private addresses and denied relays, whoever names them: the rules are those of posting."""
    text, final = await failure(source, name)
    assert final
    assert "not public" in text or "does not speak to" in text


async def test_loopback_is_not_asked_by_a_public_relay(remote: Remote) -> None:
    """Otherwise strangers could make it talk to what listens on its own machine."""
    remote.says(json.dumps(CARD))
    places = Places(frozenset({"relay.example.org"}))
    async with open_session(places, 5.0) as session:
        assert (await failure(WellKnown(session, places), remote.name))[1]
    assert remote.asked == []
