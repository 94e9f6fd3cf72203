"""Links of other relays to ours, seen from the wire: who may open one, and what becomes of what comes on it."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from websockets.exceptions import ConnectionClosed, InvalidStatus

from relay.federation.inbound_settings import InboundSettings
from relay.federation.link_serving import LINKS_PER_RELAY_MAX
from relay.federation.link_signature import sign_link
from relay.federation.settings import FederationSettings
from relay.federation.signature import sign_post
from relay.frames import WINDOW
from relay.identity import RelayIdentity
from relay.mailboxes import ENTRIES_MAX
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.envelope import Envelope, relay_error
from rmb_peer.protocol.heartbeat import Rhythm
from rmb_peer.protocol.link.endings import IS_AT_PEER, IS_SAFE, Ending, Outcome
from tests.relay.test_link_noise import mutilated
from tests.support.calling_relay import CallingRelay, calling_relay
from tests.support.link_client import link_client
from tests.support.relay import (
    DOMAIN,
    PATIENCE_S,
    Directory,
    TestBed,
    empty,
    metric,
    receive,
    relay,
    request,
    response,
    until,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

AT_HOME = FederationSettings(allow=("localhost",))
"""The callers of tests are on this machine."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_bed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TestBed]:
    folder = tmp_path_factory.mktemp("links")
    async with relay(folder, Directory(), direct_s_max=600.0, message_bytes_max=100_000, federation=AT_HOME) as bed:
        yield bed


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def calling() -> AsyncIterator[CallingRelay]:
    async with calling_relay() as one:
        yield one


@pytest_asyncio.fixture(loop_scope="module")
async def bed(shared_bed: TestBed) -> TestBed:
    """The shared relay, with twin 9 and empty mailboxes."""
    metrics = shared_bed.app.metrics
    await until(lambda: metrics.signins == metrics.evictions.total() and metrics.links() == 0)
    await shared_bed.app.mailboxes.idle()
    shared_bed.directory.reset(9, 10)
    await empty(shared_bed.store)
    return shared_bed


async def refused(calling: CallingRelay, bed: TestBed, headers: "dict[str, str]") -> tuple[int, str]:
    """How an upgrade fails."""
    with pytest.raises(InvalidStatus) as caught:
        async with calling.dial(bed, headers):
            pass
    response = caught.value.response
    return response.status_code, bytes(response.body or b"").decode()


# --- what goes well ---------------------------------------------------------------------------------------------------


async def test_to_somebody_absent(bed: TestBed, calling: CallingRelay) -> None:
    """SAFE once it is in the mailbox, byte for byte and in order; the relay is no session."""
    async with calling.link(bed) as link:
        assert bed.app.metrics.links() == 1
        assert bed.app.metrics.sessions() == 0
        envelopes = [request(7, 9, f"m{n}") for n in range(300)]
        await link.send(*envelopes)
        assert {(await link.outcome(envelope.uid)).ending for envelope in envelopes} == {Ending.SAFE}
        assert await bed.waiting("9") == [envelope.SerializeToString() for envelope in envelopes]


async def test_to_somebody_connected_over_rmb_2(bed: TestBed, calling: CallingRelay) -> None:
    """AT_PEER once the gateway has settled it; the store is not touched."""
    async with calling.link(bed) as link, link_client(bed, 9, auto=False) as gateway:
        await gateway.warm()
        rx = bed.app.metrics.message_rx
        envelope = request(7, 9)
        await link.send(envelope, response(7, 9, "r"))
        (first, came), (second, _) = await gateway.receive(), await gateway.receive()
        assert came == envelope
        assert link.outcomes == {}
        await gateway.settle(first, second)
        assert await link.outcome("u-1") == await link.outcome("r") == IS_AT_PEER
        assert bed.app.metrics.message_rx == rx


async def test_to_somebody_connected_over_rmb_1(bed: TestBed, calling: CallingRelay) -> None:
    """SAFE, because it is stored first."""
    async with calling.link(bed) as link, bed.client(9) as gateway:
        await link.send(request(7, 9))
        assert (await receive(gateway)).uid == "u-1"
        assert await link.outcome("u-1") == IS_SAFE


