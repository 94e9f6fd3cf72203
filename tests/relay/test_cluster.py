"""A Valkey Cluster as the store: everything that a relay keeps works there, with several processes, end to end."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial
from typing import Any, cast

import pytest
import pytest_asyncio
from websockets.asyncio.client import connect

from relay.app import RelayApp
from relay.config import RelayConfig
from relay.federation.outbox import OutboxFull
from relay.federation.redis_outbox import RedisOutboxes
from relay.federation.repeats import Repeats, Seen, post_of
from relay.keys import OUTBOX_CALLS, stored_key
from relay.lease import Lease
from relay.mailboxes import START, MailboxFull, Stored
from relay.process_settings import Timing
from relay.redis_mailboxes import RedisMailboxes
from relay.registry_store import RegistryStore
from relay.retention import Retention
from relay.store import connect as connect_store
from relay.store import connect_for_news, detect_cluster
from relay.tasks import end
from relay.upkeep import Upkeep
from rmb_peer.protocol.address import Address
from tests.support.cluster import ClusterNode, cluster
from tests.support.hosted_registry import signer
from tests.support.relay import ALONE, DOMAIN, Directory, receive, request, send, token, until
from tests.support.rmb_rs_relay import rmb_rs_relay

pytestmark = pytest.mark.asyncio(loop_scope="module")

TWINS = tuple(range(1, 13))
"""Enough that they are spread over all three servers."""


class Beds:
    """Two relays on one cluster."""

    def __init__(self, apps: list[RelayApp], nodes: list[ClusterNode], store: Any) -> None:
        self.apps = apps
        self.nodes = nodes
        self.urls = [node.url for node in nodes]
        self.store = store

    def client(self, number: int, twin: int) -> connect:
        return connect(f"{self.apps[number].url}/?{token(Address(twin))}", compression=None, ping_interval=None)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def beds(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Beds]:
    timing = Timing(beat_s=0.1, life_s=600.0, check_s=600.0)
    async with cluster(tmp_path_factory.mktemp("cluster")) as (nodes, store):
        urls = [node.url for node in nodes]
        common: dict[str, Any] = {
            "domains": (DOMAIN,),
            "listen_host": "127.0.0.1",
            "listen_port": 0,
            "store_patience_s": 120.0,
            "federation": ALONE,
        }
        one = RelayConfig(redis_cluster=tuple(urls[:2]), presence=timing, **common)
        two = RelayConfig(redis_url=urls[2], presence=timing, **common)  # recognised as one
        directory = Directory(*TWINS)
        async with RelayApp(one, lookup=directory) as first, RelayApp(two, lookup=directory) as second:
            for app in (first, second):
                await app.presence.listens()
            await until(lambda: first.presence.others and second.presence.others)
            yield Beds([first, second], nodes, store)


async def test_it_is_recognised(beds: Beds) -> None:
    """A server of a cluster says so; one that does not answer is no cluster."""
    assert await detect_cluster(beds.urls[0], 30.0)
    assert not await detect_cluster("redis://127.0.0.1:1", 30.0)


async def test_messages_cross_it(beds: Beds) -> None:
    """Live from one process to the other, for twins on all servers; keys carry the twin as hash tag."""
    async with beds.client(0, 1) as sender:
        for twin in TWINS[1:]:
            async with beds.client(1, twin) as receiver:
                await send(sender, request(1, twin, f"to {twin}"))
                assert (await receive(receiver)).uid == f"to {twin}"
            await send(sender, request(1, twin, f"kept for {twin}"))
        for twin in TWINS[1:]:
            await until(partial(beds.store.xlen, f"stream:{{{twin}}}"))
            async with beds.client(twin % 2, twin) as receiver:
                while (uid := (await receive(receiver)).uid) != f"kept for {twin}":
                    assert uid == f"to {twin}"


async def test_the_newest_wins_on_a_cluster(beds: Beds) -> None:
    """4001 across processes."""
    async with beds.client(0, 2) as older, beds.client(1, 2):
        async with asyncio.timeout(60):
            await older.wait_closed()
        assert older.close_code == 4001


async def test_batches_are_split_and_keep_their_order(beds: Beds) -> None:
    """One turn appends for many twins: each gets a receipt, in the order of the calls for each mailbox."""
    boxes = beds.apps[0].mailboxes
    owners = [Address(1000 + n % 40, "s" if n % 3 else None) for n in range(400)]
    receipts = await asyncio.gather(*(boxes.append(owner, b"%d" % n, 300) for n, owner in enumerate(owners)))
    for owner in set(owners):
        numbers = [n for n, of in enumerate(owners) if of == owner]
        page = await boxes.read(owner, START)
        assert [int(entry.data) for entry in page.entries] == numbers
        assert [entry.id for entry in page.entries] == [receipts[n].id for n in numbers]
        await boxes.delete(owner, [entry.id for entry in page.entries])
        assert not (await boxes.read(owner, START)).entries


async def test_the_registry_is_kept_there(beds: Beds) -> None:
    """Claims, records and changes, which touch several keys at once."""
    client = connect_store(beds.urls, cluster=True, timeout_s=None)
    try:
        store = RegistryStore(client)
        twin = await store.put(signer("cluster"), frozenset({DOMAIN}), None)
        assert await store.get(twin.id) == twin
        assert await store.get_by_account(twin.account) == twin
        assert [record.twin for record in (await store.changes(0, 10)).twins] == [twin]
        assert [record.twin for record in await store.page(0, 10)] == [twin]
    finally:
        await client.aclose()


async def test_leases_are_kept_there(beds: Beds) -> None:
    """A lease excludes others on a cluster, too."""
    client = connect_store(beds.urls, cluster=True, timeout_s=None)
    try:
        one, two = Lease(client, "work", lease_s=600.0), Lease(client, "work", lease_s=600.0)
        assert (await one.take(), await two.take()) == (True, False)
        await one.release()
        assert await two.take()
    finally:
        await client.aclose()


async def test_a_server_that_is_away_for_a_moment(beds: Beds) -> None:
    """What is for its twins waits and is stored; what is for others is not held up for ever."""
    boxes = beds.apps[0].mailboxes
    async with beds.nodes[1].away():
        waiting = [boxes.append(Address(twin), b"x", 300) for twin in range(2000, 2012)]
        await asyncio.wait(waiting, timeout=0.1)
        assert not all(future.done() for future in waiting)
    for future in waiting:
        await future
    for twin in range(2000, 2012):
        assert [entry.data for entry in (await boxes.read(Address(twin), START)).entries] == [b"x"]


async def test_full_mailboxes_and_counts(beds: Beds) -> None:
    """Counters are kept per twin; what is dropped for room is told; the whole store's cap goes by the last count."""
    client: Any = connect_store(beds.urls, cluster=True, timeout_s=None, once=True)
    dropped: list[bytes] = []
    retention = Retention(count=2, when_full="drop-oldest", stored_bytes=1000)
    stored_bytes = 0
    boxes = RedisMailboxes(
        client, process="full", retention=retention, on_dropped=dropped.append, stored_bytes=lambda: stored_bytes
    )
    running = asyncio.create_task(boxes.run())
    owners = [Address(twin) for twin in range(3000, 3006)]
    try:
        await asyncio.gather(*(boxes.append(owner, b"%d" % n, 300) for n in range(3) for owner in owners))
        await until(lambda: len(dropped) >= len(owners))
        assert dropped == [b"0"] * len(owners)
        assert await client.hget(stored_key(3000), "t") == b"2 2 1"
        assert not await client.hexists(stored_key(3000), "n")
        stored_bytes = 1000
        with pytest.raises(MailboxFull):
            await boxes.append(Address(3000, "s"), b"x", 300)
        upkeep = Upkeep(client)
        found, total = set[Address](), Stored()
        async for twins, stored in upkeep.twins():
            found.update(owner for each in twins.values() for owner in each)
            total = Stored(total.count + stored.count, total.bytes + stored.bytes)
        assert found.issuperset(owners)
        assert total.count >= 2 * len(owners)
        believed = await upkeep.sums()
        assert await upkeep.correct_sums(believed, total)
        assert await upkeep.sums() == total
        step = await upkeep.walk(owners[0], 2000)
        while not step.ended:
            step = await upkeep.walk(owners[0], None)
        await upkeep.settle(owners[0], 2000)
        assert await upkeep.check(3000, owners[:1], 1999) == []
        for owner in owners:
            page = await boxes.read(owner, START)
            assert await boxes.remove(owner, [entry.id for entry in page.entries])
            assert not await client.exists(stored_key(owner.twin))
    finally:
        await boxes.close()
        await running
        await client.aclose()


