"""One link: no answer of a relay and no instant of its end takes the gateway with it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from rmb_peer.protocol.link.endings import Outcome
from rmb_peer.transport import relay_link
from rmb_peer.transport.inbox import Inbox
from rmb_peer.transport.parcels import Parcel, Reached
from rmb_peer.transport.relay_link import RelayLink
from rmb_peer.transport.rmb1 import Rmb1
from tests.support.scripted_relay import scripted_relay

WAIT_S = 60.0


class NoParcels:
    """A source that never has anything to send."""

    def next_parcel(self, link: RelayLink) -> Parcel | None:
        return None

    def arrived(self, link: RelayLink, parcel: Parcel, reached: Reached) -> None:
        raise AssertionError

    def refused(self, link: RelayLink, parcel: Parcel, outcome: Outcome) -> None:
        raise AssertionError

    def give_back(self, link: RelayLink, parcels: list[Parcel]) -> None:
        assert not parcels

    def link_changed(self, link: RelayLink) -> None:
        pass


def new_link(url: str) -> RelayLink:
    return RelayLink(
        url,
        NoParcels(),
        Inbox(),
        make_token=lambda: "e30.eyJzdWIiOjF9.e30",  # {"sub":1}
        clock=time.monotonic,
        random=lambda: 0.999,
        message_bytes_max=1000,
        twin=1,
    )


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[tuple[str, asyncio.Semaphore]]:
    """A server that says one thing to everybody; its URL, and a semaphore that counts connections."""
    connections = asyncio.Semaphore(0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.release()
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", connections


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"noise\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /a\r\nLocation: /b\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: noise\r\n\r\n",
        b"HTTP/1.1 500 \xff\r\nX: \x00\r\n\r\n",
        b"HTTP/1.1 400 Bad\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        b"HTTP/1.1 401 No\r\n\r\n" + b"\xff" * 100_000,
    ],
)
async def test_no_answer_to_the_handshake_ends_the_link(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a server says, the link tries again later."""
    monkeypatch.setattr(relay_link, "RETRY_S_FIRST", 0.01)
    async with answering(answer) as (url, connections):
        running = asyncio.create_task(new_link(url).run())
        for _ in range(2):
            await first_of(running, connections.acquire())
        running.cancel()
        await asyncio.wait([running])


async def test_the_token_is_not_carried_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that sends us to another host is refused: our record names this one."""
    monkeypatch.setattr(relay_link, "RETRY_S_FIRST", 0.01)
    async with (
        answering(b"HTTP/1.1 404 Nothing\r\n\r\n") as (elsewhere, visits),
        answering(b"HTTP/1.1 302 Found\r\nLocation: %s\r\n\r\n" % elsewhere.encode()) as (url, connections),
    ):
        running = asyncio.create_task(new_link(url).run())
        for _ in range(2):
            await first_of(running, connections.acquire())
        running.cancel()
        await asyncio.wait([running])
        assert visits.locked()


async def test_an_end_that_meets_a_lost_connection_is_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that is cancelled in the instant in which its connection breaks does not dial again."""
    monkeypatch.setattr(relay_link, "RETRY_S_FIRST", 0.01)
    async with scripted_relay() as relay:
        link = new_link(relay.url)
        running = asyncio.create_task(link.run())

        async def break_and_end(*_: object) -> None:
            asyncio.get_running_loop().call_soon(running.cancel)
            raise ConnectionResetError

        monkeypatch.setattr(Rmb1, "_read", break_and_end)
        async with asyncio.timeout(WAIT_S):
            await asyncio.wait([running])
        assert running.cancelled()
        assert relay.accepted == 1


@pytest.mark.parametrize(
    ("answer", "text", "pause_s"),
    [
        (
            b"HTTP/1.1 429 No\r\nRMB-Refusal: too_many\r\nRetry-After: 60\r\nContent-Length: 4\r\n\r\nmany",
            "relay asks us to come back later: 429 many",
            60.0 * (1 + 0.999 / 4),
        ),
        (
            b"HTTP/1.1 503 No\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy",
            "relay asks us to come back later: 503 busy",
            7.0 * (1 + 0.999 / 4),
        ),
        (
            b"HTTP/1.1 403 No\r\nRMB-Refusal: not_admitted\r\nContent-Length: 2\r\n\r\nno",
            "relay does not admit this twin: 403 no; ask the operator of the relay to admit this twin, or for a ticket "
            "(--relay-ticket-file)",
            60.0 * (1 + 0.999 / 4),
        ),
    ],
)
async def test_a_refusal_is_understood(
    answer: bytes, text: str, pause_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays away for as long as it is told, a little longer by chance, and the status says what to do."""
    paused: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    sleep = asyncio.sleep

    async def pause(delay_s: float) -> None:
        if delay_s > 1.0 and not paused.done():
            paused.set_result(delay_s)
        await sleep(min(delay_s, 600.0))

    monkeypatch.setattr("rmb_peer.transport.relay_link.asyncio.sleep", pause)
    async with answering(answer) as (url, _):
        link = new_link(url)
        running = asyncio.create_task(link.run())
        async with asyncio.timeout(WAIT_S):
            assert await paused == pytest.approx(pause_s)
        error = link.status().last_error
        assert error is not None and error[1] == text
        running.cancel()
        await asyncio.wait([running])


async def first_of(running: asyncio.Task[None], waiting: object) -> None:
    """Wait for something while the link runs; a link that ended fails the test with its error."""
    waiter = asyncio.ensure_future(waiting)  # type: ignore[call-overload]
    await asyncio.wait([running, waiter], timeout=WAIT_S, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        waiter.cancel()
        running.result()
    assert waiter.done()
