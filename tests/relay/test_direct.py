"""Forwarding from memory: at every point at which it can go wrong, nothing is missing, and the order stays."""

from pathlib import Path

import pytest

from rmb_peer.protocol.envelope import parse_envelope
from rmb_peer.protocol.link.endings import IS_AT_PEER, IS_SAFE, Ending, Window
from tests.support.link_client import LinkClient, link_client
from tests.support.proxy import proxy
from tests.support.relay import Directory, TestBed, receive, relay, request, send, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def waiting_uids(bed: TestBed, owner: str = "9") -> list[str]:
    return [parse_envelope(data).uid for data in await bed.waiting(owner)]


def requests(count: int) -> list[str]:
    return [f"m{n}" for n in range(count)]


async def send_all(client: LinkClient, uids: list[str]) -> None:
    await client.send(*(request(7, 9, uid) for uid in uids))


@pytest.mark.parametrize("settled", [0, 1, 9, 10])
async def test_the_destination_vanishes(bed: TestBed, settled: int) -> None:
    """After it has settled some: those are AT_PEER, the others are stored, SAFE, and come again in order."""
    uids = requests(10)
    async with link_client(bed, 7) as a:
        async with link_client(bed, 9, auto=False) as b:
            await b.warm()
            await send_all(a, uids)
            numbers = [(await b.receive())[0] for _ in uids]
            await b.settle(*numbers[:settled])
            for uid in uids[:settled]:
                assert await a.outcome(uid) == IS_AT_PEER
            b.abort()
        for uid in uids[settled:]:
            assert await a.outcome(uid) == IS_SAFE
        assert await waiting_uids(bed) == uids[settled:]
        async with link_client(bed, 9) as b:
            await send_all(a, ["after"])
            assert await b.receive_uids(11 - settled) == [*uids[settled:], "after"]
            await until(lambda: none_wait(bed))


async def none_wait(bed: TestBed) -> bool:
    return await waiting_uids(bed) == []


async def test_it_vanishes_while_envelopes_wait_for_its_window(bed: TestBed) -> None:
    """What was on its link and what was behind it is stored in one order."""
    uids = requests(150)
    async with link_client(bed, 7) as a:
        async with link_client(bed, 9, window=Window(5, 10**6), auto=False) as b:
            await b.warm()
            await send_all(a, uids)
            await b.receive_uids(1)
            b.abort()
        assert await a.outcome(uids[-1]) == IS_SAFE
        assert await waiting_uids(bed) == uids


async def test_an_order_that_outlives_the_relay(bed: TestBed) -> None:
    """When a younger envelope has to be stored, everything older in memory is stored before it."""
    uids = requests(400)
    async with link_client(bed, 7) as a, link_client(bed, 9, window=Window(5, 10**6), auto=False) as b:
        await b.warm()
        await send_all(a, uids)  # more than fits into window and queue
        assert await a.outcome(uids[-1]) == IS_SAFE
        assert await waiting_uids(bed) == uids
        came = []
        for _ in uids:
            number, envelope = await b.receive()
            came.append(envelope.uid)
            await b.settle(number)
        assert came == uids
        await until(lambda: none_wait(bed))
        await b.warm()  # and the way is direct again


async def test_a_sender_of_rmb_1_between(bed: TestBed) -> None:
    """What it sends is stored, and what is older and in memory is stored before; nothing comes twice."""
    bed.directory.add(8)
    async with link_client(bed, 7) as a, link_client(bed, 9, auto=False) as b, bed.client(8) as old:
        await b.warm()
        await send_all(a, ["m0"])
        first, _ = await b.receive()
        await send(old, request(8, 9, "old"))
        second, envelope = await b.receive()
        assert envelope.uid == "old"
        assert await a.outcome("m0") == IS_SAFE
        assert await waiting_uids(bed) == ["m0", "old"]
        await b.settle(first, second)
        await until(lambda: none_wait(bed))
        await send_all(a, ["m1"])
        assert (await b.receive())[1].uid == "m1"