async def test_outboxes_are_kept_there(beds: Beds) -> None:
    """Put, seen, called for, ordered and removed; several at once, on whichever servers they are."""
    client: Any = connect_store(beds.urls, cluster=True, timeout_s=None, once=True)
    outboxes = RedisOutboxes(
        client, process="p", entries_max=2, bytes_max=10**6, news=lambda: connect_for_news(client, beds.urls)
    )
    running = asyncio.create_task(outboxes.run())
    names = [f"r{n}.test" for n in range(6)]
    calls = cast(AsyncGenerator[str, None], outboxes.calls())

    async def one_call() -> str:
        return await anext(calls)

    called = asyncio.create_task(one_call())
    try:

        async def is_heard() -> bool:
            await client.publish(OUTBOX_CALLS, "hello")
            return called.done()

        await until(is_heard)
        assert await called == "hello"
        assert await asyncio.gather(*(outboxes.put(name, b"%d" % n, 2**31) for n in range(2) for name in names)) == [
            *(1 for _ in names),
            *(2 for _ in names),
        ]
        with pytest.raises(OutboxFull):
            await outboxes.put(names[0], b"x", 2**31)
        assert set(names) <= set(await outboxes.names())
        views = await outboxes.look(names, lease_ms=60_000)
        assert [(view.count, view.mine) for view in views] == [(2, True)] * len(names)
        await outboxes.order(names[0], paused=True, retry=True)
        await outboxes.save(names[0], b"sick")
        await outboxes.obeyed(names[0])
        [view] = await outboxes.look(names[:1])
        assert (view.health, view.orders.paused, view.orders.retry) == (b"sick", True, False)
        for name in names:
            page = await outboxes.read(name, "0-0")
            assert [queued.data for queued in page.entries] == [b"0", b"1"]
            await outboxes.remove(name, [queued.id for queued in page.entries])
            await outboxes.release(name)
            await outboxes.forget(name)
        assert not set(names) & set(await outboxes.names())
    finally:
        await end([running, called])
        await calls.aclose()
        await client.aclose()


async def test_federation_starts_from_there(beds: Beds) -> None:
    """An envelope for a twin of another relay goes through an outbox on the cluster, and arrives."""
    directory = Directory(1)
    async with rmb_rs_relay() as far:
        directory.add(9, relays=(far.name,))
        config = RelayConfig(redis_cluster=tuple(beds.urls), listen_host="127.0.0.1", listen_port=0)
        async with (
            RelayApp(config, lookup=directory) as app,
            connect(f"{app.url}/?{token(Address(1, 'far'))}", compression=None) as sender,
        ):
            await send(sender, request("1:far", 9, "far away"))
            await until(lambda: far.uids == ["far away"])


async def test_one_identity_and_marks(beds: Beds) -> None:
    """All processes have one key; a post is recognised by all of them."""
    assert beds.apps[0].identity.public_key == beds.apps[1].identity.public_key
    client = connect_store(beds.urls, cluster=True, timeout_s=None)
    try:
        one, two = Repeats(client), Repeats(client)
        post = post_of("relay.test", b"body", b"signature")
        assert await one.begin(post) is Seen.NEW
        await one.stored(post)
        assert await two.begin(post) is Seen.STORED
    finally:
        await client.aclose()