async def test_nothing_goes_back(bed: TestBed, calling: CallingRelay) -> None:
    """What is for twins of the calling relay never leaves on its link."""
    bed.directory.add(5, (calling.name,))
    async with calling.link(bed) as link, link_client(bed, 9) as gateway:
        await gateway.send(request(9, 9, "mine"))
        await gateway.outcome("mine")
        await link.send(request(7, 9, "q"))
        await link.outcome("q")
        assert link.got == []


async def test_several_links_of_one_relay(bed: TestBed, calling: CallingRelay) -> None:
    """A newer one supersedes nothing; one more than may be is closed with 1013."""
    async with AsyncExitStack() as stack:
        links = [await stack.enter_async_context(calling.link(bed)) for _ in range(LINKS_PER_RELAY_MAX)]
        for number, link in enumerate(links):
            await link.send(request(7, 9, f"m{number}"))
            assert await link.outcome(f"m{number}") == IS_SAFE
        async with calling.dial(bed, calling.proof()) as surplus, asyncio.timeout(PATIENCE_S):
            await surplus.wait_closed()
        assert (surplus.close_code, surplus.close_reason) == (1013, "too many links from this relay")
        assert bed.app.metrics.links() == LINKS_PER_RELAY_MAX


# --- the proof --------------------------------------------------------------------------------------------------------


async def test_a_wrong_key(bed: TestBed, calling: CallingRelay) -> None:
    """401: the published key did not make this signature."""
    proof = dict(calling.proof(identity=RelayIdentity(bytes(32))))
    status, text = await refused(calling, bed, proof)
    assert status == 401
    assert "was not made" in text


async def test_a_signature_for_another_relay(bed: TestBed, calling: CallingRelay) -> None:
    """401: what was shown to one relay opens nothing at another."""
    status, text = await refused(calling, bed, dict(calling.proof(to="other.test")))
    assert (status, text) == (401, f"the signature is made out to other.test; this relay is {DOMAIN}")


@pytest.mark.parametrize("ago_s", [62, -62])
async def test_a_signature_from_another_time(bed: TestBed, calling: CallingRelay, ago_s: float) -> None:
    """401 with both times."""
    status, text = await refused(calling, bed, dict(calling.proof(ago_s=ago_s)))
    assert status == 401
    assert "at most 60 s are accepted: set the clock" in text


async def test_a_signature_that_was_seen_before(bed: TestBed, calling: CallingRelay) -> None:
    """A replay is refused, also while the link that it opened is there."""
    proof = dict(calling.proof())
    async with calling.dial(bed, proof):
        assert (await refused(calling, bed, proof))[0] == 409
    assert (await refused(calling, bed, proof))[0] == 409


async def test_the_signature_of_a_post(bed: TestBed, calling: CallingRelay) -> None:
    """It opens no link, even when the body was the nonce."""
    nonce = bytes(16)
    proof = dict(calling.proof(nonce=nonce))
    proof.update(sign_post(calling.identity, calling.name, DOMAIN, nonce, time.time()))
    assert (await refused(calling, bed, proof))[0] == 401


async def test_without_a_nonce(bed: TestBed, calling: CallingRelay) -> None:
    """401 with what is missing."""
    proof = dict(calling.proof())
    del proof["RMB-Nonce"]
    assert await refused(calling, bed, proof) == (401, "RMB-Nonce must be 32 hex digits in lower case")


async def test_another_nonce(bed: TestBed, calling: CallingRelay) -> None:
    """It is part of what is signed."""
    proof = dict(calling.proof())
    proof["RMB-Nonce"] = "0" * 32
    assert (await refused(calling, bed, proof))[0] == 401


async def test_in_the_name_of_this_relay(bed: TestBed, calling: CallingRelay) -> None:
    """Nobody speaks to itself."""
    proof = dict(sign_link(calling.identity, DOMAIN, DOMAIN, bytes(16), time.time()))
    assert (await refused(calling, bed, proof))[0] == 401


async def test_without_rmb_2(bed: TestBed, calling: CallingRelay) -> None:
    """A relay's proof is no token: without the offer of rmb.2 it is a client that does not say who it is."""
    with pytest.raises(InvalidStatus) as caught:
        async with calling.dial(bed, calling.proof(), subprotocol="other"):
            pass
    assert (caught.value.response.status_code, caught.value.response.body) == (400, b"missing jwt")


