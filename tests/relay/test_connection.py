"""Sessions: replacement, delivery that is confirmed by pongs, slow and dead clients, the end."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from websockets.exceptions import ConnectionClosed

from relay.connection import REPLIES_BYTES_MAX, Connection
from relay.feed import QUEUE_ENTRIES_MAX
from relay.mailboxes import PAGE_ENTRIES_MAX
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.envelope import parse_envelope
from rmb_peer.protocol.heartbeat import Rhythm
from tests.support.proxy import proxy
from tests.support.relay import (
    PATIENCE_S,
    Directory,
    TestBed,
    next_is_marker,
    receive,
    receive_error,
    relay,
    request,
    send,
    token,
    until,
    upgrade_request,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUICK = Rhythm(idle_s=0.2, dead_s=1.5, gap_s=0.01)
"""Quick enough to test; a busy machine may stop for a second without being taken for dead."""


@asynccontextmanager
async def mute(bed: TestBed, twin: int) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A client that shows pings instead of answering them."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{bed.app.url}/?{token(Address(twin))}", autoping=False, max_msg_size=0) as client,
    ):
        yield client


async def frame(client: aiohttp.ClientWebSocketResponse) -> aiohttp.WSMessage:
    return await client.receive(PATIENCE_S)


async def envelope_uid(client: aiohttp.ClientWebSocketResponse) -> str:
    """The next envelope, whatever pings come before it."""
    while (message := await frame(client)).type is aiohttp.WSMsgType.PING:
        pass
    assert message.type is aiohttp.WSMsgType.BINARY, message
    return parse_envelope(message.data).uid


async def fill(bed: TestBed, count: int, start: int = 0, size: int = 10) -> list[str]:
    """Requests from 7 to 9."""
    async with bed.client(7) as sender:
        uids = [f"m{n}" for n in range(start, start + count)]
        for uid in uids:
            await send(sender, request(7, 9, uid, payload=bytes(size)))
        await next_is_marker(sender, "7")
    return uids


# --- who is connected -------------------------------------------------------------------------------------------------


async def test_c8_the_newest_of_a_hundred_survives(bed: TestBed) -> None:
    """Each new connection of an identity replaces the one before, which hears why; the last one keeps working."""
    async with bed.client(7) as sender:
        clients = [await bed.client(9) for _ in range(100)]
        for older in clients[:-1]:
            with pytest.raises(ConnectionClosed) as closed:
                await receive(older)
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "superseded by a newer connection")
        await until(lambda: bed.app.metrics.evictions["cancelled"] >= 99)
        assert bed.app.metrics.sessions() == 2
        await send(sender, request(7, 9, tags="fail-fast"))
        assert (await receive(clients[-1])).uid == "u-1"
        await clients[-1].close()


async def test_c4_absent_and_empty_session_ids_are_two_sessions(bed: TestBed) -> None:
    """(7, none) and (7, "") are connected side by side and get their own messages."""
    async with bed.client(9) as sender, bed.client(7) as without, bed.client(7, "") as empty:
        await send(sender, request(9, "7:", "to-empty"))
        await send(sender, request(9, "7", "to-none"))
        assert (await receive(without)).uid == "to-none"
        assert (await receive(empty)).uid == "to-empty"


async def test_frames_that_a_replaced_connection_sent_still_count(bed: TestBed) -> None:
    """What a client sent before it heard that it is superseded is taken."""
    async with bed.client(9) as receiver, mute(bed, 7) as older, bed.client(7):
        await older.send_bytes(request(7, 9, "before").SerializeToString())
        assert (await frame(older)).type is aiohttp.WSMsgType.CLOSE
        assert (await receive(receiver)).uid == "before"


async def test_the_number_of_sessions_is_bounded(tmp_path: Path) -> None:
    """Beyond it the upgrade succeeds and the connection is closed; a replacement needs no room (4.3, 6.2)."""
    async with relay(tmp_path, Directory(7, 8, 9), sessions_max=2) as bed, bed.client(7) as first, bed.client(8):
        async with bed.client(9) as refused:
            with pytest.raises(ConnectionClosed) as closed:
                await receive(refused)
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 1013
        async with bed.client(7) as again:
            with pytest.raises(ConnectionClosed):
                await receive(first)
            await next_is_marker(again, "7")


# --- backlog and confirmation -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 5, PAGE_ENTRIES_MAX, 3 * PAGE_ENTRIES_MAX + 1])
async def test_c9_backlog_comes_oldest_first(bed: TestBed, count: int) -> None:
    """What waited is delivered in order when the session connects, then what is new."""
    uids = await fill(bed, count)
    async with bed.client(9) as client:
        assert [(await receive(client)).uid for _ in uids] == uids
        (new,) = await fill(bed, 1, count)
        assert (await receive(client)).uid == new


async def test_c9_backlog_written_by_another_relay(bed: TestBed) -> None:
    """A mailbox filled by another program in the shared layout is delivered; entries of another shape vanish."""
    await bed.store.xadd("stream:9", {"_": request(7, 9, "theirs").SerializeToString()})
    await bed.store.xadd("stream:9", {"wrong": "shape"})
    before = bed.app.metrics.poison
    async with bed.client(9) as client:
        assert (await receive(client)).uid == "theirs"
        await until(lambda: bed.app.metrics.poison == before + 1)
    await until(lambda: _is_empty(bed, "9"))


async def _is_empty(bed: TestBed, owner: str) -> bool:
    return await _holds(bed, owner, 0)


async def _holds(bed: TestBed, owner: str, count: int) -> bool:
    return len(await bed.waiting(owner)) == count


async def test_only_a_pong_removes_an_entry(bed: TestBed) -> None:
    """Written is not enough: the entry stays until the client has answered a ping that came after it."""
    await fill(bed, 2)
    async with mute(bed, 9) as client:
        assert [await envelope_uid(client) for _ in range(2)] == ["m0", "m1"]
        ping = await frame(client)
        assert ping.type is aiohttp.WSMsgType.PING
        assert len(await bed.waiting("9")) == 2
        await client.pong(b"something else")
        await client.send_bytes(request(9, 0).SerializeToString())
        assert await envelope_uid(client) == "u-1"  # so the wrong pong has been read
        assert len(await bed.waiting("9")) == 3  # with that error
        await client.pong(ping.data)
        await until(lambda: _holds(bed, "9", 1))


async def test_unconfirmed_entries_come_again_and_confirmed_ones_do_not(bed: TestBed) -> None:
    """After a lost connection: exactly what no pong has confirmed, in order."""
    await fill(bed, 2)
    async with mute(bed, 9) as client:
        assert [await envelope_uid(client) for _ in range(2)] == ["m0", "m1"]
        ping = await frame(client)
        await client.pong(ping.data)
        await until(lambda: _is_empty(bed, "9"))
        await fill(bed, 2, 2)
        assert [await envelope_uid(client) for _ in range(2)] == ["m2", "m3"]
    async with bed.client(9) as client:
        assert [(await receive(client)).uid for _ in range(2)] == ["m2", "m3"]
    await until(lambda: _is_empty(bed, "9"))
    async with bed.client(9) as client:
        await next_is_marker(client, "9")


async def test_pings_are_few_under_load(bed: TestBed) -> None:
    """One ping on its way at a time, and at most one in 100 ms: a burst is confirmed together."""
    uids = [f"m{n}" for n in range(200)]
    async with bed.client(7) as sender, mute(bed, 9) as client:
        for uid in uids:
            await send(sender, request(7, 9, uid))
        got: list[str] = []
        pings = 0
        while len(got) < len(uids):
            message = await frame(client)
            if message.type is aiohttp.WSMsgType.PING:
                pings += 1
            else:
                got.append(parse_envelope(message.data).uid)
        assert got == uids
        assert pings <= 1


async def test_nothing_is_lost_when_a_client_breaks_off_again_and_again(bed: TestBed) -> None:
    """A receiver that is cut again and again gets everything in order, with repeats only after a reconnect."""
    uids = [f"m{n}" for n in range(600)]
    parts: list[list[str]] = []

    async def flow() -> None:
        async with bed.client(7) as sender:
            for uid in uids:
                await send(sender, request(7, 9, uid))
                await asyncio.sleep(0)

    sending = asyncio.create_task(flow())
    while not parts or uids[-1] not in parts[-1]:
        part: list[str] = []
        parts.append(part)
        async with mute(bed, 9) as client:
            left = 80
            while left and uids[-1] not in part:
                message = await frame(client)
                if message.type is aiohttp.WSMsgType.PING:
                    await client.pong(message.data)
                else:
                    left -= 1
                    part.append(parse_envelope(message.data).uid)
            assert client._response.connection is not None
            client._response.connection.transport.abort()  # type: ignore[union-attr]
    await sending
    assert {uid for part in parts for uid in part} == set(uids)
    for part in parts:
        first = uids.index(part[0])
        assert part == uids[first : first + len(part)]


# --- slow, silent and rude clients ------------------------------------------------------------------------------------


async def test_a_slow_reader_costs_bounded_memory_and_loses_nothing(
    bed: TestBed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a client reads nothing, its queue stays bounded and the rest waits in the mailbox; then all comes."""
    connections: list[Connection] = []
    original = Connection.run

    async def run(self: Connection) -> None:
        connections.append(self)
        await original(self)

    monkeypatch.setattr(Connection, "run", run)
    uids: list[str] = []
    async with bed.client(9, max_queue=1) as client, bed.client(7) as sender:
        feed = connections[0]._feed
        client.transport.pause_reading()
        for n in range(1500):
            uids.append(f"m{n}")
            await send(sender, request(7, 9, uids[-1], payload=bytes(10_000)))
            assert feed.queued <= QUEUE_ENTRIES_MAX
        await next_is_marker(sender, "7")
        assert not feed.live
        client.transport.resume_reading()
        assert [(await receive(client)).uid for _ in uids] == uids
        await fill(bed, 1, 1500)
        assert (await receive(client)).uid == "m1500"
        await until(lambda: _is_empty(bed, "9"))
        assert feed.live


