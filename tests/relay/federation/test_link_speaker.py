"""The link to another relay, seen from the far end: what goes out, in which order, and what becomes of it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest

from relay.federation.link_speaker import LinkRefused, LinkSpeaker, Way
from relay.federation.places import PlaceRefused
from relay.federation.speaker import Accepted, Outcome, Queued, Refused, TryAgain
from rmb_peer.protocol.heartbeat import Rhythm
from rmb_peer.protocol.link.endings import IS_AT_PEER, IS_SAFE, Ending, Window
from rmb_peer.protocol.link.endings import Outcome as Ended
from rmb_peer.protocol.pb import link_pb2 as pb
from tests.support.far_relay import FarRelay, far_relay
from tests.support.relay import PATIENCE_S, request, until

NAME = "far.test"


def queued(uid: str, twin: int = 9, payload: bytes = b"") -> Queued:
    return Queued(uid, request(7, twin, uid, payload=payload).SerializeToString(), 2**40)


def batch(size: int) -> list[Queued]:
    return [queued(f"m{n}") for n in range(size)]


def is_again(outcome: Outcome, reason: str) -> bool:
    return isinstance(outcome, TryAgain) and outcome.reason == reason


@asynccontextmanager
async def link(far: FarRelay, **options: Any) -> AsyncIterator[LinkSpeaker]:
    numbers = count()
    speaker = LinkSpeaker(NAME, far.way, lambda: {"X-Proof": str(next(numbers))}, **options)
    try:
        yield speaker
    finally:
        await speaker.close()


async def finished(delivering: "asyncio.Task[Sequence[Outcome]]") -> Sequence[Outcome]:
    async with asyncio.timeout(PATIENCE_S):
        return await delivering


# --- what goes well ---------------------------------------------------------------------------------------------------


async def test_many_in_few_frames() -> None:
    """In order, on one connection for all batches, and each batch ends."""
    async with far_relay() as far, link(far) as speaker:
        for number in range(3):
            assert await speaker.deliver(batch(200)) == [Accepted()] * 200
            assert len(far.got) == 200 * (number + 1)
        assert far.got[:200] == [f"m{n}" for n in range(200)]
        assert len(far.sockets) == 1
        assert far.frames < 20
        assert far.sockets[0].subprotocol == "rmb.2"
        assert far.upgrades[0]["X-Proof"] == "0"


async def test_nothing_is_dialled_before_there_is_something_to_say() -> None:
    """And closing what was never opened is harmless, also twice."""
    async with far_relay() as far, link(far) as speaker:
        await speaker.close()
        assert not far.upgrades


async def test_in_a_mailbox_or_at_the_peer() -> None:
    """Both are accepted: the far relay answers for it from then on."""
    async with far_relay() as far, link(far) as speaker:
        far.ends = lambda uid: IS_AT_PEER if uid == "m1" else IS_SAFE
        assert await speaker.deliver(batch(3)) == [Accepted()] * 3


async def test_the_window_is_kept() -> None:
    """No more is on its way than the far relay says; what ends makes room."""
    async with far_relay() as far, link(far) as speaker:
        far.window = Window(3, 10_000)
        far.ends = lambda uid: None
        delivering = asyncio.create_task(speaker.deliver(batch(8)))
        # Before our first frame has been heard the speaker may use `FIRST_WINDOW`, so it is let connect first.
        await far.until_got(1)
        for number in range(8):
            await far.until_got(number + 1)
            await far.end(f"m{number}")
        assert await finished(delivering) == [Accepted()] * 8
        far.got.clear()
        far.most = 0
        delivering = asyncio.create_task(speaker.deliver(batch(8)))
        for number in range(8):
            await far.until_got(number + 1)
            await far.end(f"m{number}")
        assert await finished(delivering) == [Accepted()] * 8
        assert far.most == 3
        assert len(far.sockets) == 1


async def test_an_envelope_larger_than_the_window() -> None:
    """It travels alone."""
    async with far_relay() as far, link(far) as speaker:
        far.window = Window(100, 1000)
        large = queued("large", payload=bytes(400_000))
        assert await speaker.deliver([queued("a"), large, queued("b")]) == [Accepted()] * 3
        assert far.got == ["a", "large", "b"]


async def test_an_idle_link_is_closed() -> None:
    """After a while without anything to carry; the next batch dials anew."""
    async with far_relay() as far, link(far, idle_s=0.01) as speaker:
        assert await speaker.deliver(batch(1)) == [Accepted()]
        async with asyncio.timeout(PATIENCE_S):
            await far.sockets[0].wait_closed()
        assert far.sockets[0].close_code == 1000
        assert not speaker.connected
        assert await speaker.deliver(batch(1)) == [Accepted()]
        assert len(far.sockets) == 2
        assert far.upgrades[1]["X-Proof"] == "1"


async def test_a_link_that_the_far_relay_closes_while_it_is_idle() -> None:
    """Costs nothing: the next batch dials anew."""
    async with far_relay() as far, link(far) as speaker:
        assert await speaker.deliver(batch(1)) == [Accepted()]
        await far.sockets[0].close(1001)
        await until(lambda: not speaker.connected)
        assert await speaker.deliver(batch(1)) == [Accepted()]


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ended", "outcome"),
    [
        (Ended(Ending.REFUSED, 0, "destination offline"), Refused("offline", "destination offline")),
        (Ended(Ending.REFUSED, 0, "unknown twin destination"), Refused("unknown", "unknown twin destination")),
        (Ended(Ending.REFUSED, 413, "message is too large"), Refused("too_large", "message is too large")),
        (Ended(Ending.REFUSED, 0, "some\nreason"), Refused("refused", "some reason")),
    ],
)
async def test_what_is_refused_for_ever(ended: Ended, outcome: Refused) -> None:
    """With the far relay's words, on one line, behind ours; what follows is not held up."""
    async with far_relay() as far, link(far) as speaker:
        far.ends = lambda uid: ended if uid == "m1" else IS_SAFE
        told = await speaker.deliver(batch(3))
        text = f"remote relay rejected permanently: {outcome.text}"
        assert told == [Accepted(), Refused(outcome.reason, text), Accepted()]
        assert speaker.connected


