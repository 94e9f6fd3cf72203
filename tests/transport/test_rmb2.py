"""One link over rmb.2: how it is agreed on, what the relay hears, what ends it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from rmb_peer.protocol.heartbeat import Rhythm
from rmb_peer.protocol.link.endings import IS_SAFE, Ending, Outcome, Window
from rmb_peer.protocol.link.link import FRAME_MESSAGES_MAX
from rmb_peer.protocol.pb import link_pb2 as pb
from rmb_peer.protocol.pb.envelope_pb2 import Envelope
from rmb_peer.transport import relay_link, rmb2
from rmb_peer.transport.client_socket import ClientSocket
from rmb_peer.transport.inbox import Inbox
from rmb_peer.transport.parcels import Reached
from rmb_peer.transport.relay_link import RelayLink
from tests.support.linked_relay import LinkedRelay, LinkedSession, linked_relay
from tests.support.parcels import Endings, OneQueue
from tests.support.scripted_relay import scripted_relay

WAIT_S = 60.0
MESSAGE_BYTES_MAX = 16 * 1024 * 1024


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other without long pauses."""
    monkeypatch.setattr(relay_link, "RETRY_S_FIRST", 0.01)
    monkeypatch.setattr(relay_link, "RETRY_S_MAX", 0.02)