async def test_idle_clients_are_pinged_and_mute_ones_dropped(tmp_path: Path) -> None:
    """A silent client gets a ping; without an answer it is gone after the limit, and counts as offline."""
    async with relay(tmp_path, Directory(7, 9), rhythm=QUICK) as bed, bed.client(7) as other:
        async with mute(bed, 9) as client:
            assert (await frame(client)).type is aiohttp.WSMsgType.PING
            end = await frame(client)
            assert end.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR, aiohttp.WSMsgType.CLOSE)
        await send(other, request(7, 9, tags="fail-fast"))
        assert await receive_error(other) == "destination offline"
        assert bed.app.metrics.evictions["closed"] == 1


async def test_answering_clients_stay_however_long_they_idle(tmp_path: Path) -> None:
    """Longer than the limit without a message: still connected."""
    async with relay(tmp_path, Directory(7), rhythm=QUICK) as bed, mute(bed, 7) as client:
        for _ in range(10):
            ping = await frame(client)
            assert ping.type is aiohttp.WSMsgType.PING
            await client.pong(ping.data)


async def test_a_client_that_takes_nothing_is_dropped(tmp_path: Path) -> None:
    """Its TCP connection stands, but nothing drains: gone after the limit, counted as back pressure; mail stays."""
    async with relay(tmp_path, Directory(7, 9), rhythm=QUICK) as bed, bed.client(7) as sender:
        async with bed.client(9) as client:
            client.transport.pause_reading()
            for n in range(12):
                await send(sender, request(7, 9, f"m{n}", payload=bytes(1_000_000)))
            await until(lambda: bed.app.metrics.evictions["back_pressure_timeout"] == 1)
            client.transport.abort()
        async with bed.client(9) as client:
            assert [(await receive(client)).uid for _ in range(12)] == [f"m{n}" for n in range(12)]


