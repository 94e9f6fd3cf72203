"""Sessions of rmb.2, seen from the wire: every envelope ends, and its sender hears how."""

import asyncio
import time
from pathlib import Path

import pytest

from relay.acknowledged import IN_FLIGHT
from relay.config import RateLimit
from relay.frames import frame_bytes_max
from relay.mailboxes import ENTRIES_MAX, PAGE_ENTRIES_MAX
from rmb_peer.protocol.envelope import Envelope
from rmb_peer.protocol.heartbeat import Rhythm
from rmb_peer.protocol.link.endings import IS_AT_PEER, IS_SAFE, Ending, Outcome, Window
from tests.support.link_client import link_client
from tests.support.relay import (
    Directory,
    TestBed,
    metric,
    next_is_marker,
    receive,
    relay,
    request,
    response,
    send,
    until,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def is_empty(bed: TestBed, owner: str) -> bool:
    return not await bed.waiting(owner)


# --- who speaks what with whom ----------------------------------------------------------------------------------------


async def test_between_two_that_are_connected_nothing_is_stored(bed: TestBed) -> None:
    """Forwarded as it came, settled AT_PEER once the destination has settled it; the store is not touched."""
    async with link_client(bed, 7) as a, link_client(bed, 9, auto=False) as b:
        await b.warm()
        rx, direct = bed.app.metrics.message_rx, bed.app.metrics.direct
        envelope = request(7, 9, payload=b"\x00data")
        await a.send(envelope)
        number, came = await b.receive()
        assert came == envelope
        assert a.outcomes == {}
        await b.settle(number)
        assert await a.outcome("u-1") == IS_AT_PEER
        assert bed.app.metrics.message_rx == rx
        assert bed.app.metrics.direct == direct + 1
        await bed.app.mailboxes.idle()  # what warmed it up is deleted
        assert await bed.waiting("9") == []


async def test_to_somebody_absent(bed: TestBed) -> None:
    """SAFE once it is in the mailbox; there until the destination has settled it."""
    async with link_client(bed, 7) as a:
        await a.send(request(7, 9, "m0"), response(7, 9, "m1"))
        assert await a.outcome("m1") == await a.outcome("m0") == IS_SAFE
    assert len(await bed.waiting("9")) == 2
    async with link_client(bed, 9, auto=False) as b:
        (first, _), (second, _) = await b.receive(), await b.receive()
        await b.settle(second)
        await until(lambda: holds(bed, 1))
        await b.settle(first)
        await until(lambda: is_empty(bed, "9"))


async def holds(bed: TestBed, count: int) -> bool:
    return len(await bed.waiting("9")) == count


async def test_from_rmb_2_to_rmb_1(bed: TestBed) -> None:
    """SAFE, because it is stored; delivered and confirmed by pongs as ever."""
    async with link_client(bed, 7) as a, bed.client(9) as b:
        await a.send(request(7, 9))
        assert (await receive(b)).uid == "u-1"
        assert await a.outcome("u-1") == IS_SAFE
        await until(lambda: is_empty(bed, "9"))


async def test_from_rmb_1_to_rmb_2(bed: TestBed) -> None:
    """Always through the mailbox: a sender that hears nothing may forget it once it has been read."""
    async with bed.client(7) as a, link_client(bed, 9, auto=False) as b:
        await send(a, request(7, 9))
        number, envelope = await b.receive()
        assert envelope.uid == "u-1"
        assert len(await bed.waiting("9")) == 1
        await b.settle(number)
        await until(lambda: is_empty(bed, "9"))


async def test_to_oneself(bed: TestBed) -> None:
    """Sender and destination may be the same session."""
    async with link_client(bed, 7) as a:
        await a.warm()
        await a.send(request(7, 7))
        assert await a.receive_uids(1) == ["u-1"]
        assert await a.outcome("u-1") == IS_AT_PEER


async def test_the_backlog_comes_first(bed: TestBed) -> None:
    """Several pages of it, then what came meanwhile, in order; afterwards the way is direct again."""
    uids = [f"m{n}" for n in range(3 * PAGE_ENTRIES_MAX)]
    async with link_client(bed, 7) as a:
        await a.send(*(request(7, 9, uid) for uid in uids[:-50]))
        await a.outcome(uids[-51])
        async with link_client(bed, 9) as b:
            await a.send(*(request(7, 9, uid) for uid in uids[-50:]))
            assert await b.receive_uids(len(uids)) == uids
            await until(lambda: is_empty(bed, "9"))
            await b.warm()
            direct = bed.app.metrics.direct
            await a.send(request(7, 9, "last"))
            assert await a.outcome("last") == IS_AT_PEER
            assert bed.app.metrics.direct == direct + 1


async def test_envelope_pings_are_turned_round(bed: TestBed) -> None:
    """With an envelope pong to this session alone; the ping has ended, and no store is involved."""
    ping = Envelope(uid="p", timestamp=int(time.time()), expiration=40, plain=b"")
    ping.source.twin = 7
    ping.ping.SetInParent()
    async with link_client(bed, 7) as a:
        await a.send(ping)
        _, pong = await a.receive()
        assert (pong.uid, pong.WhichOneof("message"), pong.plain) == ("p", "pong", b"hello world")
        assert await a.outcome("p") == IS_AT_PEER


async def test_more_pings_than_may_be_on_their_way(bed: TestBed) -> None:
    """A client that settles no pong gets as many as its window holds; the rest follow when it does."""
    ping = request(7, 0)
    ping.ping.SetInParent()
    async with link_client(bed, 7, window=Window(3, 10_000), auto=False) as a:
        for n in range(10):
            ping.uid = f"p{n}"
            await a.send(ping)
        for n in range(10):
            number, pong = await a.receive()
            assert pong.uid == f"p{n}"
            await a.settle(number)
        assert await a.outcome("p9") == IS_AT_PEER


# --- refusals ---------------------------------------------------------------------------------------------------------


async def test_refusals_have_the_texts_of_rmb_1(bed: TestBed) -> None:
    """As outcomes, each about its own envelope, for responses too; nothing else comes."""
    bed.directory.add(5, ())
    bed.directory.add(6, ("elsewhere.test",))
    bed.directory.failing[4] = "registry: down"
    expired = request(7, 9, "expired")
    expired.timestamp -= 1000
    expected = {
        "source": "message wrong source",
        "nobody": "message with missing destination",
        "expired": "message has expired",
        "unknown": "unknown twin destination",
        "norelay": "relay info is not set for this twin",
        "offline": "destination offline",
        "failing": "registry: down",
        "foreign": "destination twin 6 uses other relays (elsewhere.test): this relay does not forward to other relays",
    }
    async with link_client(bed, 7) as a:
        await a.warm()
        await a.send(
            request(9, 7, "source"),
            request(7, 0, "nobody"),
            expired,
            response(7, 4711, "unknown"),
            request(7, 5, "norelay"),
            request(7, 9, "offline", tags="fail-fast"),
            request(7, 4, "failing"),
            request(7, 6, "foreign"),
            request(7, 7, "good"),
        )
        assert await a.outcome("good") == IS_AT_PEER
        for uid, text in expected.items():
            outcome = await a.outcome(uid)
            assert (outcome.ending, outcome.code, outcome.reason) == (Ending.REFUSED, 0, text)
            assert outcome.retry_after_ms == (1000 if uid == "failing" else 0)
        assert a.got == ["good"]


async def test_what_is_no_envelope_is_refused_alone(bed: TestBed) -> None:
    """In a good frame: the others of the frame go their way, and the connection stays."""
    async with link_client(bed, 7) as a:
        await a.warm()
        a.link.put("bad", b"\xff")
        await a.send(request(7, 7, "good"))
        outcome = await a.outcome("bad")
        assert (outcome.ending, outcome.code) == (Ending.REFUSED, 101)
        assert outcome.reason.startswith("invalid message payload data: ")
        assert await a.outcome("good") == IS_AT_PEER


async def test_sizes(tmp_path: Path) -> None:
    """An envelope of the largest size passes, a larger one is refused, a frame beyond all limits ends the link."""
    async with (
        relay(tmp_path, Directory(7), message_bytes_max=300_000, direct_s_max=600.0) as bed,
        link_client(bed, 7) as a,
    ):
        await a.warm()
        size = 300_000 - len(request(7, 7, "u", payload=b"x" * 299_000).SerializeToString()) + 299_000
        await a.send(request(7, 7, "u", payload=bytes(size)), request(7, 7, "v", payload=bytes(size + 1)))
        assert await a.outcome("u") == IS_AT_PEER
        assert await a.outcome("v") == Outcome(
            Ending.REFUSED, 413, "message is too large: at most 300000 bytes are accepted"
        )
        await a.socket.send(bytes(frame_bytes_max(300_000) + 1))
        assert (await a.closed())[0] == 1009


async def test_rate_limits_count_envelopes(tmp_path: Path) -> None:
    """Not frames; the refusal says when the next window begins."""
    now_s = time.time() // 60 * 60 + 10.0
    limit = RateLimit(3, 100_000)
    async with (
        relay(tmp_path, Directory(7), rate_limit=limit, now_s=lambda: now_s) as bed,
        link_client(bed, 7) as a,
    ):
        envelopes = [request(7, 7, f"m{n}") for n in range(4)]
        for envelope in envelopes:
            envelope.timestamp = int(now_s)
        await a.send(*envelopes)
        assert (await a.outcome("m2")).ending is not Ending.REFUSED
        outcome = await a.outcome("m3")
        assert outcome.reason == "exceeded rate limits, dropping message"
        assert outcome.retry_after_ms == 50_001


async def test_a_full_mailbox_says_when_to_try_again(bed: TestBed) -> None:
    """What is new is refused."""
    store = bed.store.pipeline(transaction=False)
    for _ in range(ENTRIES_MAX):
        store.xadd("stream:9", {"_": b"x"})
    await store.execute()
    async with link_client(bed, 7) as a:
        await a.send(request(7, 9))
        outcome = await a.outcome("u-1")
        text = f"failed to route message to peer '9': mailbox is full: {ENTRIES_MAX} messages wait; try again in 5 s"
        assert outcome == Outcome(Ending.REFUSED, 0, text, 5000)


# --- rules ------------------------------------------------------------------------------------------------------------

WRONG = {
    "noise": b"\xff\xff",
    "no window": b"",
    "gap": b"\x08\x02\x12\x00\x2a\x04\x08\x01\x10\x01",
    "acknowledges what was never sent": b"\x18\x01\x2a\x04\x08\x01\x10\x01",
}


@pytest.mark.parametrize("frame", WRONG.values(), ids=WRONG.keys())
async def test_broken_rules_end_the_connection(bed: TestBed, frame: bytes) -> None:
    """With 1002 and a reason; the session is gone at once."""
    async with bed.client(7, subprotocols=["rmb.2"]) as client:
        await client.recv()
        await client.send(frame)
        await client.wait_closed()
        assert client.protocol.close_rcvd is not None
        assert client.protocol.close_rcvd.code == 1002
        assert client.protocol.close_rcvd.reason.startswith("rules of the link broken: ")
        await until(lambda: bed.app.metrics.sessions() == 0)


async def test_a_broken_rule_loses_nothing(bed: TestBed) -> None:
    """What was on its way to the offender waits in its mailbox, in order; what it sent before goes its way."""
    async with link_client(bed, 7) as a:
        async with link_client(bed, 9, auto=False) as b:
            await a.send(*(request(7, 9, f"m{n}") for n in range(5)))
            await b.receive_uids(5)
            await b.send(request(9, 7, "before"))
            await b.socket.send(b"\xff")
            assert (await b.closed())[0] == 1002
        assert await a.receive_uids(1) == ["before"]
        assert await a.outcome("m4") == IS_SAFE
    async with link_client(bed, 9) as b:
        assert await b.receive_uids(5) == [f"m{n}" for n in range(5)]


async def test_a_text_frame_ends_the_link(bed: TestBed) -> None:
    """As in rmb.1, with 1003."""
    async with link_client(bed, 7) as a:
        await a.socket.send("text")
        assert (await a.closed())[0] == 1003


async def test_more_than_the_window_ends_the_link(bed: TestBed) -> None:
    """The relay's window is said in its first frame, and counts."""
    async with link_client(bed, 9, auto=False), link_client(bed, 7) as a:
        await until(lambda: a.link.outgoing.window.messages > 64)
        a.link.outgoing.window = Window(10_000, 10**9)
        data = request(7, 9).SerializeToString()
        for n in range(4097):
            a.link.put(f"m{n}", data)
        await a.flush()
        assert (await a.closed())[0] == 1002


# --- slow and dead clients --------------------------------------------------------------------------------------------


async def test_a_slow_reader_costs_bounded_memory_and_holds_up_nobody(tmp_path: Path) -> None:
    """What one client does not settle fills its window and a short queue, then its mailbox; others go on."""
    uids = [f"m{n}" for n in range(1500)]
    async with (
        relay(tmp_path, Directory(7, 8, 9), direct_s_max=600.0) as bed,
        link_client(bed, 7) as a,
        link_client(bed, 8) as other,
        link_client(bed, 9, window=Window(100, 10**6), auto=False) as slow,
    ):
        await other.warm()
        await a.send(*(request(7, 9, uid, payload=bytes(1000)) for uid in uids))
        assert await a.outcome(uids[-1]) == IS_SAFE
        assert len(slow.got) <= 100
        await a.send(request(7, 8, "unaffected"))
        assert await a.outcome("unaffected") == IS_AT_PEER
        came = []
        for _ in uids:
            number, envelope = await slow.receive()
            came.append(envelope.uid)
            await slow.settle(number)
        assert came == uids
        await until(lambda: is_empty(bed, "9"))


async def test_nobody_gets_more_at_once_than_the_relay_wants_to_hold(bed: TestBed) -> None:
    """However large a window a client says."""
    boundless = Window(2**32 - 1, 2**63)
    async with link_client(bed, 7) as a, link_client(bed, 9, window=boundless, auto=False) as b:
        size = 100_000
        for n in range(120):
            await a.send(request(7, 9, f"m{n}", payload=bytes(size)))
        await a.send(request(7, 0, "marker"))
        await a.outcome("marker")
        assert len(b.got) * size <= IN_FLIGHT.size_bytes
        await b.settle(*range(1, len(b.got) + 1))


async def test_mute_clients_are_dropped_and_lose_nothing(tmp_path: Path) -> None:
    """WebSocket pings are for liveness: without a pong the connection ends, and what it had comes again."""
    quick = Rhythm(idle_s=0.5, dead_s=4.0, gap_s=0.01)
    async with relay(tmp_path, Directory(7, 9), rhythm=quick) as bed, link_client(bed, 7) as a:
        async with link_client(bed, 9, auto=False) as b:
            await a.send(request(7, 9))
            await b.receive_uids(1)
            b.socket.transport.pause_reading()
            assert await a.outcome("u-1") == IS_SAFE
            await until(lambda: bed.app.metrics.sessions() == 1)
            b.abort()
        async with link_client(bed, 9) as b:
            assert await b.receive_uids(1) == ["u-1"]


async def test_frames_are_batched(bed: TestBed) -> None:
    """What comes together leaves together, in far fewer frames than envelopes."""
    async with link_client(bed, 7) as a, link_client(bed, 9) as b:
        await b.warm()
        before = bed.app.metrics.link_frames_out
        await a.send(*(request(7, 9, f"m{n}") for n in range(200)))
        assert await b.receive_uids(200) == [f"m{n}" for n in range(200)]
        await a.outcome("m199")
        assert bed.app.metrics.link_frames_out - before <= 8


async def test_metrics_count_endings(bed: TestBed) -> None:
    """By how they ended; frames in both directions."""
    metrics = bed.app.metrics
    frames = metrics.link_frames_in, metrics.link_frames_out
    async with link_client(bed, 7) as a:
        await a.warm()
        before = list(metrics.endings)
        await a.send(request(7, 7, "at peer"), request(7, 9, "safe"), request(7, 0, "refused"))
        for uid in ("at peer", "safe", "refused"):
            await a.outcome(uid)
    assert metrics.endings == [count + 1 for count in before]
    assert metrics.link_frames_in > frames[0] and metrics.link_frames_out > frames[1]
    text = metrics.text().decode()
    for ending, count in zip(("safe", "at_peer", "refused"), metrics.endings, strict=True):
        assert metric(text, f'relay_link_endings_total{{ending="{ending}"}}') == count
    assert metric(text, 'relay_link_frames_total{direction="in"}') == metrics.link_frames_in
    assert metric(text, "relay_direct_total") == metrics.direct > 0
    assert metric(text, "relay_backed_up_total") == metrics.backed_up


async def test_rmb_1_beside_it_is_undisturbed(bed: TestBed) -> None:
    """A pair that speaks rmb.1 sees nothing of the other way."""
    async with bed.client(7) as a, bed.client(9) as b, link_client(bed, 9, "x"):
        await send(a, request(7, 9))
        assert (await receive(b)).uid == "u-1"
        await next_is_marker(a, "7")
        await asyncio.wait_for(await b.ping(), 10)
