"""What other relays post to us, of those that sign nothing: this relay is open to them (spec rmb 6.8, 10.1, 10.5)."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from relay.federation.inbound_settings import InboundSettings
from relay.limit_settings import LimitSettings
from rmb_peer.protocol.envelope import Envelope, parse_envelope, relay_error
from tests.support.relay import (
    Directory,
    TestBed,
    empty,
    raw_http,
    receive,
    relay,
    request,
    response,
    until,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_bed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TestBed]:
    folder, inbound = tmp_path_factory.mktemp("inbound"), InboundSettings(open_to_all=True)
    async with relay(folder, Directory(), message_bytes_max=100_000, inbound=inbound) as bed:
        yield bed


@pytest_asyncio.fixture(loop_scope="module")
async def bed(shared_bed: TestBed) -> TestBed:
    """The shared relay, with twin 9 and empty mailboxes."""
    await until(lambda: shared_bed.app.metrics.sessions() == 0)
    shared_bed.directory.reset(9)
    await empty(shared_bed.store)
    return shared_bed


async def post(bed: TestBed, body: bytes | Envelope) -> tuple[int, str]:
    data = body if isinstance(body, bytes) else body.SerializeToString()
    async with aiohttp.ClientSession() as session, session.post(f"{bed.http}/", data=data) as answer:
        text = await answer.text()
        assert "Content-Type" not in answer.headers
        return answer.status, text


@pytest.mark.parametrize("data", [b"\xff", b"no envelope", b"\x0a\x05abc"])
async def test_what_is_no_envelope(bed: TestBed, data: bytes) -> None:
    """400 with the reason."""
    status, text = await post(bed, data)
    assert status == 400
    assert text.startswith("bad request: invalid message payload data: ")


async def test_accepted_and_stored(bed: TestBed) -> None:
    """202 without a body; the bytes wait in the mailbox as they came."""
    data = request(7, "9:js").SerializeToString() + b"\xa2\x06\x03odd"
    assert await post(bed, data) == (202, "")
    assert await bed.waiting("9:js") == [data]


async def test_accepted_and_delivered(bed: TestBed) -> None:
    """A connected session gets it at once; its twin is not looked up, and need not even list this relay."""
    async with bed.client(9) as client:
        bed.directory.reset()
        bed.directory.add(9, relays=("other.test",))
        asked = dict(bed.directory.asked)
        for envelope in (request(7, 9, "q"), response(7, 9, "r"), request(7, 9, "f", tags="fail-fast")):
            assert await post(bed, envelope) == (202, "")
            assert (await receive(client)).uid == envelope.uid
        assert bed.directory.asked == asked


async def test_c10_fail_fast_to_an_offline_session(bed: TestBed) -> None:
    """404 with the text; nothing is stored. Another session of the twin does not count."""
    async with bed.client(9, "other"):
        assert await post(bed, request(7, 9, tags="a,fail-fast b")) == (404, "destination offline")
        assert await bed.keys() == set()
        assert await post(bed, request(7, 9, tags="fail-fastx")) == (202, "")


@pytest.mark.parametrize("destination", [0, "0:x", None])
async def test_without_destination(bed: TestBed, destination: int | str | None) -> None:
    """Stricter than others, who fill `stream:0` (10.5)."""
    envelope = request(7, destination or 0)
    if destination is None:
        envelope.ClearField("destination")
    assert await post(bed, envelope) == (400, "bad request: message with missing destination")
    assert await bed.keys() == set()


async def test_a_destination_of_other_relays(bed: TestBed) -> None:
    """Mail for a twin that does not use this relay is not kept here; the text says what it uses."""
    bed.directory.add(9, relays=("b.test", "a.test:1"))
    text = "bad request: destination twin 9 does not use this relay; its relays: a.test:1, b.test"
    assert await post(bed, request(7, 9)) == (400, text)
    bed.directory.add(9, relays=())
    text = "bad request: destination twin 9 does not use this relay; its relays: none"
    assert await post(bed, request(7, 9)) == (400, text)
    assert await bed.keys() == set()


async def test_a_destination_that_does_not_exist(bed: TestBed) -> None:
    """Nobody could ever fetch it, so strangers cannot fill the store with it (10.5)."""
    assert await post(bed, request(7, 4711)) == (400, "bad request: unknown twin destination")
    assert await bed.keys() == set()


async def test_the_registry_is_down(bed: TestBed) -> None:
    """It may well be ours: stored rather than lost."""
    bed.directory.failing[9] = "no answer"
    assert await post(bed, request(7, 9)) == (202, "")


async def test_an_endless_session_id(bed: TestBed) -> None:
    """Addresses become keys, so they are bounded."""
    status, text = await post(bed, request(7, "9:" + "s" * 5000))
    assert (status, text) == (400, "bad request: session id of the destination has more than 4096 characters")


async def test_expired(bed: TestBed) -> None:
    """Refused, not stored."""
    envelope = request(7, 9)
    envelope.timestamp -= 301
    assert await post(bed, envelope) == (400, "bad request: message has expired")
    assert await bed.keys() == set()


@pytest.mark.parametrize("kind", ["request", "response", "ping", "pong", None])
@pytest.mark.parametrize("flaw", ["no source", "source 0", "no signature", "empty signature", "short signature"])
async def test_c18_unsigned_posts_are_refused(bed: TestBed, kind: str | None, flaw: str) -> None:
    """Otherwise anybody on the Internet could call the services of gateways that accept them (10.1)."""
    envelope = request(0 if flaw == "source 0" else 7, 9)
    envelope.ClearField("request")
    if kind is not None:
        getattr(envelope, kind).SetInParent()
    if flaw == "no source":
        envelope.ClearField("source")
    elif flaw == "no signature":
        envelope.ClearField("signature")
    elif flaw == "empty signature":
        envelope.signature = b""
    elif flaw == "short signature":
        envelope.signature = bytes(64)
    text = "bad request: only errors may come without a source twin and its signature"
    assert await post(bed, envelope) == (400, text)
    assert await bed.keys() == set()


async def test_c18_errors_of_relays_are_accepted(bed: TestBed) -> None:
    """They have neither source nor signature."""
    from rmb_peer.protocol.address import Address

    error = relay_error("u-1", "destination offline", int(time.time()), Address(9))
    assert await post(bed, error) == (202, "")
    assert [parse_envelope(data) for data in await bed.waiting("9")] == [error]


async def test_the_store_fails(bed: TestBed) -> None:
    """500 with the store's words, so that the sending relay tries again."""
    await bed.store.set("stream:9", "in the way")
    status, text = await post(bed, request(7, 9))
    assert status == 500
    assert text.startswith("switch error: redis error: WRONGTYPE")