@dataclass
class Scene:
    """A running link and what it is joined to."""

    link: RelayLink
    source: OneQueue
    inbox: Inbox
    endings: Endings
    running: asyncio.Task[None]

    def send(self, *uids: str, size_bytes: int = 0) -> None:
        for uid in uids:
            self.source.pending.append(self.endings.parcel(uid, size_bytes=size_bytes))
        self.link.wake()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something is true that the link or the relay makes true."""
        async with asyncio.timeout(WAIT_S):
            while not condition():
                assert not self.running.done(), self.running
                await asyncio.sleep(0.002)


@asynccontextmanager
async def scene(url: str, *, offers: tuple[str, ...] = ("rmb.2",), **inbox: int) -> AsyncIterator[Scene]:
    source, frames = OneQueue(), Inbox(**inbox)
    link = RelayLink(
        url,
        source,
        frames,
        make_token=lambda: "e30.eyJzdWIiOjF9.e30",  # {"sub":1}
        clock=time.monotonic,
        random=lambda: 0.5,
        message_bytes_max=MESSAGE_BYTES_MAX,
        twin=1,
        offers=offers,
    )
    running = asyncio.create_task(link.run())
    try:
        yield Scene(link, source, frames, Endings(), running)
    finally:
        running.cancel()
        await asyncio.wait([running])


@asynccontextmanager
async def connected(relay: LinkedRelay) -> AsyncIterator[tuple[Scene, LinkedSession]]:
    async with scene(relay.url) as s:
        await s.until(lambda: 1 in relay.sessions and s.link.connected)
        yield s, relay.sessions[1]


async def test_a_relay_that_knows_rmb2_selects_it() -> None:
    """Then the link speaks frames, the first of them with our window and at once."""
    async with linked_relay() as relay, connected(relay) as (s, session):
        assert s.link.status().protocol == "rmb.2"
        await s.until(lambda: session.frames)
        first = pb.Frame.FromString(session.frames[0])
        assert (first.window.messages, first.window.size_bytes) == (rmb2.WINDOW.messages, rmb2.WINDOW.size_bytes)


async def test_any_other_relay_notices_only_the_offer() -> None:
    """One more header in the handshake; then one envelope in each message, as ever."""
    async with scripted_relay() as relay, scene(relay.url) as s:
        s.send("a", "b")
        await s.until(lambda: len(s.endings.all) == 2)
        assert s.link.status().protocol == "rmb.1"
        assert [envelope.uid for envelope in relay.received] == ["a", "b"]
        assert s.endings.all == [("a", Reached.READ_BY_RELAY), ("b", Reached.READ_BY_RELAY)]
        request = relay.connections[1].request
        assert request is not None
        assert request.headers["Sec-WebSocket-Protocol"] == "rmb.2"


async def test_nothing_is_offered_when_told_so() -> None:
    """Without an offer the handshake has no header for it, and a relay of ours speaks rmb.1."""
    async with linked_relay() as relay, scene(relay.url, offers=()) as s:
        await s.until(lambda: s.link.connected)
        assert s.link.status().protocol == "rmb.1"
        await relay.until(lambda: 1 in relay.connections)
        request = relay.connections[1].request
        assert request is not None
        assert "Sec-WebSocket-Protocol" not in request.headers


@asynccontextmanager
async def picky_server(
    process_request: Callable[[ServerConnection, Request], Response | None],
    selects: Subprotocol | None = None,
    says: bytes | str | None = None,
) -> AsyncIterator[tuple[str, list[str | None]]]:
    """A server with manners of its own; its URL, and what was offered in each attempt."""
    offers: list[str | None] = []

    def look(connection: ServerConnection, request: Request) -> Response | None:
        offers.append(request.headers.get("Sec-WebSocket-Protocol"))
        return process_request(connection, request)

    async def answer(connection: ServerConnection) -> None:
        try:
            if connection.subprotocol is not None and says is not None:
                await connection.send(says)
            async for _ in connection:
                pass
        except ConnectionClosed:
            pass

    async with serve(
        answer,
        "127.0.0.1",
        0,
        process_request=look,
        select_subprotocol=lambda _, offered: selects if offered else None,
        compression=None,
    ) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}", offers


async def test_a_server_that_refuses_because_of_the_offer() -> None:
    """The next attempt goes without it and succeeds, and so do later ones."""

    def refuse(connection: ServerConnection, request: Request) -> Response | None:
        offered = "Sec-WebSocket-Protocol" in request.headers
        return connection.respond(HTTPStatus.BAD_REQUEST, "unsupported subprotocol") if offered else None

    async with picky_server(refuse) as (url, offers), scene(url) as s:
        await s.until(lambda: s.link.connected)
        assert offers == ["rmb.2", None]
        text = "relay does not take the offer of rmb.2: the next attempt goes without it"
        assert (s.link.status().last_error or (0, ""))[1] == text


@pytest.mark.parametrize("says", [b"\xff\xff", b"", "text", pb.Frame(first=1, envelopes=[b"x"]).SerializeToString()])
async def test_a_server_that_selects_what_it_does_not_speak(says: bytes | str) -> None:
    """Noise in place of the first frame: the link breaks, and the next attempt goes without the offer."""
    async with (
        picky_server(lambda connection, request: None, Subprotocol("rmb.2"), says) as (url, offers),
        scene(url) as s,
    ):
        await s.until(lambda: s.link.connected and s.link.status().protocol == "rmb.1")
        assert offers == ["rmb.2", None]
        assert not len(s.inbox)


NOISE = {
    "no frame": (b"\xff\xff", "no frame"),
    "a text": ("text", "a text message"),
    "a gap": (pb.Frame(first=7, envelopes=[b"x"]).SerializeToString(), "envelope 7 after 0"),
    "an ending of nothing": (pb.Frame(safe=1).SerializeToString(), "1 is acknowledged, but 0 were sent"),
    "an unknown ending": (pb.Frame(outcomes=[pb.Outcome(first=1, ending=9)]).SerializeToString(), "unknown ending 9"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize(("noise", "reason"), NOISE.values(), ids=NOISE)
async def test_a_relay_that_breaks_the_rules_is_left(noise: bytes | str, reason: str) -> None:
    """It hears 1002 and the reason; the link reports it, dials again and speaks rmb.2 as before."""
    async with linked_relay() as relay, connected(relay) as (s, _):
        await s.until(lambda: s.link._speaker is not None and s.link._speaker.understood)
        connection = relay.connections[1]
        await connection.send(noise)
        async with asyncio.timeout(WAIT_S):
            await connection.wait_closed()
        assert connection.close_code == 1002
        assert reason in (connection.close_reason or "")
        await relay.until(lambda: relay.accepted == 2 and 1 in relay.sessions)
        await s.until(lambda: s.link.connected)
        assert reason in (s.link.status().last_error or (0, ""))[1]
        s.send("a")
        await s.until(lambda: s.endings.all)


async def test_endings_reach_their_parcels() -> None:
    """Safe, at the peer, refused with code and text: each parcel hears its own, in whatever order they come."""
    refusal = Outcome(Ending.REFUSED, 429, "too much waits for twin 1", 1500)
    how = {"a": IS_SAFE, "b": Outcome(Ending.AT_PEER), "c": refusal}
    async with linked_relay() as relay, connected(relay) as (s, _):
        relay.ends = lambda envelope: how[envelope.uid]
        relay.swallow = lambda envelope: envelope.uid == "a"  # held
        s.send("a", "b", "c")
        await s.until(lambda: len(s.endings.all) == 2)
        assert s.link.unconfirmed == 1
        relay.held[0].end(IS_SAFE)
        await s.until(lambda: len(s.endings.all) == 3)
        assert s.endings.all == [
            ("b", Reached.STORED_AT_PEER),
            ("c", refusal),
            ("a", Reached.STORED_AT_RELAY),
        ]
        assert s.link.unconfirmed == 0


async def test_what_is_there_in_one_turn_travels_in_one_frame() -> None:
    """A hundred parcels, one frame."""
    async with linked_relay() as relay, connected(relay) as (s, session):
        await s.until(lambda: s.link._speaker is not None and s.link._speaker.understood)
        await s.until(lambda: session.frames)
        before = len(session.frames)
        s.send(*map(str, range(100)))
        await s.until(lambda: len(relay.received) == 100)
        assert len(pb.Frame.FromString(session.frames[before]).envelopes) == 100


async def test_what_did_not_end_goes_out_again_in_order() -> None:
    """A connection that dies gives everything unended back; the next one carries it first, each once, in order."""
    async with linked_relay() as relay, connected(relay) as (s, _):
        relay.ends = lambda envelope: Outcome(Ending.AT_PEER) if envelope.uid == "1" else None
        s.send("0", "1", "2")
        await s.until(lambda: s.endings.all)
        relay.ends = lambda envelope: Outcome(Ending.AT_PEER)
        relay.received.clear()
        relay.connections[1].transport.abort()
        await s.until(lambda: len(s.source.changes) >= 2)
        s.send("3")
        await s.until(lambda: len(s.endings.all) == 4)
        assert [envelope.uid for envelope in relay.received] == ["0", "2", "3"]
        assert [uid for uid, _ in s.endings.all] == ["1", "0", "2", "3"]


@pytest.mark.parametrize("window", [Window(3, 10**9), Window(1000, 300)], ids=["messages", "bytes"])
async def test_the_window_of_the_relay_is_kept(window: Window) -> None:
    """No more is on its way than the relay announced, in count and in bytes; each ending lets more out."""
    async with linked_relay() as relay:
        relay.window = window
        relay.ends = lambda envelope: None
        async with connected(relay) as (s, session):
            await s.until(lambda: s.link._speaker is not None and s.link._speaker.understood)
            s.send(*map(str, range(30)), size_bytes=80)
            for ended in range(30):
                await relay.until(lambda ended=ended: len(relay.held) == min(ended + 3, 30))  # type: ignore[misc]
                assert session.link.unsettled == min(3, 30 - ended)
                relay.held[ended].end(IS_SAFE)
            await s.until(lambda: len(s.endings.all) == 30)


async def test_one_parcel_larger_than_the_window_travels_alone() -> None:
    """Whatever its size, it goes out when nothing else is on its way."""
    async with linked_relay() as relay:
        relay.window = Window(10, 1000)
        async with connected(relay) as (s, _):
            await s.until(lambda: s.link._speaker is not None and s.link._speaker.understood)
            s.send("a")
            s.send("large", size_bytes=MESSAGE_BYTES_MAX - 1000)
            s.send("b")
            await s.until(lambda: len(s.endings.all) == 3)
            assert [envelope.uid for envelope in relay.received] == ["a", "large", "b"]


async def test_acknowledgements_do_not_wait_for_a_large_message() -> None:
    """What is to be said about endings goes out in a frame of its own, before the large envelope."""
    async with linked_relay() as relay, connected(relay) as (s, session):
        await s.until(lambda: s.link._speaker is not None and s.link._speaker.understood)
        await s.until(lambda: session.frames)
        await relay.deliver(1, Envelope(uid="in"))
        await s.until(lambda: len(s.inbox))
        (frame,) = s.inbox.take(1)
        before = len(session.frames)
        s.send("large", size_bytes=MESSAGE_BYTES_MAX - 1000)
        frame.done()
        await s.until(lambda: s.endings.all)
        frames = [pb.Frame.FromString(data) for data in session.frames[before:]]
        assert (frames[0].safe, len(frames[0].envelopes)) == (1, 0)
        assert len(frames[1].envelopes) == 1


async def test_an_acknowledgement_travels_with_the_answer() -> None:
    """One frame for both, as long as the answer follows soon."""
    async with linked_relay() as relay, connected(relay) as (s, session):
        await s.until(lambda: session.frames)
        await relay.deliver(1, Envelope(uid="ask"))
        await s.until(lambda: len(s.inbox))
        (asked,) = s.inbox.take(1)
        before = len(session.frames)
        asked.done()
        s.send("answer")
        await s.until(lambda: session.settles == 1)
        (frame,) = (pb.Frame.FromString(data) for data in session.frames[before:])
        assert (frame.safe, len(frame.envelopes)) == (1, 1)


async def test_the_last_acknowledgements_are_said_before_the_end() -> None:
    """Whoever ends the connection says what is safe, and does not send what has not been framed."""
    async with linked_relay() as relay, connected(relay) as (s, session):
        await relay.deliver(1, Envelope(uid="in"))
        await s.until(lambda: len(s.inbox))
        (frame,) = s.inbox.take(1)
        frame.done()
        s.running.cancel()
        await asyncio.wait([s.running])
        await relay.until(lambda: 1 not in relay.sessions)
        assert session.settles == 1


async def test_the_largest_envelope_comes_in_a_frame() -> None:
    """The limit of the socket leaves room for what a frame holds beside it."""
    async with linked_relay() as relay, connected(relay) as (s, _):
        envelope = Envelope(uid="x")
        envelope.plain = bytes(MESSAGE_BYTES_MAX - len(envelope.SerializeToString()) - 6)
        assert MESSAGE_BYTES_MAX - 10 < envelope.ByteSize() <= MESSAGE_BYTES_MAX
        await relay.deliver(1, envelope)
        await s.until(lambda: len(s.inbox))
        assert relay.accepted == 1


async def test_a_frame_over_the_limit_ends_the_connection() -> None:
    """The size of what a relay can make us hold is bounded."""
    async with linked_relay() as relay, connected(relay) as (s, _):
        connection = relay.connections[1]
        await connection.send(bytes(rmb2.frame_bytes_max(MESSAGE_BYTES_MAX) + 1))
        async with asyncio.timeout(WAIT_S):
            await connection.wait_closed()
        assert connection.close_code == 1009
        assert not len(s.inbox)


async def test_a_message_over_the_limit_ends_a_connection_in_rmb1() -> None:
    """There the limit is that of one envelope."""
    async with scripted_relay() as relay, scene(relay.url) as s:
        await s.until(lambda: s.link.connected)
        await relay.until(lambda: 1 in relay.connections)
        connection = relay.connections[1]
        await connection.send(bytes(MESSAGE_BYTES_MAX + 1))
        async with asyncio.timeout(WAIT_S):
            await connection.wait_closed()
        assert connection.close_code == 1009
        assert not len(s.inbox)


async def test_an_envelope_is_acknowledged_when_it_is_done_with() -> None:
    """Not when it is read; in any order; and after the connection is gone, nothing happens."""
    async with linked_relay() as relay, connected(relay) as (s, session):
        for uid in ("a", "b", "c"):
            await relay.deliver(1, Envelope(uid=uid))
        await s.until(lambda: len(s.inbox) == 3)
        a, b, c = s.inbox.take(3)
        async with asyncio.timeout(WAIT_S):
            await (await relay.connections[1].ping())  # answered at once: here it proves nothing about safety
        assert session.settles == 0
        b.done()
        await s.until(lambda: session.settles == 1)
        a.done()
        await s.until(lambda: session.settles == 2)
        relay.connections[1].transport.abort()
        await relay.until(lambda: relay.accepted == 2)
        c.done()
        await s.until(lambda: len(s.inbox) == 1)
        (again,) = s.inbox.take(1)
        assert Envelope.FromString(again.data).uid == "c"
        again.done()
        await s.until(lambda: relay.sessions[1].settles == 1)


async def test_a_full_inbox_holds_up_reading_and_nothing_else() -> None:
    """While the local store is behind, the relay is not read; what is done is acknowledged all the same."""
    async with linked_relay() as relay, scene(relay.url, frames_max=2) as s:
        await s.until(lambda: 1 in relay.sessions)
        for uid in map(str, range(10)):
            await relay.deliver(1, Envelope(uid=uid))
        taken: list[str] = []
        for _ in range(10):
            await s.until(lambda: len(s.inbox))
            assert len(s.inbox) <= 2
            (received,) = s.inbox.take(1)
            taken.append(Envelope.FromString(received.data).uid)
            received.done()
        assert taken == list(map(str, range(10)))
        await s.until(lambda: relay.sessions[1].settles == 10)


async def test_a_silent_relay_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pings find out that nobody is there, although nothing was written to be acknowledged."""
    monkeypatch.setattr(relay_link, "RHYTHM", Rhythm(idle_s=0.05, dead_s=0.2))
    async with linked_relay() as relay, connected(relay) as (s, _):
        relay.connections[1].transport.pause_reading()
        await relay.until(lambda: relay.accepted > 1)
        await s.until(lambda: "no answer to a ping" in (s.link.status().last_error or (0, ""))[1])


