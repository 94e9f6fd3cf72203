"""Whatever strangers send: an answer or a documented error, never a crash."""

import asyncio
from collections.abc import Callable, Coroutine

from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from relay.delivery import Delivery
from relay.federation.inbound import accept_post
from relay.intake import Exchange, Intake
from relay.limits import RateLimiter
from relay.memory_mailboxes import MemoryMailboxes
from relay.metrics import Metrics
from relay.sessions import Sessions
from relay.signin import SignInRefused, sign_in
from relay.websocket import BadHandshake, check_handshake, wants_websocket
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.envelope import Envelope, parse_envelope
from rmb_peer.protocol.errors import InvalidPayloadData
from tests.support.relay import DOMAIN, Directory

NOW_S = 1_700_000_000

addresses = st.builds(
    lambda twin, session: (twin, session),
    st.sampled_from([0, 7, 9, 2**32 - 1]),
    st.none() | st.just("") | st.text(max_size=5),
)


@st.composite
def envelopes(draw: st.DrawFn) -> Envelope:
    """Any envelope, likely ones more often."""
    envelope = Envelope(
        uid=draw(st.text(max_size=5)),
        timestamp=draw(st.sampled_from([0, NOW_S, NOW_S - 400, 2**64 - 1])),
        expiration=draw(st.sampled_from([0, 300, 2**64 - 1])),
    )
    for field in ("source", "destination"):
        if draw(st.booleans()):
            twin, session = draw(addresses)
            address = getattr(envelope, field)
            address.SetInParent()
            address.twin = twin
            if session is not None:
                address.connection = session
    if kind := draw(st.sampled_from([None, "request", "response", "error", "ping", "pong"])):
        getattr(envelope, kind).SetInParent()
    if draw(st.booleans()):
        envelope.tags = draw(st.sampled_from(["", "fail-fast", "a,b"]) | st.text(max_size=5))
    if draw(st.booleans()):
        envelope.signature = draw(st.sampled_from([b"", bytes(65)]) | st.binary(max_size=70))
    if draw(st.booleans()):
        envelope.plain = draw(st.binary(max_size=10))
    return envelope


frames = st.binary(max_size=60) | envelopes().map(Envelope.SerializeToString)


def exchange(limiter: RateLimiter | None = None) -> Exchange:
    metrics, sessions = Metrics(), Sessions(10)
    return Exchange(
        delivery=Delivery(MemoryMailboxes(), sessions, metrics),
        lookup=Directory(7, 9),
        domains=frozenset({DOMAIN}),
        limiter=limiter,
        metrics=metrics,
        now_s=lambda: NOW_S,
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(frames, max_size=5), st.booleans())
def test_any_frame_of_a_client(data: list[bytes], limited: bool) -> None:
    """Taken, or refused as no envelope; every envelope that leaves for the client is well-formed and unsigned."""

    async def play() -> None:
        limiter = RateLimiter(3, 100, 10)
        limiter.connect(7)
        shared = exchange(limiter if limited else None)
        replies: list[bytes] = []
        dealt_with: list[int] = []
        async with asyncio.TaskGroup() as tasks:
            spawn: Callable[[Coroutine[None, None, None]], object] = tasks.create_task
            intake = Intake(Address(7), shared, replies.append, spawn, dealt_with.append)
            for frame in data:
                try:
                    intake.frame(frame)
                except InvalidPayloadData:
                    continue
                await asyncio.wait_for(intake.room(), 5)
        while len(dealt_with) < intake.frames:
            await asyncio.sleep(0)
        assert sorted(dealt_with) == list(range(1, intake.frames + 1))
        for reply in replies:
            assert parse_envelope(reply).WhichOneof("message") in ("pong", "error")

    asyncio.run(play())


@settings(max_examples=150, deadline=None)
@given(frames)
def test_any_body_of_a_relay(data: bytes) -> None:
    """202, 400 or 404; what is refused leaves nothing in the store."""

    async def play() -> None:
        shared = exchange()
        answer = await accept_post(data, shared)
        await asyncio.sleep(0)
        assert answer.status in (202, 400, 404)
        assert (answer.status == 202) == (shared.metrics.message_rx == 1)
        assert (answer.text == "") == (answer.status == 202)

    asyncio.run(play())


@given(st.text(max_size=60) | st.from_regex(r"[A-Za-z0-9_-]{0,20}(\.[A-Za-z0-9_-]{0,20}){0,3}", fullmatch=True))
def test_any_token(query: str) -> None:
    """Refused with 400 or 401."""
    try:
        asyncio.run(sign_in(query, Directory(7), NOW_S))
        raise AssertionError("nobody signed this")
    except SignInRefused as refused:
        assert refused.status in (400, 401)


@given(
    st.dictionaries(st.sampled_from(["Connection", "Upgrade", "Sec-WebSocket-Key", "Sec-WebSocket-Version"]), st.text())
)
def test_any_headers(fields: dict[str, str]) -> None:
    """Decided without a crash."""
    headers = CIMultiDictProxy(CIMultiDict(fields))
    assert wants_websocket(headers) in (True, False)
    try:
        check_handshake(headers)
    except BadHandshake as error:
        assert "Sec-WebSocket" in str(error)
