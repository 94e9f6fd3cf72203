"""Outboxes on a real Valkey: order, limits, leases, orders, and a store that is lost half-way."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from relay.federation.outbox import PAGE_BYTES_MAX, START, Orders, OutboxFailed, OutboxFull
from relay.federation.redis_outbox import RedisOutboxes
from relay.tasks import end
from tests.support.proxy import proxy
from tests.support.relay import PATIENCE_S, until
from tests.support.services import valkey

pytestmark = pytest.mark.asyncio(loop_scope="module")

B, C = "b.test", "c.test:81"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[str, Any]]:
    async with valkey(tmp_path_factory.mktemp("outbox")) as (running, client):
        yield running.url, client


class Bench:
    """Outboxes of one process."""

    def __init__(self, url: str, **options: Any) -> None:
        self.client = Redis.from_url(url, socket_timeout=None, retry=Retry(NoBackoff(), 0))
        options = {"process": "p1", "entries_max": 1000, "bytes_max": 10**9, **options}
        self.outboxes = RedisOutboxes(self.client, **options)
        self._running = asyncio.create_task(self.outboxes.run())

    async def close(self) -> None:
        await end([self._running])
        await self.client.aclose()

    async def uids(self, name: str = B) -> list[bytes]:
        found: list[bytes] = []
        after = START
        while True:
            page = await self.outboxes.read(name, after)
            if page.last == after:
                return found
            found += [queued.data for queued in page.entries]
            after = page.last


@pytest_asyncio.fixture(loop_scope="module")
async def bench(server: tuple[str, Any]) -> AsyncIterator[Bench]:
    await server[1].flushall()
    made = Bench(server[0])
    yield made
    await made.close()


async def test_first_in_first_out(bench: Bench) -> None:
    """Each outbox by itself; depths come back; bytes, expiry and who was tried stay as they were."""
    puts = [bench.outboxes.put(name, b"%d" % n, 1000 + n, "x.test") for n in range(150) for name in (B, C)]
    assert await asyncio.gather(*puts) == [n for n in range(1, 151) for _ in range(2)]
    assert await bench.uids() == await bench.uids(C) == [b"%d" % n for n in range(150)]
    page = await bench.outboxes.read(B, START, 3)
    assert [(q.data, q.expires_at_s, q.tried) for q in page.entries] == [
        (b"%d" % n, 1000 + n, "x.test") for n in range(3)
    ]
    assert await bench.outboxes.names() == [B, C]


async def test_remove(bench: Bench) -> None:
    """Once or twice, gone or never there; bytes are given back, and are zero in an empty outbox."""
    await asyncio.gather(*(bench.outboxes.put(B, b"x" * 50, 1) for _ in range(3)))
    page = await bench.outboxes.read(B, START)
    ids = [queued.id for queued in page.entries]
    [full] = await bench.outboxes.look([B])
    await bench.outboxes.remove(B, [ids[0], ids[0], "1-1"])
    await bench.outboxes.remove(B, ids[:1])
    await bench.outboxes.remove(B, [])
    [view] = await bench.outboxes.look([B])
    assert (view.count, view.size_bytes * 3) == (2, full.size_bytes * 2)
    await bench.outboxes.remove(B, ids)
    [view] = await bench.outboxes.look([B])
    assert (view.count, view.size_bytes, view.oldest_at_s) == (0, 0, 0.0)


async def test_limits(server: tuple[str, Any]) -> None:
    """Exactly as many, and as many bytes, as may; one over is refused, later ones fit again."""
    await server[1].flushall()
    bench = Bench(server[0], entries_max=2, bytes_max=10**9, process="limits")
    try:
        results = await asyncio.gather(*(bench.outboxes.put(B, b"x", 1) for _ in range(3)), return_exceptions=True)
        assert results[:2] == [1, 2]
        assert isinstance(results[2], OutboxFull)
        assert str(results[2]) == "outbox for relay b.test is full: 2 messages wait"
        assert await bench.outboxes.put(C, b"x", 1) == 1
        page = await bench.outboxes.read(B, START)
        await bench.outboxes.remove(B, [page.entries[0].id])
        assert await bench.outboxes.put(B, b"x", 1) == 2
        [view] = await bench.outboxes.look([C])
    finally:
        await bench.close()
    bench = Bench(server[0], entries_max=100, bytes_max=3 * view.size_bytes, process="bytes")
    try:
        await asyncio.gather(*(bench.outboxes.put(C, b"x", 1) for _ in range(2)))
        with pytest.raises(OutboxFull, match=rf"full: {3 * view.size_bytes} bytes may wait"):
            await bench.outboxes.put(C, b"x", 1)
    finally:
        await bench.close()


async def Bench_look(url: str, name: str) -> Any:
    bench = Bench(url)
    try:
        return await bench.outboxes.look([name])
    finally:
        await bench.close()


async def test_large_entries_make_short_pages(bench: Bench) -> None:
    """A page ends with the entry that reaches the size, so that memory is bounded."""
    data = b"x" * (PAGE_BYTES_MAX // 2)
    await asyncio.gather(*(bench.outboxes.put(B, data, 1) for _ in range(5)))
    sizes = []
    after = START
    while (page := await bench.outboxes.read(B, after)).entries:
        sizes.append(len(page.entries))
        after = page.last
    assert sizes == [2, 2, 1]


async def test_what_is_no_entry(bench: Bench) -> None:
    """Others may write to the store: such things are named, and can be removed."""
    client: Any = bench.client
    key = f"relay.outbox:{{{B}}}"
    await client.xadd(key, {"msg": b"x"})
    await bench.outboxes.put(B, b"good", 7)
    await client.xadd(key, {"_": b"x", "x": "soon"})
    page = await bench.outboxes.read(B, START)
    assert [queued.data for queued in page.entries] == [b"good"]
    assert len(page.damaged) == 2
    await bench.outboxes.remove(B, page.damaged)
    assert await bench.uids() == [b"good"]


async def test_leases(bench: Bench, server: tuple[str, Any]) -> None:
    """One process at a time, only where something waits; given back, or over by itself."""
    other = Bench(server[0], process="p2")
    try:
        [empty] = await bench.outboxes.look([B], lease_ms=60_000)
        assert not empty.mine
        await bench.outboxes.put(B, b"x", 1)
        [seen] = await other.outboxes.look([B])
        assert (seen.mine, seen.owner) == (False, "")
        [mine] = await bench.outboxes.look([B], lease_ms=60_000)
        [theirs] = await other.outboxes.look([B], lease_ms=60_000)
        assert (mine.mine, theirs.mine, theirs.owner) == (True, False, "p1")
        await other.outboxes.release(B)
        assert (await other.outboxes.look([B], lease_ms=60_000))[0].owner == "p1"
        await bench.outboxes.release(B)
        assert (await other.outboxes.look([B], lease_ms=50))[0].mine

        async def taken() -> bool:
            return (await bench.outboxes.look([B], lease_ms=60_000))[0].mine

        await until(taken)
    finally:
        await other.close()


async def test_health_and_orders(bench: Bench) -> None:
    """They are kept, and survive an outbox that is emptied."""
    outboxes = bench.outboxes
    await outboxes.put(B, b"x", 1)
    await outboxes.save(B, b"ill")
    await outboxes.order(B, paused=True, retry=True, drain=True)
    await outboxes.remove(B, [(await outboxes.read(B, START)).entries[0].id])
    [view] = await outboxes.look([B])
    assert (view.health, view.orders) == (b"ill", Orders(paused=True, retry=True, drain=True))
    await outboxes.obeyed(B)
    assert (await outboxes.look([B]))[0].orders == Orders(paused=True)
    await outboxes.order(B, paused=False)
    assert (await outboxes.look([B]))[0].orders == Orders()
    assert await outboxes.look([]) == []


async def test_forget(bench: Bench) -> None:
    """Only when nothing waits."""
    await bench.outboxes.put(B, b"x", 1)
    await bench.outboxes.forget(B)
    assert await bench.outboxes.names() == [B]
    await bench.outboxes.remove(B, [(await bench.outboxes.read(B, START)).entries[0].id])
    await bench.outboxes.forget(B)
    assert await bench.outboxes.names() == []


async def test_keys_end_by_themselves(bench: Bench) -> None:
    """An outbox that nobody empties does not stay for ever."""
    client: Any = bench.client
    await bench.outboxes.put(B, b"x", 1)
    for key in (f"relay.outbox:{{{B}}}", f"relay.outbox.state:{{{B}}}"):
        assert 7 * 86400 < await client.ttl(key) <= 8 * 86400


async def test_calls(bench: Bench, server: tuple[str, Any]) -> None:
    """Every process hears when any has put something."""
    other = Bench(server[0], process="p2")
    calls = other.outboxes.calls()
    heard = asyncio.ensure_future(anext(calls))
    try:
        client: Any = bench.client

        async def listened() -> bool:
            return bool((await client.pubsub_numsub("relay.outbox.calls"))[0][1])

        await until(listened)
        await bench.outboxes.put(B, b"x", 1)
        assert await asyncio.wait_for(heard, PATIENCE_S) == B
    finally:
        await end([heard])
        await other.close()


async def test_an_answer_that_is_lost(server: tuple[str, Any]) -> None:
    """The batch is sent again, and is in the store once."""
    await server[1].flushall()
    async with proxy(server[0]) as door:
        bench = Bench(door.url, process="lost")
        try:
            assert await bench.outboxes.put(B, b"first", 1) == 1
            door.lose_replies = 1
            assert await asyncio.gather(*(bench.outboxes.put(B, b"%d" % n, 1) for n in range(3))) == [2, 3, 4]
            assert door.losses == 1
            assert await bench.uids() == [b"first", b"0", b"1", b"2"]
        finally:
            await bench.close()


async def test_a_store_that_is_away(server: tuple[str, Any]) -> None:
    """Puts wait for a while, then fail, as everything else does at once; no address is told."""
    await server[1].flushall()
    async with proxy(server[0]) as door:
        bench = Bench(door.url, process="away", put_s_max=0.5)
        try:
            door.cut()
            with pytest.raises(OutboxFailed, match=r"^the store does not answer \(\w+\)$"):
                await bench.outboxes.put(B, b"x", 1)
            with pytest.raises(OutboxFailed, match="the store does not answer"):
                await bench.outboxes.read(B, START)
            door.down = False
            assert await bench.outboxes.put(B, b"x", 1) == 1
        finally:
            await bench.close()
    late = bench.outboxes.put(B, b"x", 1)
    with pytest.raises(OutboxFailed, match="shutting down"):
        await late


async def test_a_key_of_another_kind(bench: Bench) -> None:
    """An error of the store is told, and concerns that outbox only."""
    client: Any = bench.client
    await client.set(f"relay.outbox:{{{B}}}", "text")
    results = await asyncio.gather(
        bench.outboxes.put(B, b"x", 1), bench.outboxes.put(C, b"x", 1), return_exceptions=True
    )
    assert isinstance(results[0], OutboxFailed)
    assert "WRONGTYPE" in str(results[0])
    assert results[1] == 1


async def test_room(bench: Bench) -> None:
    """What is held in memory is bounded by what callers wait for."""
    assert bench.outboxes.has_room()
    await bench.outboxes.room()
    puts = [bench.outboxes.put(B, b"x", 1) for _ in range(1001)]
    assert not bench.outboxes.has_room()
    await asyncio.wait_for(bench.outboxes.room(), PATIENCE_S)
    results = await asyncio.gather(*puts, return_exceptions=True)
    assert isinstance(results[-1], OutboxFull)
