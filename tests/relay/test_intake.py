"""What a relay does with each frame of a client: spec rmb 6.3, 6.4, 6.5, seen from the wire by clients not of ours."""

import asyncio
import logging
import time

import pytest
from websockets.exceptions import ConnectionClosed

from relay.config import RateLimit
from relay.mailbox_scripts import KEEP_LONGER_S
from relay.mailboxes import ENTRIES_MAX, SLACK_S
from relay.switch import SESSION_CHARS_MAX
from rmb_peer.protocol.envelope import Envelope, parse_envelope
from rmb_peer.protocol.held_pongs import PINGS_HELD_MAX
from tests.support.relay import (
    PATIENCE_S,
    Directory,
    LogLines,
    TestBed,
    next_is_marker,
    receive,
    receive_error,
    relay,
    request,
    response,
    send,
    until,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


# --- 6.3 --------------------------------------------------------------------------------------------------------------


async def test_step1_a_text_frame_closes(bed: TestBed) -> None:
    """Only binary frames are messages."""
    async with bed.client(7) as client:
        await client.send("text")
        with pytest.raises(ConnectionClosed) as closed:
            await receive(client)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1003


async def test_step1_websocket_pings_are_answered(bed: TestBed) -> None:
    """With a pong of the same content."""
    async with bed.client(7) as client:
        await asyncio.wait_for(await client.ping(b"are you there"), PATIENCE_S)


async def test_a_websocket_ping_is_answered_when_what_came_before_is_stored(bed: TestBed) -> None:
    """So a gateway that sends again what no pong confirms loses nothing when the relay is killed."""
    async with bed.client(7) as client:
        await bed.store.client_pause(60_000, all=False)  # writes wait; reads do not
        try:
            await send(client, request(7, 9))
            pong = asyncio.ensure_future(await client.ping(b"is it safe?"))
            await send(client, ping_of("7"))
            assert (await receive(client)).WhichOneof("message") == "pong"
            assert not pong.done()
        finally:
            await bed.store.client_unpause()
        await asyncio.wait_for(pong, PATIENCE_S)
        assert len(await bed.waiting("9")) == 1


async def test_a_flood_of_websocket_pings_that_have_to_wait(bed: TestBed) -> None:
    """The latest is answered, which is enough for all (RFC 6455, 5.5.3)."""
    async with bed.client(7) as client:
        await bed.store.client_pause(60_000, all=False)
        try:
            await send(client, request(7, 9))
            for number in range(10 * PINGS_HELD_MAX):
                last = await client.ping(b"%d" % number)
            await send(client, ping_of("7"))
            assert (await receive(client)).WhichOneof("message") == "pong"
        finally:
            await bed.store.client_unpause()
        await asyncio.wait_for(last, PATIENCE_S)


@pytest.mark.parametrize("data", [b"\xff", b"no envelope", b"\x0a\x05abc", b"\x0a\x02\xff\xfe"])
async def test_c8_step2_a_malformed_frame_ends_the_connection_and_its_registration(bed: TestBed, data: bytes) -> None:
    """No error envelope, and the identity is offline at once, so that fail-fast does not lie (10.4)."""
    async with bed.client(9) as sender, bed.client(7) as client:
        await client.send(data)
        with pytest.raises(ConnectionClosed) as closed:
            await receive(client)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1007
        await until(lambda: bed.app.metrics.sessions() == 1)
        await send(sender, request(9, 7, tags="fail-fast"))
        assert await receive_error(sender) == "destination offline"


@pytest.mark.parametrize(
    ("session", "source"),
    [
        (None, "9"),
        (None, "7:"),
        (None, "7:x"),
        (None, None),
        ("", "7"),
        ("x", "7"),
        ("x", "7:"),
        ("x", "7:y"),
        ("x", "9:x"),
        ("x", "0"),
    ],
)
async def test_c5_step4_wrong_source(bed: TestBed, session: str | None, source: str | None) -> None:
    """A wrong twin, a wrong, missing or extra session id, and no source at all are refused; nothing is filled in."""
    async with bed.client(7, session) as client, bed.client(9) as other:
        envelope = request(source or 0, 9)
        if source is None:
            envelope.ClearField("source")
        await send(client, envelope)
        assert await receive_error(client) == "message wrong source"
        await next_is_marker(other, "9")


@pytest.mark.parametrize("session", [None, "", "js"])
async def test_step4_the_right_source_passes(bed: TestBed, session: str | None) -> None:
    """Twin and session id of the token, absent and empty told apart."""
    async with bed.client(7, session) as client, bed.client(9) as other:
        await send(client, request("7" if session is None else f"7:{session}", 9))
        assert (await receive(other)).uid == "u-1"


@pytest.mark.parametrize("destination", [0, "0:x", None])
async def test_step6_missing_destination(bed: TestBed, destination: int | str | None) -> None:
    """Twin 0 or no destination."""
    async with bed.client(7) as client:
        envelope = request(7, destination or 0)
        if destination is None:
            envelope.ClearField("destination")
        await send(client, envelope)
        assert await receive_error(client) == "message with missing destination"


async def test_a_session_id_that_nobody_can_have(bed: TestBed) -> None:
    """Addresses are bounded, since they become keys of the store."""
    async with bed.client(7) as client:
        await send(client, request(7, "9:" + "s" * (SESSION_CHARS_MAX + 1)))
        assert await receive_error(client) == "session id of the destination has more than 4096 characters"
    assert await bed.keys() == {b"stream:7"}


@pytest.mark.parametrize("session", [None, "", "js"])
async def test_c6_the_error_envelope_of_a_relay(bed: TestBed, session: str | None) -> None:
    """Exactly: the request's uid, now, expiration 300, code 0, the text, addressed to the session; nothing else."""
    async with bed.client(7, session) as client:
        await send(client, request("7" if session is None else f"7:{session}", 4711, "the-uid", tags="t", schema="s"))
        data = await client.recv()
    assert isinstance(data, bytes)
    error = parse_envelope(data)
    assert abs(error.timestamp - time.time()) < 5
    expected = Envelope(uid="the-uid", timestamp=error.timestamp, expiration=300)
    expected.destination.twin = 7
    if session is not None:
        expected.destination.connection = session
    expected.error.message = "unknown twin destination"
    assert data == expected.SerializeToString()
    assert not error.HasField("source") and not error.HasField("signature") and error.WhichOneof("payload") is None
    assert error.error.code == 0


@pytest.mark.parametrize("kind", ["response", "error", "pong", None])
@pytest.mark.parametrize("destination", [0, 4711])
async def test_c6_only_requests_are_answered_with_errors(bed: TestBed, kind: str | None, destination: int) -> None:
    """Failed responses, errors and the rest vanish without an answer."""
    async with bed.client(7) as client:
        envelope = request(7, destination)
        envelope.ClearField("request")
        if kind is not None:
            getattr(envelope, kind).SetInParent()
        await send(client, envelope)
        await next_is_marker(client, "7")


# --- 6.4 --------------------------------------------------------------------------------------------------------------


async def test_step1_a_connected_destination_gets_the_same_bytes(bed: TestBed) -> None:
    """Forwarded as received, unknown fields and odd field order included; no look-up is made (2.2)."""
    async with bed.client(7) as client, bed.client(9) as other:
        bed.directory.reset()
        data = b"\xa2\x06\x03odd" + request(7, 9, payload=b"x" * 1000).SerializeToString() + b"\x18\x01"
        data += request(7, 9).SerializeToString()
        await client.send(data)
        assert await asyncio.wait_for(other.recv(), PATIENCE_S) == data
        assert bed.directory.asked == {}


@pytest.mark.parametrize("payload", [b"", b"x" * 65_536, bytes(4 * 1024 * 1024)])
async def test_payloads_of_all_sizes(bed: TestBed, payload: bytes) -> None:
    """From nothing to 4 MiB."""
    async with bed.client(7) as client, bed.client(9) as other:
        data = await send(client, request(7, 9, payload=payload))
        assert await asyncio.wait_for(other.recv(), PATIENCE_S) == data


async def test_fragmented_messages_are_reassembled(bed: TestBed) -> None:
    """The Go SDK sends large messages as many small frames (2.2)."""
    async with bed.client(7) as client, bed.client(9) as other:
        data = request(7, 9, payload=b"x" * 10_000).SerializeToString()
        await client.send([data[n : n + 100] for n in range(0, len(data), 100)])
        assert await asyncio.wait_for(other.recv(), PATIENCE_S) == data


async def test_step1_is_about_the_exact_identity(bed: TestBed) -> None:
    """A session of the same twin with another session id does not count as the destination."""
    async with bed.client(7) as client, bed.client(9, "a") as other:
        await send(client, request(7, 9, "to-none"))
        await send(client, request(7, "9:a", "to-a"))
        await send(client, request(7, "9:", "to-empty"))
        assert (await receive(other)).uid == "to-a"
        await until(lambda: bed.keys_are("stream:9", "stream:9:", "stream:9:a"))
        await next_is_marker(other, "9:a")


async def test_step2_unknown_destination(bed: TestBed) -> None:
    """No such twin."""
    async with bed.client(7) as client:
        await send(client, request(7, 4711))
        assert await receive_error(client) == "unknown twin destination"


async def test_step2_destination_without_relay(bed: TestBed) -> None:
    """A twin whose record names no relay."""
    bed.directory.add(9, relays=())
    async with bed.client(7) as client:
        await send(client, request(7, 9))
        assert await receive_error(client) == "relay info is not set for this twin"


async def test_step2_lookup_error(bed: TestBed) -> None:
    """The registry's own text reaches the requester."""
    bed.directory.failing[9] = "chain down"
    async with bed.client(7) as client:
        await send(client, request(7, 9))
        assert await receive_error(client) == "chain down"


async def test_step3_foreign_destination(bed: TestBed) -> None:
    """It uses other relays; the error names them."""
    bed.directory.add(9, relays=("b.example.org", "a.example.org:8080"))
    async with bed.client(7) as client:
        await send(client, request(7, 9, tags="fail-fast"))
        assert await receive_error(client) == (
            "destination twin 9 uses other relays (a.example.org:8080, b.example.org): "
            "this relay does not forward to other relays"
        )
    assert b"stream:9" not in await bed.keys()


@pytest.mark.parametrize(
    ("tags", "refused"),
    [("fail-fast", True), ("a,fail-fast b", True), ("Fail-Fast", False), ("fail-fastx", False), (None, False)],
)
async def test_c10_step4_fail_fast(bed: TestBed, tags: str | None, refused: bool) -> None:
    """An offline destination: refused with the tag, stored without."""
    async with bed.client(7) as client:
        data = await send(client, request(7, 9, tags=tags))
        if refused:
            assert await receive_error(client) == "destination offline"
        await next_is_marker(client, "7")
        assert await bed.waiting("9") == ([] if refused else [data])


async def test_step4_fail_fast_to_a_connected_destination(bed: TestBed) -> None:
    """The tag changes nothing when the destination is there."""
    async with bed.client(7) as client, bed.client(9) as other:
        await send(client, request(7, 9, tags="fail-fast"))
        assert (await receive(other)).uid == "u-1"


async def test_step5_the_store_refuses(bed: TestBed) -> None:
    """The requester is told why, on its own connection, and stays connected."""
    await bed.store.set("stream:9", "in the way")
    async with bed.client(7) as client:
        await send(client, request(7, 9))
        text = await receive_error(client)
        assert text.startswith("failed to route message to peer '9': redis error: WRONGTYPE")
        await next_is_marker(client, "7")


async def test_step5_the_mailbox_is_full(bed: TestBed) -> None:
    """Nothing is pushed out silently: the requester is told, and what waits stays (10.5)."""
    async with bed.store.pipeline() as pipeline:
        for n in range(ENTRIES_MAX):
            pipeline.xadd("stream:9", {"_": str(n)})
        await pipeline.execute()
    async with bed.client(7) as client:
        await send(client, request(7, 9))
        text = "failed to route message to peer '9': mailbox is full: 10000 messages wait; try again in 5 s"
        assert await receive_error(client) == text
    assert (await bed.waiting("9"))[0] == b"0"


async def test_expired_envelopes_are_refused(bed: TestBed) -> None:
    """Neither delivered nor stored, connected or not; the requester is told."""
    async with bed.client(7) as client, bed.client(9) as other:
        for destination in (9, "9:away"):
            envelope = request(7, destination, "late")
            envelope.timestamp -= 301
            await send(client, envelope)
            assert await receive_error(client) == "message has expired"
        await next_is_marker(other, "9")
    assert b"stream:9:away" not in await bed.keys()


async def test_a_long_lifetime_keeps_the_mailbox(bed: TestBed) -> None:
    """The mailbox of an absent twin lives as long as what waits in it."""
    async with bed.client(7) as client:
        envelope = request(7, 9)
        envelope.expiration = 10_000
        await send(client, envelope)
        await until(lambda: bed.keys_are("stream:9"))
    assert 9_900 < await bed.store.ttl("stream:9") - SLACK_S - KEEP_LONGER_S <= 10_000


async def test_a_slow_lookup_holds_up_neither_others_nor_the_order(bed: TestBed) -> None:
    """While one destination is looked up, others get theirs; then its envelopes arrive in their order."""
    bed.directory.add(8)
    bed.directory.uncached.add(9)
    gate = bed.directory.first_gates[9] = asyncio.Event()
    async with bed.client(7) as client, bed.client(8) as other:
        first = [await send(client, request(7, 9, f"slow-{n}")) for n in range(3)]
        await send(client, request(7, 8, "fast"))
        assert (await receive(other)).uid == "fast"
        async with bed.client(9) as late:  # connected meanwhile: must not overtake what waits
            first.append(await send(client, request(7, 9, "slow-3")))
            await send(client, request(7, 8, "handled"))
            assert (await receive(other)).uid == "handled"
            gate.set()
            assert [await asyncio.wait_for(late.recv(), PATIENCE_S) for _ in first] == first


async def test_a_sender_that_leaves_during_a_lookup_loses_nothing(bed: TestBed) -> None:
    """What was taken from a client is stored even if the client has gone when its destination is known."""
    gate = bed.directory.gates[9] = asyncio.Event()
    async with bed.client(7) as client:
        data = await send(client, request(7, 9))
        await until(lambda: bed.directory.asked.get(9))
    gate.set()
    await until(lambda: bed.keys_are("stream:9"))
    assert await bed.waiting("9") == [data]


# --- 6.5 --------------------------------------------------------------------------------------------------------------


def ping_of(source: str, **fields: object) -> Envelope:
    envelope = Envelope(uid="p-1", timestamp=int(time.time()), expiration=40, **fields)  # type: ignore[arg-type]
    envelope.source.CopyFrom(request(source, 9).source)
    envelope.destination.SetInParent()
    envelope.ping.SetInParent()
    return envelope


@pytest.mark.parametrize(
    ("fields", "payload"),
    [({}, b"hello world"), ({"plain": b"hi "}, b"hi hello world"), ({"cipher": b"sealed"}, b"hello world")],
)
async def test_c7_envelope_ping(bed: TestBed, fields: dict[str, object], payload: bytes) -> None:
    """Addresses swapped, text appended, everything else kept; sent back to the same session and to nobody else."""
    async with bed.client(7, "js") as client, bed.client(7) as sibling, bed.client(9) as other:
        ping = ping_of("7:js", schema="application/json", tags="", signature=b"stale", **fields)
        await send(client, ping)
        pong = await receive(client)
        expected = Envelope()
        expected.CopyFrom(ping)
        expected.pong.SetInParent()
        expected.plain = payload
        expected.source.CopyFrom(ping.destination)
        expected.destination.CopyFrom(ping.source)
        assert pong == expected
        await next_is_marker(sibling, "7")
        await next_is_marker(other, "9")


async def test_c7_ping_in_the_bytes_of_the_spec(bed: TestBed) -> None:
    """Appendix A.6: the pong of the example, to the byte."""
    async with bed.client(7, "js") as client:
        await client.send(bytes.fromhex("0a03702d311884e2cfaa0620282a06080712026a7332007a00"))
        data = await asyncio.wait_for(client.recv(), PATIENCE_S)
        assert data == bytes.fromhex("0a03702d311884e2cfaa0620282a003206080712026a736a0b68656c6c6f20776f726c64820100")


async def test_ping_needs_the_right_source_and_no_destination(bed: TestBed) -> None:
    """A wrong source gets no pong, nor an error, since a ping is no request; a real destination gets nothing."""
    async with bed.client(7) as client, bed.client(9) as other:
        await send(client, ping_of("9"))
        ping = ping_of("7")
        ping.destination.twin = 9
        ping.uid = "p-2"
        await send(client, ping)
        assert (await receive(client)).uid == "p-2"
        await next_is_marker(other, "9")


async def test_pongs_need_no_store(bed: TestBed) -> None:
    """A client that checks its link does not depend on the mailboxes; nothing is stored."""
    await bed.store.set("stream:7", "in the way")
    async with bed.client(7) as client:
        await send(client, ping_of("7"))
        assert (await receive(client)).WhichOneof("message") == "pong"


# --- rate limits, 6.9 -------------------------------------------------------------------------------------------------


async def test_c12_step3_rate_limit(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Beyond the limit messages are dropped with an error and the connection stays; pings count, too."""
    limit = RateLimit(frames=3, bytes=10_000)
    frozen_s = time.time()  # no window ends during the test
    folder = tmp_path_factory.mktemp("limit")
    async with (
        relay(folder, Directory(7, 9), now_s=lambda: frozen_s, rate_limit=limit) as bed,
        bed.client(7) as client,
        bed.client(9) as other,
    ):
        await send(client, request(7, 9, "1"))
        await send(client, ping_of("7"))
        await send(client, response(7, 9, "3"))
        await send(client, request(7, 9, "4"))
        assert [(await receive(other)).uid for _ in range(2)] == ["1", "3"]
        assert (await receive(client)).uid == "p-1"
        error = await receive(client)
        assert (error.uid, error.error.message) == ("4", "exceeded rate limits, dropping message")
        await send(client, request("8", 9, "5"))
        error = await receive(client)  # the limit is checked before the source
        assert (error.uid, error.error.message) == ("5", "exceeded rate limits, dropping message")
        await send(other, request(9, 7, "other twins are free", payload=bytes(9000)))
        assert (await receive(client)).uid == "other twins are free"
        await send(other, request(9, 7, "too large by itself", payload=bytes(10_001)))
        assert await receive_error(other) == "exceeded rate limits, dropping message"


# --- what tracing reads -----------------------------------------------------------------------------------------------


async def test_a_line_per_step_at_debug(bed: TestBed) -> None:
    """`routed` and `written` say what went where; fields are those that tracing parses."""
    with LogLines("rmb.relay") as lines:
        async with bed.client(7) as client:
            await send(client, request(7, "9:away", "stored"))
            await send(client, request(7, 4711, "refused"))
            assert await receive_error(client) == "unknown twin destination"
            async with bed.client(9) as other:
                await send(client, response(7, 9, "direct"))
                await receive(other)
            await send(client, ping_of("7"))
            await receive(client)
    routed = {line["uid"]: line for line in lines.named("routed")}
    base = {"event": "routed", "level": logging.DEBUG, "source": "7"}
    assert routed["stored"] == base | {
        "uid": "stored", "destination": "9:away", "kind": "request", "how": "mailbox", "reason": None
    }  # fmt: skip
    assert routed["refused"] == base | {
        "uid": "refused", "destination": "4711", "kind": "request", "how": "refused",
        "reason": "unknown twin destination",
    }  # fmt: skip
    assert routed["direct"] == base | {
        "uid": "direct", "destination": "9", "kind": "response", "how": "session", "reason": None
    }  # fmt: skip
    assert (routed["p-1"]["how"], routed["p-1"]["kind"]) == ("pong", "ping")
    assert [line["destination"] for line in lines.named("written")] == ["7", "9"]
    assert all("-" in line["id"] for line in lines.named("written"))


async def test_strange_names_do_not_break_the_log(bed: TestBed) -> None:
    """Line breaks in a session id stay inside their field, and long uids are cut."""
    with LogLines("rmb.relay") as lines:
        async with bed.client(7, "a\nb") as client:
            await send(client, request("7:a\nb", 4711, "u" * 1000))
            await receive_error(client)
    (line,) = lines.named("routed")
    assert line["source"] == r"'7:a\nb'"
    assert len(line["uid"]) == 64
    assert lines.named("session opened")[0]["session"] == r"'7:a\nb'"