async def test_what_is_put_off_for_one_twin() -> None:
    """All that follows for this twin waits, too, whatever became of it; others do not, and a new link is made."""
    async with far_relay() as far, link(far) as speaker:
        full = Ended(Ending.REFUSED, 0, "mailbox full", 5000)
        far.ends = lambda uid: full if uid == "a" else IS_SAFE
        run = [queued("a", 9), queued("b", 8), queued("c", 9), queued("d", 8)]
        first, *others = await speaker.deliver(run)
        assert first == TryAgain("failing", "relay far.test takes it later: mailbox full", 5.0)
        assert others == [Accepted(), first, Accepted()]
        assert not speaker.connected
        far.ends = lambda uid: IS_SAFE
        assert await speaker.deliver([run[0], run[2]]) == [Accepted()] * 2
        assert len(far.sockets) == 2


async def test_a_rate_concerns_everything() -> None:
    """Nothing more is put on the link, and the time to wait is for all."""
    async with far_relay() as far, link(far) as speaker:
        far.window = Window(1, 10_000)
        far.ends = lambda uid: IS_SAFE
        assert await speaker.deliver(batch(1)) == [Accepted()]  # the window is known now
        far.got.clear()
        far.ends = lambda uid: Ended(Ending.REFUSED, 429, "too fast", 12_000) if uid == "m1" else IS_SAFE
        outcomes = await speaker.deliver([queued(f"m{n}", 9 + n) for n in range(4)])
        slow = TryAgain("busy", "relay far.test takes it later: too fast", 12.0)
        assert outcomes == [Accepted(), slow, slow, slow]
        assert far.got == ["m0", "m1"]