# --- refusals ---------------------------------------------------------------------------------------------------------


async def test_what_goes_nowhere(bed: TestBed, calling: CallingRelay) -> None:
    """With the text of posts; what follows is not held up. Errors may come without a signature."""
    bed.directory.add(5, ("other.test",))
    unsigned = request(7, 9, "unsigned")
    unsigned.ClearField("signature")
    expired = request(7, 9, "expired")
    expired.expiration = 0
    ping = request(7, 9, "ping", ping={})
    async with calling.link(bed) as link:
        await link.send(
            request(7, 5, "foreign"),
            request(7, 6, "unknown"),
            request(7, 0, "nowhere"),
            request(7, 9, "fast", tags="fail-fast"),
            request(7, 9, "large", payload=bytes(100_000)),
            unsigned,
            expired,
            ping,
            request(7, 9, "good"),
            _error("error"),
        )
        reasons = {}
        for uid in ("foreign", "unknown", "nowhere", "fast", "large", "unsigned", "expired", "ping"):
            outcome = await link.outcome(uid)
            assert (outcome.ending, outcome.retry_after_ms) == (Ending.REFUSED, 0)
            reasons[uid] = outcome.reason
        assert reasons == {
            "foreign": "destination twin 5 does not use this relay; its relays: other.test",
            "unknown": "unknown twin destination",
            "nowhere": "message with missing destination",
            "fast": "destination offline",
            "large": "message is too large: at most 100000 bytes are accepted",
            "unsigned": "only errors may come without a source twin and its signature",
            "expired": "message has expired",
            "ping": "a ping is between a client and its own relay",
        }
        assert await link.outcome("good") == await link.outcome("error") == IS_SAFE


def _error(uid: str) -> Envelope:
    return relay_error(uid, "destination offline", int(time.time()), Address(9))


async def test_a_registry_that_is_away(bed: TestBed, calling: CallingRelay) -> None:
    """It may well belong here: it is stored, as with posts."""
    bed.directory.failing[9] = "down"
    async with calling.link(bed) as link:
        await link.send(request(7, 9))
        assert await link.outcome("u-1") == IS_SAFE


async def test_a_slow_look_up(bed: TestBed, calling: CallingRelay) -> None:
    """Holds up its own destination only, whose order is kept."""
    bed.directory.gates[9] = gate = asyncio.Event()
    async with calling.link(bed) as link:
        await link.send(request(7, 9, "a"), request(7, 9, "b"), request(7, 10, "c"))
        assert await link.outcome("c") == IS_SAFE
        assert set(link.outcomes) == {"c"}
        gate.set()
        assert await link.outcome("b") == await link.outcome("a") == IS_SAFE
        assert len(await bed.waiting("9")) == 2


async def test_nothing_overtakes_what_was_put_off(bed: TestBed, calling: CallingRelay) -> None:
    """What follows for the same twin is refused for now on the same link; on a new one it is taken."""
    data = request(1, 9, "old").SerializeToString()
    async with bed.store.pipeline(transaction=False) as pipe:
        for _ in range(ENTRIES_MAX):
            pipe.xadd("stream:9", {"_": data})
        await pipe.execute()
    async with calling.link(bed) as link:
        await link.send(request(7, 9, "a"))
        full = await link.outcome("a")
        assert full.ending is Ending.REFUSED
        assert full.retry_after_ms > 0
        await bed.store.delete("stream:9")
        await link.send(request(7, 9, "b"), request(7, 10, "c"))
        behind = await link.outcome("b")
        assert behind.reason == "an envelope before this one has to be sent again first, on a new link"
        assert behind.retry_after_ms > 0
        assert await link.outcome("c") == IS_SAFE
    async with calling.link(bed) as link:
        await link.send(request(7, 9, "a"), request(7, 9, "b"))
        assert await link.outcome("a") == await link.outcome("b") == IS_SAFE