async def test_the_size_of_a_body_is_limited(bed: TestBed) -> None:
    """At the limit it is accepted; one byte more is refused, whether its length is announced or not."""
    size = 100_000 - len(request(7, 9, payload=b"x" * 65_536).SerializeToString()) + 65_536
    data = request(7, 9, payload=bytes(size)).SerializeToString()
    assert len(data) == 100_000
    assert await post(bed, data) == (202, "")
    text = "message is too large: at most 100000 bytes are accepted"
    assert await post(bed, data + b"x") == (413, text)

    async def chunks() -> AsyncIterator[bytes]:
        yield data
        yield b"x"

    async with aiohttp.ClientSession() as session, session.post(f"{bed.http}/", data=chunks()) as answer:
        assert (answer.status, await answer.text()) == (413, text)


async def test_a_body_that_breaks_off(bed: TestBed) -> None:
    """The rest of the relay is not impressed."""
    host, _, port = bed.app.address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
    await writer.drain()
    writer.close()
    assert await post(bed, request(7, 9)) == (202, "")


async def test_a_body_that_does_not_come(tmp_path: Path) -> None:
    """A sender that never finishes is answered and let go."""
    inbound = InboundSettings(open_to_all=True)
    async with relay(tmp_path, Directory(), inbound=inbound, limits=LimitSettings(body_s=0.05)) as bed:
        data = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc"
        status, _, body = await raw_http(bed.app.address, data)
        assert (status, body) == (400, b"bad request: the body did not arrive within 0.05 seconds")
        assert bed.app.metrics.refusals["slow_body"] == 1


async def test_bodies_held_at_once_are_limited(bed: TestBed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the sender is told to come back; when the others are done there is room again."""
    monkeypatch.setattr("relay.server.BODIES_BYTES_MAX", 500)
    host, _, port = bed.app.address.rpartition(":")
    _, slow = await asyncio.open_connection(host, int(port))
    slow.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + bytes(450))
    refusals = bed.app.metrics.refusals
    before = refusals["busy"]

    async def refused() -> bool:
        await post(bed, request(7, 9, payload=bytes(100)))
        return refusals["busy"] > before

    await until(refused)
    async with aiohttp.ClientSession() as session:
        data = request(7, 9, payload=bytes(100)).SerializeToString()
        async with session.post(f"{bed.http}/", data=data) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
            assert await answer.text() == "too many messages at once: try again in 1 s"
    slow.close()

    async def accepted() -> bool:
        return await post(bed, request(7, 9, payload=bytes(100))) == (202, "")

    await until(accepted)


async def test_posts_do_not_count_for_rate_limits(tmp_path: Path) -> None:
    """Limits are for signed-in twins (6.9)."""
    from relay.config import RateLimit

    inbound = InboundSettings(open_to_all=True)
    async with relay(tmp_path, Directory(7, 9), rate_limit=RateLimit(1, 10_000), inbound=inbound) as bed:
        for _ in range(5):
            assert await post(bed, request(7, 9)) == (202, "")