@pytest.mark.parametrize("status", [301, 400, 401, 404, 426])
async def test_an_upgrade_that_is_refused(status: int) -> None:
    """There is no link for us; the text says why."""
    async with far_relay() as far, link(far) as speaker:
        far.refusal = status, {"Location": "http://127.0.0.1:1/"}, b"not\nhere"
        with pytest.raises(LinkRefused, match=f"{status} not here"):
            await speaker.deliver(batch(2))
        far.refusal = None
        assert await speaker.deliver(batch(1)) == [Accepted()]


@pytest.mark.parametrize(
    ("status", "headers", "reason", "after_s"),
    [
        (429, {"Retry-After": "7"}, "busy", 7.0),
        (503, {"Retry-After": "3"}, "busy", 3.0),
        (503, {"Retry-After": "soon"}, "busy", 0.0),
        (500, {}, "failing", 0.0),
    ],
)
async def test_an_upgrade_that_fails_for_now(status: int, headers: dict[str, str], reason: str, after_s: float) -> None:
    """The far relay itself is the trouble, or asks to wait."""
    async with far_relay() as far, link(far) as speaker:
        far.refusal = status, headers, b"sorry"
        expected = TryAgain(reason, f"relay far.test: it answered {status} sorry", after_s)
        assert await speaker.deliver(batch(2)) == [expected] * 2


async def test_a_server_that_selects_nothing() -> None:
    """A WebSocket of another kind is no link for us."""
    async with far_relay() as far, link(far) as speaker:
        far.selects = False
        with pytest.raises(LinkRefused):
            await speaker.deliver(batch(1))


async def test_a_server_that_selects_what_it_does_not_speak() -> None:
    """Its first message is no frame: no link for us. The rule that it broke is told."""
    async with far_relay() as far, link(far) as speaker:
        far.ends = lambda uid: None
        far.window = Window(0, 0)
        with pytest.raises(LinkRefused):
            await speaker.deliver(batch(1))
        async with asyncio.timeout(PATIENCE_S):
            await far.sockets[0].wait_closed()
        assert far.sockets[0].close_code == 1002


async def test_a_place_that_must_not_be_spoken_to() -> None:
    """It is refused for ever, as by posts."""

    async def way() -> Way:
        raise PlaceRefused("far.test is at an address that is not public")

    speaker = LinkSpeaker(NAME, way, lambda: {})
    text = "remote relay rejected permanently: far.test is at an address that is not public"
    assert await speaker.deliver(batch(2)) == [Refused("forbidden", text)] * 2
    await speaker.close()


# --- failures ---------------------------------------------------------------------------------------------------------


