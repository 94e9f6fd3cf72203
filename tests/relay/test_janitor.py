"""The janitor: what has expired goes where nobody reads, at a bounded cost, by one process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from relay.expiring import Expiry, Sieve
from relay.janitor import AGAIN_ENTRY_S, AGAIN_S, ENTRY_S, HURRIED_MAX, Janitor
from relay.keys import mailbox_key
from relay.lease import Lease
from relay.mailboxes import MailboxFull, Stored
from relay.metrics import Metrics
from relay.redis_mailboxes import RedisMailboxes
from relay.retention import Retention
from relay.tasks import end
from relay.upkeep import Upkeep
from rmb_peer.embedded.valkey import EmbeddedValkey
from rmb_peer.protocol.address import Address
from tests.support.mailboxes import redis_mailboxes
from tests.support.relay import request, until
from tests.support.services import valkey
from tests.support.stored import counted, really_stored

pytestmark = pytest.mark.asyncio(loop_scope="module")

A, S, B = Address(7), Address(7, "s"), Address(9)

Store = tuple[EmbeddedValkey, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_store(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Store]:
    async with valkey(tmp_path_factory.mktemp("janitor")) as (server, client):
        yield server, client


@pytest_asyncio.fixture(loop_scope="module")
async def store(shared_store: Store) -> Store:
    await shared_store[1].flushall()
    return shared_store


class Bench:
    """A janitor whose pauses take no time, and move the clock only when the test wants it."""

    def __init__(self, boxes: RedisMailboxes, client: Redis, now_s: "list[float]", name: str = "mailboxes") -> None:
        self.boxes, self.client, self.now_s = boxes, client, now_s
        self.gone: list[str] = []
        self.paused_s: list[float] = []
        self.metrics = Metrics()
        sieve = Sieve(boxes, Expiry(10**6), lambda e, why: self.gone.append(e.uid), self.clock)
        self.janitor = Janitor(Upkeep(client), sieve, Lease(client, name), self.metrics, self.clock, sleep=self.sleep)

    def clock(self) -> float:
        return self.now_s[0]

    async def sleep(self, pause_s: float) -> None:
        self.paused_s.append(pause_s)
        await asyncio.sleep(0)

    async def put(self, owner: Address, uid: str, lifetime_s: int) -> None:
        envelope = request(1, 1, uid)
        envelope.timestamp, envelope.expiration = int(self.now_s[0]), lifetime_s
        await self.boxes.append(owner, envelope.SerializeToString(), lifetime_s)

    async def pages_read(self) -> int:
        raw: Any = self.client
        return int((await raw.info("commandstats")).get("cmdstat_xrange", {"calls": 0})["calls"])


@asynccontextmanager
async def bench(store: Store, **limits: Any) -> AsyncIterator[Bench]:
    server, client = store
    now_s = [(await client.time())[0] * 1.0]
    full: list[Bench] = []
    async with redis_mailboxes(
        server.url,
        f"janitor{now_s}{limits}",
        retention=Retention(**limits),
        now_s=lambda: now_s[0],
        on_full=lambda owner, limit: full[0].janitor.is_full(owner, limit),
    ) as boxes:
        full.append(Bench(boxes, client, now_s))
        yield full[0]


async def test_what_has_expired_goes_though_nobody_reads(store: Store) -> None:
    """A round drops it, tells about it, frees its room; what lives stays."""
    async with bench(store) as b:
        for owner in (A, S, B):
            await b.put(owner, f"short {owner}", 60)
            await b.put(owner, f"long {owner}", 600)
        b.now_s[0] += 60
        await b.janitor.round()
        assert sorted(b.gone) == ["short 7", "short 7:s", "short 9"]
        assert (await really_stored(b.client))["all"][0] == 3
        assert await counted(b.client) == await really_stored(b.client)
        b.now_s[0] += 540
        await b.janitor.round()
        assert await really_stored(b.client) == await counted(b.client) == {}
        assert len(b.gone) == 6


async def test_a_mailbox_in_which_nothing_can_have_expired_is_not_read(store: Store) -> None:
    """Going through everything reads counters only."""
    async with bench(store) as b:
        for n in range(20):
            await b.put(Address(100 + n), "x", 600)
        before = await b.pages_read()
        b.now_s[0] += 599
        await b.janitor.round()
        assert await b.pages_read() == before
        assert b.gone == []


async def test_a_mailbox_is_not_read_over_and_over(store: Store) -> None:
    """Though something in it expires every second, it is read at intervals that grow with its size."""
    async with bench(store) as b:
        for n in range(200):
            await b.put(A, str(n), n + 1)
        reads = 0
        for _ in range(60):
            b.now_s[0] += 1
            before = len(b.gone)
            await b.janitor.round()
            reads += len(b.gone) > before
        assert AGAIN_S > 200 * AGAIN_ENTRY_S
        assert reads == 2
        assert len(b.gone) == 1 + AGAIN_S


async def test_the_pace_is_bounded(store: Store) -> None:
    """Each page is followed by a pause for each of its entries."""
    async with bench(store) as b:
        await asyncio.gather(*(b.put(A, str(n), 10) for n in range(250)))
        b.now_s[0] += 10
        b.paused_s.clear()
        await b.janitor.look_through(A)
        assert sum(b.paused_s) == pytest.approx(250 * ENTRY_S)
        assert len(b.gone) == 250


async def test_what_others_store_is_found_and_counted(store: Store) -> None:
    """Relays of other makes neither count nor say when something expires."""
    async with bench(store) as b:
        envelope = request(1, 1, "theirs")
        envelope.timestamp, envelope.expiration = int(b.now_s[0]), 100
        data = envelope.SerializeToString()
        await b.client.xadd(mailbox_key(A), {"_": data})
        await b.janitor.round()
        assert (await counted(b.client))["all"] == (1, len(data))
        b.now_s[0] += 100
        await b.janitor.round()
        assert b.gone == ["theirs"]
        assert await counted(b.client) == {}


async def test_what_others_put_in_the_way_is_left_alone(store: Store) -> None:
    """Keys of a wrong type hold up nobody."""
    async with bench(store) as b:
        raw: Any = b.client
        await raw.mset({"stream:8": "no stream", "relay.stored:{8}": "no hash", mailbox_key(B): "x"})
        await b.put(A, "short", 10)
        b.now_s[0] += 10
        await b.janitor.round()
        assert b.gone == ["short"]
        assert await raw.get("stream:8") == b"no stream"


async def test_wrong_sums_are_corrected_by_a_quiet_round(store: Store) -> None:
    """Should the counters of a twin have been lost, the sums follow what is there."""
    async with bench(store) as b:
        await b.put(A, "x", 600)
        raw: Any = b.client
        await raw.hset("relay.stored", mapping={"n": 77, "b": 77})
        await b.janitor.round()
        assert await counted(b.client) == await really_stored(b.client)


async def test_a_full_mailbox_is_looked_through_at_once(store: Store) -> None:
    """What has expired in it makes room for the next try; not again and again, though."""
    async with bench(store, count=2) as b:
        working = asyncio.create_task(b.janitor._hurry())
        try:
            await b.put(A, "short", 10)
            await b.put(A, "long", 600)
            b.now_s[0] += 10
            with pytest.raises(MailboxFull):
                await b.put(A, "new", 600)
            await until(lambda: b.gone == ["short"])
            await b.put(A, "new", 600)
            pages = await b.pages_read()
            for _ in range(5):
                with pytest.raises(MailboxFull):
                    await b.put(A, "more", 600)
            assert await b.pages_read() <= pages + 3  # the end of the first time
        finally:
            await end([working])


async def test_a_full_twin_is_looked_through(store: Store) -> None:
    """All mailboxes of the twin in which something has expired."""
    async with bench(store, twin_count=2) as b:
        working = asyncio.create_task(b.janitor._hurry())
        try:
            await b.put(A, "short", 10)
            await b.put(S, "short too", 10)
            b.now_s[0] += 10
            with pytest.raises(MailboxFull):
                await b.put(A, "new", 600)
            await until(lambda: len(b.gone) == 2)
            await b.put(A, "new", 600)
        finally:
            await end([working])


async def test_full_mailboxes_that_wait_are_bounded(store: Store) -> None:
    """The others wait for their round."""
    async with bench(store) as b:
        for n in range(HURRIED_MAX + 10):
            b.janitor.is_full(Address(n + 1), "count")
        assert len(b.janitor._hurried) == HURRIED_MAX
        b.janitor.is_full(Address(1), "store")
        assert len(b.janitor._hurried) == HURRIED_MAX


async def test_the_rounds_are_made_by_one_process(store: Store) -> None:
    """Two janitors on one store: one has the lease, both know the sums; when it ends the other one takes over."""
    async with bench(store) as b:
        other = Bench(b.boxes, b.client, b.now_s)
        await b.put(A, "1", 10)
        b.now_s[0] += 10
        first = asyncio.create_task(b.janitor.run())
        await until(lambda: b.gone == ["1"])
        second = asyncio.create_task(other.janitor.run())
        try:
            await b.put(A, "2", 10)
            await b.put(B, "3", 600)
            await until(lambda: other.metrics.stored != Stored())
            b.now_s[0] += 10
            await until(lambda: b.gone == ["1", "2"])
            assert other.gone == []
            await end([first])
            b.now_s[0] += 600
            await until(lambda: other.gone == ["3"])
        finally:
            await end([first, second])