async def test_superseded_by_rmb_2(bed: TestBed) -> None:
    """What the older connection had not settled comes on the newer one, in order, before what is new."""
    uids = requests(20)
    async with link_client(bed, 7) as a, link_client(bed, 9, auto=False) as older:
        await older.warm()
        await send_all(a, uids[:10])
        await older.receive_uids(10)
        async with link_client(bed, 9) as newer:
            await send_all(a, uids[10:])
            assert await newer.receive_uids(20) == uids
            assert (await older.closed())[0] == 4001
            assert {(await a.outcome(uid)).ending for uid in uids} <= {Ending.SAFE, Ending.AT_PEER}
            await until(lambda: none_wait(bed))


async def test_superseded_by_rmb_1(bed: TestBed) -> None:
    """The mailbox is where both meet."""
    async with link_client(bed, 7) as a, link_client(bed, 9, auto=False) as older:
        await older.warm()
        await send_all(a, ["m0"])
        await older.receive()
        async with bed.client(9) as newer:
            await send_all(a, ["m1"])
            assert [(await receive(newer)).uid for _ in range(2)] == ["m0", "m1"]
            await until(lambda: none_wait(bed))
        assert await a.outcome("m0") == IS_SAFE


async def test_the_sender_vanishes(bed: TestBed) -> None:
    """What it sent goes its way; when it sends it again, the destination sees a repeat after the first."""
    async with link_client(bed, 9, auto=False) as b:
        await b.warm()
        async with link_client(bed, 7) as a:
            await send_all(a, ["m0", "m1"])
            first, second = await b.receive(), await b.receive()
            a.abort()
        await until(lambda: bed.app.metrics.sessions() == 1)
        async with link_client(bed, 7) as again:
            await again.send(request(7, 9, "m0"), request(7, 9, "m1"), request(7, 9, "m2"))
            rest = [await b.receive() for _ in range(3)]
            assert [envelope.uid for _, envelope in rest] == ["m0", "m1", "m2"]
            await b.settle(first[0], second[0], *(number for number, _ in rest))
            assert await again.outcome("m2") == IS_AT_PEER


async def test_a_destination_that_takes_its_time(tmp_path: Path) -> None:
    """Stored after the patience, SAFE; still on its link, so it comes once; settled later, it leaves the mailbox."""
    async with (
        relay(tmp_path, Directory(7, 9), direct_s_max=0.1) as bed,
        link_client(bed, 7) as a,
        link_client(bed, 9, auto=False) as b,
    ):
        await b.warm()
        uids = requests(5)
        await send_all(a, uids)
        numbers = [(await b.receive())[0] for _ in uids]
        for uid in uids:
            assert await a.outcome(uid) == IS_SAFE
        assert await waiting_uids(bed) == uids
        await b.settle(*numbers[2:])
        await until(lambda: count_is(bed, 2))
        await b.settle(*numbers[:2])
        await until(lambda: count_is(bed, 0))
        assert bed.app.metrics.backed_up >= 5
        assert b.got == uids


async def count_is(bed: TestBed, count: int) -> bool:
    return len(await bed.waiting("9")) == count


async def test_stored_after_its_time_and_then_the_destination_vanishes(tmp_path: Path) -> None:
    """The stored ones and the younger ones from memory come in one order on the next connection."""
    async with relay(tmp_path, Directory(7, 9), direct_s_max=0.1) as bed, link_client(bed, 7) as a:
        async with link_client(bed, 9, auto=False) as b:
            await b.warm()
            await send_all(a, ["m0", "m1"])
            await a.outcome("m1")
            await send_all(a, ["m2", "m3"])
            await b.receive_uids(4)
            b.abort()
        await a.outcome("m3")
        assert await waiting_uids(bed) == ["m0", "m1", "m2", "m3"]
        async with link_client(bed, 9) as b:
            assert await b.receive_uids(4) == ["m0", "m1", "m2", "m3"]