async def test_the_status_of_a_link() -> None:
    """URL without token, protocol, round trip, in flight; after the end the last error."""
    async with linked_relay() as relay, connected(relay) as (s, _):
        await s.until(lambda: s.link.status().round_trip_s is not None)
        relay.ends = lambda envelope: None
        s.send("a")
        await s.until(lambda: s.link.unconfirmed == 1)
        status = s.link.status()
        assert (status.url, status.connected, status.protocol) == (relay.url, True, "rmb.2")
        assert (status.in_flight, status.last_error) == (1, None)
        assert status.round_trip_s is not None
        assert status.round_trip_s > 0
        await relay.stop()
        await s.until(lambda: not s.link.connected)
        await s.until(lambda: s.link.status().last_error is not None)
        status = s.link.status()
        assert (status.connected, status.protocol, status.in_flight) == (False, None, 0)
        assert status.round_trip_s is not None
        assert "eyJzdWIiOjF9" not in str(status)
        await relay.start()


async def test_parcels_wait_in_the_pool_while_the_line_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than a frame's worth is taken at once: the rest can still leave by another relay."""
    async with linked_relay() as relay, connected(relay) as (s, _):
        await s.until(lambda: s.link._speaker is not None and s.link._speaker.understood)
        free, send = asyncio.Event(), ClientSocket.send

        async def busy(socket: ClientSocket, frame: bytes) -> None:
            await free.wait()
            await send(socket, frame)

        monkeypatch.setattr(ClientSocket, "send", busy)
        s.send(*map(str, range(1000)))
        await s.until(lambda: s.link.unconfirmed)
        assert (s.link.unconfirmed, len(s.source.pending)) == (FRAME_MESSAGES_MAX, 1000 - FRAME_MESSAGES_MAX)
        free.set()
        await s.until(lambda: len(s.endings.all) == 1000)
