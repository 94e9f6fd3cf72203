"""Envelopes for twins of other relays: through sessions, outboxes and senders, to a relay that is not ours."""

import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection

from rmb_peer.protocol.link.endings import IS_SAFE, Ending
from tests.support.federation import Node, nodes
from tests.support.link_client import link_client
from tests.support.relay import PATIENCE_S, empty, receive, receive_error, request, response, send, until
from tests.support.rmb_rs_relay import RmbRsRelay, Whim, rmb_rs_relay

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    async with nodes(tmp_path_factory.mktemp("outbound"), 1) as [node]:
        yield node


@pytest_asyncio.fixture(loop_scope="module")
async def node(shared_node: Node) -> Node:
    """The shared relay, with twin 7 and an empty store."""
    await until(lambda: shared_node.app.metrics.sessions() == 0)
    await empty(shared_node.store)
    shared_node.directory.reset()
    shared_node.directory.add(7, relays=(shared_node.name,))
    return shared_node


@pytest_asyncio.fixture(loop_scope="module")
async def far(node: Node) -> AsyncIterator[RmbRsRelay]:
    """A relay of the other make, with twins 9 and 10."""
    async with rmb_rs_relay() as relay:
        node.directory.add(9, relays=(relay.name,))
        node.directory.add(10, relays=(relay.name,))
        yield relay


async def send_all(client: ClientConnection, uids: list[str], destination: int = 9) -> None:
    for uid in uids:
        await send(client, request(7, destination, uid))


async def test_c11_202_is_the_end(node: Node, far: RmbRsRelay) -> None:
    """The bytes arrive as they came, the outbox is empty, the metric of that relay counts."""
    async with node.client(7) as client:
        data = request(7, "9:js", "u").SerializeToString() + b"\xa2\x06\x03odd"
        await client.send(data)
        await until(lambda: far.received)
        assert far.received[0].SerializeToString() == data
        await send(client, response(7, 9, "answer"))
        await until(lambda: far.uids == ["u", "answer"])
        await until(lambda: node.waiting_is(far.name, 0))
    assert node.metric(f'federation_message_success{{relay="{far.name}"}}') == 2
    assert far.headers["Content-Length"].isdigit()
    assert far.connections == 1


async def test_c11_404_is_offline(node: Node, far: RmbRsRelay) -> None:
    """The permanent text, at once; when the destination is connected there, it arrives."""
    async with node.client(7) as client:
        await send(client, request(7, 9, "no", tags="fail-fast"))
        error = await receive(client)
        assert (error.uid, error.error.message) == ("no", "remote relay rejected permanently: destination offline")
        assert not error.HasField("source")
        far.connected.add((9, None))
        await send(client, request(7, 9, "yes", tags="fail-fast"))
        await until(lambda: far.uids == ["yes"])


@pytest.mark.parametrize(
    ("whim", "text"),
    [
        (Whim(413, b"message is too large: at most 5 bytes"), "answered 413: message is too large: at most 5 bytes"),
        (Whim(400, b"bad request: unknown twin destination"), "answered 400: bad request: unknown twin destination"),
        (Whim(404, b"<html>\n<h1>nginx</h1>\x1b[2J"), "answered 404: <html> <h1>nginx</h1>?[2J"),
    ],
)
async def test_refusals_are_told(node: Node, far: RmbRsRelay, whim: Whim, text: str) -> None:
    """Which relay, its status, its words; responses are not answered."""
    far.whim = whim
    async with node.client(7) as client:
        await send(client, response(7, 9, "r"))
        await send(client, request(7, 9, "q"))
        error = await receive(client)
        assert (error.uid, error.error.message) == ("q", f"remote relay rejected permanently: {far.name} {text}")
        assert far.posts == 2


@pytest.mark.parametrize(
    "whim",
    [
        Whim(500, b"switch error: x"),
        Whim(503, b"", {"Retry-After": "0"}),
        Whim(429, b"slow down"),
        Whim(302, b"", {"Location": "/elsewhere"}),
        Whim(200, b"<html>"),
        Whim(202, b"", {"Content-Encoding": "gzip", "Content-Length": "20"}, cut=True),
        Whim(raw=b"\x00\xff no http at all\r\n\r\n"),
        Whim(cut=True),
    ],
    ids=["500", "503", "429", "redirect", "page", "truncated", "garbage", "cut"],
)
async def test_c11_a_sick_relay_is_tried_again(node: Node, far: RmbRsRelay, whim: Whim) -> None:
    """Whatever it does instead of answering: nothing is lost, nothing overtakes."""
    far.whims.extend([whim] * 4)
    async with node.client(7) as client:
        await send_all(client, ["a", "b", "c"])
        await until(lambda: far.uids == ["a", "b", "c"])
        assert node.metric(f'federation_message_error{{relay="{far.name}"}}') >= 2
        await until(lambda: node.waiting_is(far.name, 0))