async def test_without_a_store_the_direct_way_still_works(tmp_path: Path) -> None:
    """Nothing is stored between two that are connected, so nobody notices."""
    async with (
        relay(tmp_path, Directory(7, 9), through=proxy, direct_s_max=600.0) as bed,
        link_client(bed, 7) as a,
        link_client(bed, 9) as b,
    ):
        await b.warm()
        bed.proxy.cut()
        uids = requests(100)
        await send_all(a, uids)
        assert await b.receive_uids(100) == uids
        assert await a.outcome(uids[-1]) == IS_AT_PEER


async def test_what_cannot_be_stored_is_refused(tmp_path: Path) -> None:
    """The destination vanishes while the store is away: its senders hear so, and when to try again."""
    async with (
        relay(tmp_path, Directory(7, 9), through=proxy, store_patience_s=0.1) as bed,
        link_client(bed, 7) as a,
    ):
        async with link_client(bed, 9, auto=False) as b:
            await b.warm()
            await send_all(a, ["m0"])
            await b.receive()
            bed.proxy.cut()
            await send_all(a, ["m1"])
            await b.receive()
            b.abort()
        for uid in ("m0", "m1"):
            outcome = await a.outcome(uid)
            assert outcome.ending is Ending.REFUSED
            assert outcome.reason.startswith("failed to route message to peer '9': the store does not answer (")
            assert outcome.retry_after_ms == 1000
        await send_all(a, ["m2"])
        assert (await a.outcome("m2")).ending is Ending.REFUSED
        bed.proxy.down = False
        for n in range(3, 1000):  # the store may need a moment, and is given little patience here
            await send_all(a, [f"m{n}"])
            if await a.outcome(f"m{n}") == IS_SAFE:
                break
        assert (await waiting_uids(bed))[-1] == f"m{n}"


async def test_a_short_outage_of_the_store_is_waited_out(tmp_path: Path) -> None:
    """SAFE only once it is stored."""
    async with relay(tmp_path, Directory(7, 9), through=proxy) as bed, link_client(bed, 7) as a:
        bed.proxy.cut()
        await send_all(a, ["m0"])
        await a.send(request(7, 0, "marker"))
        await a.outcome("marker")
        assert "m0" not in a.outcomes
        bed.proxy.down = False
        assert await a.outcome("m0") == IS_SAFE


async def test_stopping_stores_what_is_on_its_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients hear 1001; what the destination has settled by then is gone, the rest is in its mailbox, in order."""
    monkeypatch.setattr("relay.frames.FLUSH_S_MAX", 0.5)  # one of the clients says nothing
    async with relay(tmp_path, Directory(7, 9), direct_s_max=600.0) as bed:
        async with link_client(bed, 7) as a, link_client(bed, 9, auto=False) as b:
            await b.warm()
            uids = requests(50)
            await send_all(a, uids)
            numbers = [(await b.receive())[0] for _ in uids]
            await b.settle(*numbers[:20])
            assert await a.outcome(uids[19]) == IS_AT_PEER
            await bed.app.__aexit__(None, None, None)
            assert (await a.closed())[0] == (await b.closed())[0] == 1001
            assert {a.outcomes.get(uid, IS_SAFE) for uid in uids[20:]} == {IS_SAFE}
        assert await waiting_uids(bed) == uids[20:]


async def test_stopping_lets_clients_finish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that settles at once leaves nothing behind, and senders hear how everything ended."""
    monkeypatch.setattr("relay.frames.FLUSH_S_MAX", 30.0)
    async with relay(tmp_path, Directory(7, 9), direct_s_max=600.0) as bed:
        async with link_client(bed, 7) as a, link_client(bed, 9) as b:
            await b.warm()
            uids = requests(200)
            await send_all(a, uids)
            await bed.app.__aexit__(None, None, None)
            assert (await b.closed())[0] == 1001
        assert set(await waiting_uids(bed)) == set(uids) - set(b.got)
        assert set(a.outcomes) >= set(b.got)