async def test_a_slow_link_is_not_a_dead_one(tmp_path: Path) -> None:
    """A client that keeps reading slowly, for several times the limit, keeps its connection."""
    async with relay(tmp_path, Directory(7, 9), rhythm=QUICK) as bed, bed.client(7) as sender:
        await send(sender, request(7, 9, payload=bytes(12_000_000)))
        await (await sender.ping())  # it is stored: the bare client, which answers no pings, must not be kept waiting
        reader, writer = await open_raw(bed, 9, limit=65_536)
        size = 0
        for _ in range(45):
            size += len(await reader.readexactly(100_000))
            await asyncio.sleep(0.1)  # this is the slow link, not a synchronisation
        assert bed.app.metrics.sessions() == 2
        while size < 12_000_000:
            size += len(await reader.read(1_000_000))
        writer.close()


async def test_a_slow_upload_is_not_a_dead_link(tmp_path: Path) -> None:
    """A large message that arrives for longer than the limit holds back the client's pongs: it is not dropped."""
    async with relay(tmp_path, Directory(7, 9), rhythm=QUICK) as bed, bed.client(7) as receiver:
        _, writer = await open_raw(bed, 9)
        data = request(9, 7, payload=bytes(50_000)).SerializeToString()
        masked = struct.pack("!BBH4s", 0x82, 0x80 | 126, len(data), bytes(4)) + data
        for start in range(0, len(masked), 1000):
            writer.write(masked[start : start + 1000])
            await asyncio.sleep(0.08)  # this is the slow link, not a synchronisation
        assert (await receive(receiver)).uid == "u-1"
        writer.close()