async def test_the_rate_of_the_other_relay(tmp_path: Path, calling: CallingRelay) -> None:
    """One over is refused with the seconds to wait, and so is all that follows on this link."""
    async with relay(
        tmp_path,
        Directory(9),
        federation=AT_HOME,
        inbound=InboundSettings(posts_per_minute=3),
    ) as bed:
        async with calling.link(bed) as link:
            await link.send(*(request(7, 9, f"m{n}") for n in range(5)))
            assert [await link.outcome(f"m{n}") for n in range(3)] == [IS_SAFE] * 3
            over, after = await link.outcome("m3"), await link.outcome("m4")
            assert (over.ending, over.code) == (Ending.REFUSED, 429)
            assert over.reason.startswith(f"more than 3 posts per minute from {calling.name}: try again in ")
            assert over.retry_after_ms > 1000
            assert after.retry_after_ms > 0
        text = bed.app.metrics.text().decode()
        assert metric(text, 'relay_refusals_total{reason="relay_rate"}') == 1


# --- the rules of the link, and its end -------------------------------------------------------------------------------


async def test_noise_of_a_relay_that_proved_its_name(bed: TestBed, calling: CallingRelay) -> None:
    """The link ends with 1002, or every envelope ends; another link beside is not disturbed."""
    rng = random.Random(7)
    broken = bed.app.metrics.refusals["link_broken"]
    async with calling.link(bed) as calm:
        for _ in range(40):
            async with calling.dial(bed, calling.proof()) as socket:
                try:
                    for number in range(3):
                        await socket.send(mutilated(rng, 3 * number + 1))
                except ConnectionClosed as closed:
                    assert closed.rcvd is None or closed.rcvd.code == 1002
        await until(lambda: bed.app.metrics.links() == 1)
        await calm.send(request(7, 9, "still here"))
        assert await calm.outcome("still here") == IS_SAFE
    assert bed.app.metrics.refusals["link_broken"] > broken + 10


async def test_more_than_the_window(bed: TestBed, calling: CallingRelay) -> None:
    """Whoever sends more than the window is disconnected, and we hold no more than it."""
    bed.directory.gates[9] = asyncio.Event()
    async with calling.link(bed) as link:
        await link.send(request(7, 10, "first"))
        await link.outcome("first")
        assert link.link.outgoing.window == WINDOW
        link.link.outgoing.window = type(WINDOW)(2 * WINDOW.messages, WINDOW.size_bytes)
        await link.send(*(request(7, 9, f"m{n}") for n in range(WINDOW.messages + 1)))
        code, text = await link.closed()
        assert code == 1002
        assert f"more than the window of {WINDOW.messages} is on its way" in text
    bed.directory.gates.pop(9).set()


async def test_a_text_message(bed: TestBed, calling: CallingRelay) -> None:
    """1003, as for clients."""
    async with calling.dial(bed, calling.proof()) as socket:
        await socket.send("text")
        async with asyncio.timeout(PATIENCE_S):
            await socket.wait_closed()
        assert socket.close_code == 1003


async def test_a_link_that_is_cut(bed: TestBed, calling: CallingRelay) -> None:
    """What we hold goes its way nevertheless."""
    bed.directory.gates[9] = gate = asyncio.Event()
    async with calling.link(bed) as link:
        await link.send(request(7, 9, "a"), request(7, 10, "b"))
        await link.outcome("b")
        link.abort()
    gate.set()
    await until(lambda: _holds(bed, 1))


async def _holds(bed: TestBed, count: int) -> bool:
    return len(await bed.waiting("9")) == count


async def test_stopping(tmp_path: Path, calling: CallingRelay) -> None:
    """What is on its way to a gateway is stored, and the other relay hears so before the Close with 1001."""
    async with (
        relay(
            tmp_path,
            Directory(9),
            federation=AT_HOME,
            direct_s_max=600.0,
            rhythm=Rhythm(),
        ) as bed,
        calling.link(bed) as link,
        link_client(bed, 9, auto=False) as gateway,
    ):
        await gateway.warm()
        await link.send(request(7, 9))
        await gateway.receive()
        heard: list[Outcome] = []
        link.on_outcome = lambda uid, outcome: heard.append(outcome)
        await bed.app.__aexit__()
        assert await link.closed() == (1001, "relay is shutting down; retry after 2 s")
        assert heard == [IS_SAFE]
        assert len(await bed.waiting("9")) == 1