async def test_c11_expired(node: Node, far: RmbRsRelay) -> None:
    """What could not be sent in its time is told; what lives longer still goes."""
    far.whim = Whim(500)
    async with node.client(7) as client:
        short = request(7, 9, "short")
        short.timestamp, short.expiration = int(time.time()), 2
        await send(client, short)
        await send(client, request(7, 9, "long"))
        error = await receive(client)
        assert (error.uid, error.error.message) == ("short", "message has expired")
        far.whim = None
        await until(lambda: far.uids == ["long"])


async def test_a_sick_relay_delays_no_other(node: Node, far: RmbRsRelay) -> None:
    """While one hangs, another gets what is for it."""
    async with rmb_rs_relay() as sick, node.client(7) as client:
        sick.whim = Whim(hang=True)
        node.directory.add(20, relays=(sick.name,))
        await send_all(client, ["s1", "s2"], 20)
        await until(lambda: sick.posts)
        await send_all(client, ["a", "b"])
        await until(lambda: far.uids == ["a", "b"])
        assert sick.received == []


async def test_a_sick_mailbox_delays_no_other(node: Node, far: RmbRsRelay) -> None:
    """A relay that answers 500 for one destination gets what is for others, and later that, in order."""
    far.twin_whims[9] = Whim(500, b"switch error: mailbox is full")
    async with node.client(7) as client:
        await send_all(client, ["a", "b"])
        await send_all(client, ["x"], 10)
        await until(lambda: far.uids == ["x"])
        await until(lambda: far.posts > 2)
        far.twin_whims.clear()
        await until(lambda: far.uids_for(9) == ["a", "b"])


async def test_order_and_parallel_posts(node: Node, far: RmbRsRelay) -> None:
    """One destination: one at a time, in order. Several: side by side, at most four."""
    for twin in range(30, 40):
        node.directory.add(twin, relays=(far.name,))
    far.gate.clear()
    async with node.client(7) as client:
        for number in range(5):
            for twin in range(30, 40):
                await send(client, request(7, twin, f"{twin}-{number}"))
        await until(lambda: node.waiting_is(far.name, 50))
        await until(lambda: far.posts)
        far.gate.set()
        await until(lambda: len(far.received) == 50)
    for twin in range(30, 40):
        assert far.uids_for(twin) == [f"{twin}-{number}" for number in range(5)]
    assert far.at_once <= 4
    assert far.connections <= 4


async def test_the_next_candidate(node: Node, far: RmbRsRelay) -> None:
    """A relay that fails loses what waits for it to one that works; only the one that failed is blamed.

    While both fail, envelopes go to and fro as probes, which may turn their order.
    """
    async with rmb_rs_relay() as other, node.client(7) as client:
        node.directory.add(9, relays=(far.name, other.name))
        far.whim = other.whim = Whim(cut=True)
        await send_all(client, ["a", "b"])
        await until(lambda: far.posts and other.posts)
        other.whim = None
        await until(lambda: sorted(other.uids) == ["a", "b"])
        await send_all(client, ["c"])
        await until(lambda: other.uids[2:] == ["c"])
        assert far.received == []


async def test_refused_here_accepted_there(node: Node, far: RmbRsRelay) -> None:
    """Only when every relay of the record has said no is the requester told."""
    async with rmb_rs_relay() as other, node.client(7) as client:
        node.directory.add(9, relays=(far.name, other.name))
        other.connected.add((9, None))
        for number in range(8):  # whichever comes first
            await send(client, request(7, 9, str(number), tags="fail-fast"))
        await until(lambda: len(other.received) == 8)
        other.connected.clear()
        await send(client, request(7, 9, "no", tags="fail-fast"))
        assert await receive_error(client) == "remote relay rejected permanently: destination offline"
        assert far.received == []