async def open_raw(bed: TestBed, twin: int, **options: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A signed-in client of bare bytes."""
    host, _, port = bed.app.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), **options)
    writer.write(upgrade_request(f"/?{token(Address(twin))}"))
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    return reader, writer


async def test_a_message_of_the_largest_size_passes_and_a_larger_one_closes(tmp_path: Path) -> None:
    """At the limit it is delivered; one byte more, in one frame or in fragments, ends the connection with 1009."""
    async with relay(tmp_path, Directory(7, 9), message_bytes_max=100_000) as bed, bed.client(9) as receiver:
        size = 100_000 - len(request(7, 9, payload=b"x" * 65_536).SerializeToString()) + 65_536
        async with bed.client(7) as client:
            data = await send(client, request(7, 9, payload=bytes(size)))
            assert len(data) == 100_000
            assert await asyncio.wait_for(receiver.recv(), PATIENCE_S) == data
        for message in (bytes(100_001), [bytes(50_000), bytes(50_001)], bytes(5_000_000)):
            client = await bed.client(7)
            with pytest.raises(ConnectionClosed) as closed:
                await client.send(message)
                await receive(client)
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009
            await until(lambda: bed.app.metrics.sessions() == 1)


async def test_frames_against_the_rules_close(bed: TestBed) -> None:
    """An unmasked or reserved frame gets a Close with 1002 (RFC 6455, 5.1, 5.2)."""
    for rude in (b"\xf2\x80\x00\x00\x00\x00", b"\x83\x80\x00\x00\x00\x00"):
        reader, writer = await open_raw(bed, 7)
        writer.write(rude)
        answer = await asyncio.wait_for(reader.read(100), PATIENCE_S)
        assert answer[:1] == b"\x88" and struct.unpack("!H", answer[2:4]) == (1002,)
        writer.close()


async def test_a_flood_of_pings_is_answered_in_bounded_memory(bed: TestBed) -> None:
    """More envelope pings than may wait: the client is read no faster than it reads its pongs, and gets them all."""
    ping = request(7, 9)
    ping.ping.SetInParent()
    async with bed.client(7) as client:
        for n in range(2000):
            ping.uid = f"p{n}"
            await send(client, ping)
        assert [(await receive(client)).uid for _ in range(2000)] == [f"p{n}" for n in range(2000)]


async def test_a_flood_of_large_pings_that_nobody_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends and takes nothing back is not read any more, holds little memory, and is dropped."""
    held: list[int] = []
    original = Connection._reply

    def reply(self: Connection, data: bytes) -> None:
        original(self, data)
        held.append(self._replies_bytes)

    monkeypatch.setattr(Connection, "_reply", reply)
    ping = request(7, 9, payload=bytes(500_000))
    ping.ping.SetInParent()
    async with relay(tmp_path, Directory(7), rhythm=QUICK) as bed:
        client = await bed.client(7)
        client.transport.pause_reading()

        async def flood() -> None:
            with pytest.raises(ConnectionClosed):
                while True:
                    await send(client, ping)

        flooding = asyncio.create_task(flood())
        await until(lambda: bed.app.metrics.evictions["back_pressure_timeout"] == 1)
        client.transport.abort()
        await flooding
        assert max(held) < REPLIES_BYTES_MAX + 2 * 500_100


# --- the store fails --------------------------------------------------------------------------------------------------


async def test_sessions_survive_an_outage_of_the_store(tmp_path: Path) -> None:
    """Requests get the documented error on the connection itself; afterwards everything flows, the backlog included."""
    options = {"through": proxy, "store_patience_s": 0.1}
    async with relay(tmp_path, Directory(7, 9), **options) as bed, bed.client(7) as client:  # type: ignore[arg-type]
        await send(client, request(7, 9, "before"))
        await until(lambda: bed.keys_are("stream:9"))
        await bed.app.mailboxes.idle()  # the relay knows it, too
        bed.proxy.cut()
        await send(client, request(7, 9, "during"))
        error = await receive(client)
        assert error.uid == "during"
        assert error.error.message.startswith("failed to route message to peer '9': the store does not answer (")
        async with bed.client(9) as late:
            bed.proxy.down = False
            assert (await receive(late)).uid == "before"
            await send(client, request(7, 9, "after"))
            assert (await receive(late)).uid == "after"
            await until(lambda: _is_empty(bed, "9"))


# --- the end ----------------------------------------------------------------------------------------------------------


async def test_stopping_closes_sessions_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients hear 1001; what they have read is confirmed, what they have sent is stored, the rest stays."""
    monkeypatch.setattr("relay.connection.FLUSH_S_MAX", 0.2)  # one of the clients answers nothing
    monkeypatch.setattr("relay.websocket.CLOSE_S_MAX", 0.2)
    async with relay(tmp_path, Directory(7, 8, 9)) as bed:
        async with bed.client(7) as sender, bed.client(9) as reader, mute(bed, 8) as silent:
            for n in range(50):
                await send(sender, request(7, 9, f"m{n}"))
                await send(sender, request(7, 8, f"m{n}"))
                await receive(reader)
            assert await envelope_uid(silent) == "m0"
            await send(sender, request(7, "9:away", "last"))
            await bed.app.__aexit__(None, None, None)
            for client in (sender, reader):
                with pytest.raises(ConnectionClosed) as closed:
                    await receive(client)
                assert closed.value.rcvd is not None and closed.value.rcvd.code == 1001
        assert await bed.waiting("9") == []
        assert len(await bed.waiting("8")) == 50
        assert len(await bed.waiting("9:away")) == 1