async def test_nobody_is_there() -> None:
    """Every address is tried."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

        async def way() -> Way:
            return Way(f"ws://localhost:{port}/", ["127.0.0.1", "127.0.0.1"])

        attempts = count()
        speaker = LinkSpeaker(NAME, way, lambda: {"X-Attempt": str(next(attempts))})
        outcomes = await speaker.deliver(batch(2))
        assert all(is_again(outcome, "unreachable") for outcome in outcomes)
        assert next(attempts) == 2
        await speaker.close()


async def test_the_first_address_does_not_answer() -> None:
    """The second one does."""
    async with far_relay() as far:
        port = far.url.rsplit(":", 1)[1].rstrip("/")

        async def way() -> Way:
            return Way(f"ws://localhost:{port}/", ["127.0.0.2", "127.0.0.1"])  # bound to the second one only

        speaker = LinkSpeaker(NAME, way, dict)
        assert await speaker.deliver(batch(1)) == [Accepted()]
        await speaker.close()


@pytest.mark.parametrize("how", ["cut", "close"])
async def test_the_connection_is_lost_in_the_middle(how: str) -> None:
    """What has ended has ended; the rest, and what follows for the same twin, has to be sent again."""
    async with far_relay() as far, link(far) as speaker:
        far.ends = lambda uid: None if uid in ("m1", "m3") else IS_SAFE
        run = [queued("m0", 9), queued("m1", 9), queued("m2", 9), queued("m3", 8), queued("m4", 5)]
        delivering = asyncio.create_task(speaker.deliver(run))
        await far.until_got(5)
        if how == "cut":
            # The endings are read before the connection is seen to end: an answered ping proves it.
            await (await far.sockets[0].ping())
            far.sockets[0].transport.abort()
        else:
            await far.sockets[0].close(1001)
        first, second, third, fourth, fifth = await finished(delivering)
        assert first == fifth == Accepted()
        assert is_again(second, "cut")
        assert second == third == fourth
        far.ends = lambda uid: IS_SAFE
        assert await speaker.deliver(run[1:4]) == [Accepted()] * 3
        assert far.got == ["m0", "m1", "m2", "m3", "m4", "m1", "m2", "m3"]


async def test_a_full_relay() -> None:
    """Close code 1013 asks to wait."""
    async with far_relay() as far, link(far) as speaker:
        far.ends = lambda uid: None
        delivering = asyncio.create_task(speaker.deliver(batch(1)))
        await far.until_got(1)
        await far.sockets[0].close(1013)
        assert is_again((await finished(delivering))[0], "busy")


async def test_a_relay_that_ends_nothing() -> None:
    """It is not waited for for ever; the connection is not used again."""
    async with far_relay() as far, link(far, ending_s_max=0.05) as speaker:
        far.ends = lambda uid: None
        assert all(is_again(outcome, "timeout") for outcome in await speaker.deliver(batch(2)))
        assert not speaker.connected


async def test_a_dead_connection() -> None:
    """A relay that reads nothing any more does not answer pings."""
    async with far_relay() as far, link(far, rhythm=Rhythm(idle_s=0.01, dead_s=0.2)) as speaker:
        far.ends = lambda uid: None
        delivering = asyncio.create_task(speaker.deliver(batch(1)))
        await until(lambda: far.sockets)
        far.sockets[0].transport.pause_reading()
        assert is_again((await finished(delivering))[0], "timeout")
        far.sockets[0].transport.resume_reading()


async def test_envelopes_never_come_back() -> None:
    """The link carries them one way; a relay that breaks this rule is told so."""
    async with far_relay() as far, link(far) as speaker:
        far.ends = lambda uid: None
        delivering = asyncio.create_task(speaker.deliver(batch(1)))
        await far.until_got(1)
        await far.push(b"envelope")
        assert is_again((await finished(delivering))[0], "garbage")
        assert far.sockets[0].close_code == 1002


@pytest.mark.parametrize("noise", [b"\xff\xff", "text", pb.Frame(safe=99).SerializeToString()])
async def test_noise_from_a_relay_that_was_understood(noise: str | bytes) -> None:
    """It has a link, and is in trouble: to be tried again."""
    async with far_relay() as far, link(far) as speaker:
        assert await speaker.deliver(batch(1)) == [Accepted()]
        far.ends = lambda uid: None
        delivering = asyncio.create_task(speaker.deliver(batch(1)))
        await far.until_got(2)
        await far.sockets[0].send(noise)
        assert is_again((await finished(delivering))[0], "garbage")


async def test_a_delivery_that_is_cancelled() -> None:
    """What it had put on the link is nobody's; the next batch goes on another connection."""
    async with far_relay() as far, link(far) as speaker:
        far.ends = lambda uid: None
        delivering = asyncio.create_task(speaker.deliver(batch(1)))
        await far.until_got(1)
        delivering.cancel()
        await asyncio.wait([delivering])
        assert delivering.cancelled()
        far.ends = lambda uid: IS_SAFE
        assert await speaker.deliver(batch(2)) == [Accepted()] * 2
        assert len(far.sockets) == 2