async def test_offline_here_connected_there(node: Node, far: RmbRsRelay) -> None:
    """With `fail-fast`, a twin of this relay is also looked for at the other relays of its record (spec rmb 10.8)."""
    node.directory.add(9, relays=(node.name, far.name))
    far.connected.add((9, None))
    async with node.client(7) as client:
        await send(client, request(7, 9, "found", tags="fail-fast"))
        await until(lambda: far.uids == ["found"])
        far.connected.clear()
        await send(client, request(7, 9, "lost", tags="fail-fast"))
        assert await receive_error(client) == "destination offline"
        far.whim = Whim(cut=True)
        await send(client, request(7, 9, "cut", tags="fail-fast"))
        assert await receive_error(client) == "destination offline"
        await send(client, request(7, 9, "kept"))
        await until(lambda: node.store.xlen("stream:9"))


async def test_fail_fast_does_not_wait_for_a_relay(node: Node, far: RmbRsRelay) -> None:
    """It asks not to be stored: when no relay can be reached, the requester hears why at once."""
    node.directory.add(9, relays=("localhost:1",))
    async with node.client(7) as client:
        await send(client, request(7, 9, tags="fail-fast"))
        assert (await receive_error(client)).startswith("relay localhost:1 cannot be reached: ")


@pytest.mark.parametrize(
    ("relay", "why"),
    [("10.0.0.1", "10.0.0.1 is at an address that is not public"), ("no relay!", "'no relay!' is no relay")],
)
async def test_places_that_are_not_spoken_to(node: Node, relay: str, why: str) -> None:
    """The requester hears why at once, and nothing waits."""
    node.directory.add(9, relays=(relay,))
    async with node.client(7) as client:
        await send(client, request(7, 9))
        assert await receive_error(client) == f"destination twin 9 cannot be reached through its relays: {why}"
    assert await node.store.smembers("relay.outboxes") == set()


async def test_the_record_changes(node: Node, far: RmbRsRelay) -> None:
    """What waits for a sick relay follows its twin to another relay, and here; a twin that is gone is told."""
    far.whim = Whim(cut=True)
    async with node.client(7) as client, rmb_rs_relay() as other:
        await send_all(client, ["moves"], 9)
        await send_all(client, ["comes"], 10)
        await until(lambda: node.waiting_is(far.name, 2))
        node.directory.add(9, relays=(other.name,))
        node.directory.add(10, relays=(node.name,))
        await until(lambda: other.uids == ["moves"])
        await until(lambda: node.store.xlen("stream:10"))
        node.directory.add(11, relays=(far.name,))
        await send_all(client, ["gone"], 11)
        await until(lambda: node.waiting_is(far.name, 1))
        del node.directory.twins[11]
        assert await receive_error(client) == "unknown twin destination"


async def test_kept_alive(node: Node, far: RmbRsRelay) -> None:
    """Posts one after the other use one connection."""
    async with node.client(7) as client:
        for number in range(20):
            await send_all(client, [str(number)])
            await until(lambda count=number: len(far.received) == count + 1)  # type: ignore[misc]
    assert far.connections == 1


async def test_the_senders_of_rmb2_hear_that_it_is_stored(node: Node, far: RmbRsRelay) -> None:
    """An envelope in an outbox is SAFE, whatever its relay does; one that cannot go is REFUSED."""
    far.whim = Whim(cut=True)
    node.directory.add(11, relays=("10.0.0.1",))
    async with link_client(node, 7) as client:
        await client.send(request(7, 9, "a"), response(7, 9, "b"), response(7, 11, "c"))
        assert await client.outcome("a") == IS_SAFE
        assert await client.outcome("b") == IS_SAFE
        outcome = await client.outcome("c")
        assert (outcome.ending, outcome.retry_after_ms) == (Ending.REFUSED, 0)
        assert outcome.reason.startswith("destination twin 11 cannot be reached through its relays: ")
    far.whim = None
    await until(lambda: far.uids == ["a", "b"])


async def test_metrics(node: Node, far: RmbRsRelay) -> None:
    """What waits, for how long, and what failed last."""
    far.whim = Whim(503, b"out of order", {"Retry-After": "100"})
    label = f'{{relay="{far.name}"}}'
    async with node.client(7) as client:
        await send_all(client, ["a", "b"])
        await until(lambda: f"relay_federation_waiting{label} 2" in node.app.metrics.text().decode())
        assert node.metric(f"relay_federation_waiting_bytes{label}") > 200
        assert node.metric(f"relay_federation_oldest_seconds{label}") < PATIENCE_S
        failed = f'relay_federation_last_error{{relay="{far.name}",reason="busy"}}'
        await until(lambda: failed in node.app.metrics.text().decode())
