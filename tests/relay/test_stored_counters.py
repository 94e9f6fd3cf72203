"""What is stored is counted in the step that changes it (see `relay.mailbox_scripts`), on a real store."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from relay.keys import mailbox_key
from relay.mailboxes import START, MailboxFailed, MailboxFull, Receipt, Stored
from relay.retention import Retention
from relay.upkeep import Upkeep
from rmb_peer.embedded.valkey import EmbeddedValkey
from rmb_peer.protocol.address import Address
from tests.support.mailboxes import redis_mailboxes
from tests.support.proxy import proxy
from tests.support.services import valkey
from tests.support.stored import counted, really_stored

pytestmark = pytest.mark.asyncio(loop_scope="module")

A, S, B = Address(7), Address(7, "s"), Address(9)
OWNERS = (A, S, B)

Store = tuple[EmbeddedValkey, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_store(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Store]:
    async with valkey(tmp_path_factory.mktemp("stored")) as (server, client):
        yield server, client


@pytest_asyncio.fixture(loop_scope="module")
async def store(shared_store: Store) -> Store:
    await shared_store[1].flushall()
    return shared_store


async def recount(client: Any, owners: tuple[Address, ...] = OWNERS, now_s: int = 1000) -> None:
    """What the janitor does to mailboxes that are due."""
    upkeep = Upkeep(client)
    for twin in {owner.twin for owner in owners}:
        for owner in await upkeep.check(twin, [each for each in owners if each.twin == twin], now_s):
            step = await upkeep.walk(owner, now_s + 3600)
            while not step.ended:
                step = await upkeep.walk(owner, None)
            await upkeep.settle(owner, now_s + 3600)


async def test_counters_name_mailbox_twin_and_store(store: Store) -> None:
    """Count and bytes of each; nothing is left when nothing is stored."""
    server, client = store
    async with redis_mailboxes(server.url) as boxes:
        ids = [(await boxes.append(owner, bytes(10 * n), 300)).id for n, owner in enumerate((A, S, B), 1)]
        expected = {"7 ": (1, 10), "7 s": (1, 20), "7": (2, 30), "9 ": (1, 30), "9": (1, 30), "all": (3, 60)}
        assert await counted(client) == await really_stored(client) == expected
        for owner, entry_id in zip((A, S, B), ids, strict=True):
            await boxes.delete(owner, [entry_id])
        assert await counted(client) == {}
        assert await client.keys("relay.stored:*") == []


async def test_a_repeated_batch_is_not_counted_twice(store: Store) -> None:
    """The answer was lost; the repetition neither stores nor counts, and what was dropped is told all the same."""
    server, client = store
    dropped: list[bytes] = []
    limits = Retention(count=2, when_full="drop-oldest")
    async with (
        proxy(server.url) as door,
        redis_mailboxes(door.url, "repeats", retention=limits, on_dropped=dropped.append) as boxes,
    ):
        await asyncio.gather(boxes.append(A, b"1", 300), boxes.append(A, b"22", 300))
        door.lose_replies = 1
        receipt = await boxes.append(A, b"333", 300)
        assert (receipt.depth, door.losses) == (2, 1)
        assert await counted(client) == await really_stored(client)
        assert (await counted(client))["all"] == (2, 5)
        while not dropped:
            await asyncio.sleep(0)
    assert dropped == [b"1"]


async def test_a_lost_answer_to_a_removal_is_not_counted_twice(store: Store) -> None:
    """Removing again removes nothing, and counts nothing."""
    server, client = store
    async with proxy(server.url) as door, redis_mailboxes(door.url, "removes") as boxes:
        first, second = [(await boxes.append(A, bytes(5), 300)).id for _ in range(2)]
        await boxes.delete(A, [(1, 1)])  # loads the script
        door.lose_replies = 1
        await boxes.delete(A, [first])
        assert door.losses == 1
        assert (await counted(client))["all"] == (1, 5)
        await boxes.delete(A, [second])
        assert await counted(client) == {}


async def test_a_mailbox_that_expired_is_forgotten(store: Store) -> None:
    """By the next append to it, and by whoever checks."""
    server, client = store
    async with redis_mailboxes(server.url, "expired") as boxes:
        await asyncio.gather(*(boxes.append(owner, bytes(10), 300) for owner in OWNERS))
        await client.delete(*map(mailbox_key, OWNERS))
        await boxes.append(A, b"1", 300)
        assert (await counted(client))["7 "] == (1, 1)
        await recount(client)
        assert await counted(client) == await really_stored(client)


@pytest.mark.parametrize("count", [1, 99, 100, 101, 250])
async def test_what_others_stored_is_counted(count: int, store: Store) -> None:
    """Programs of other makes append and trim without counting; a walk through the mailbox puts it right."""
    server, client = store
    async with redis_mailboxes(server.url, f"others{count}") as boxes:
        await boxes.append(A, bytes(10), 300)
        pipeline = client.pipeline()
        for n in range(count):
            pipeline.xadd(mailbox_key(A), {"_": bytes(n)}, maxlen=10_000)
            pipeline.xadd(mailbox_key(B), {"_": bytes(n)}, maxlen=10_000)
        pipeline.xtrim(mailbox_key(A), maxlen=count, approximate=False)
        await pipeline.execute()
        await boxes.append(A, b"1", 300)
        assert (await counted(client))["7 "][0] == count + 1
        await recount(client, now_s=10**10)  # as many may be there as before: only time tells that it is due
        assert await counted(client) == await really_stored(client)


async def test_everything_goes_on_while_a_mailbox_is_counted(store: Store) -> None:
    """Appends, removals before and behind the place that was reached: the sum is exact in the end."""
    server, client = store
    async with redis_mailboxes(server.url, "goes-on") as boxes:
        ids = [(await boxes.append(A, bytes(n), 300)).id for n in range(250)]
        await client.hset("relay.stored:{7}", mapping={"m": "250 1 0 0", "t": "250 1 1"})  # as wrong as can be
        upkeep = Upkeep(client)
        step = await upkeep.walk(A, 5000)
        assert not step.ended and step.seen == 100
        await boxes.delete(A, [ids[3], ids[50], ids[99], ids[100], ids[249]])
        await boxes.append(A, bytes(1000), 300)
        while not (await upkeep.walk(A, None)).ended:
            await boxes.delete(A, [ids[0]])
        counts, real = await counted(client), await really_stored(client)
        assert (counts["7 "], counts["7"]) == (real["7 "], real["7"])


async def test_a_walk_gives_way_to_other_programs(store: Store) -> None:
    """When somebody who does not count changes the mailbox meanwhile, the walk ends, and another one is due."""
    server, client = store
    async with redis_mailboxes(server.url, "gives-way") as boxes:
        await asyncio.gather(*(boxes.append(A, bytes(n), 300) for n in range(150)))
        upkeep = Upkeep(client)
        assert not (await upkeep.walk(A, 5000)).ended
        await client.xadd(mailbox_key(A), {"_": b"theirs"})
        assert (await upkeep.walk(A, None)).ended
        assert await upkeep.check(7, [A], 1) == [A]
        await recount(client)
        assert await counted(client) == await really_stored(client)


async def test_when_a_mailbox_is_due(store: Store) -> None:
    """When the first envelope in it has expired; after a walk, when that says so or something appended since does."""
    server, client = store
    now = [1000]
    async with redis_mailboxes(server.url, "due", now_s=lambda: now[0]) as boxes:
        upkeep = Upkeep(client)
        await asyncio.gather(boxes.append(A, b"1", 300), boxes.append(A, b"2", 60), boxes.append(A, b"3", 400))
        assert await upkeep.check(7, [A], 1059) == []
        assert await upkeep.check(7, [A], 1060) == [A]
        await upkeep.walk(A, 9999)
        assert await upkeep.check(7, [A], 9998) == []
        now[0] = 2000
        await boxes.append(A, b"4", 100)
        await upkeep.settle(A, 3000)
        assert await upkeep.check(7, [A], 2099) == []
        assert await upkeep.check(7, [A], 2100) == [A]
        await upkeep.walk(A, 9999)
        await upkeep.settle(A, 3000)
        assert await upkeep.check(7, [A], 2999) == []
        assert await upkeep.check(7, [A], 3000) == [A]


async def test_all_keys_are_found(store: Store) -> None:
    """Mailboxes that only exist, or are only counted, are found; keys of other programs are no matter."""
    server, client = store
    async with redis_mailboxes(server.url, "found") as boxes:
        await asyncio.gather(boxes.append(A, b"1", 300), boxes.append(S, b"22", 300))
    await client.delete(mailbox_key(S))
    await client.xadd(mailbox_key(B), {"_": b"theirs"})
    await client.mset({"stream:8": "no stream", "relay.stored:{8}": "no hash", "stream:x": "", "other": ""})
    found: dict[int, set[Address]] = {}
    total = Stored()
    async for twins, stored in Upkeep(client).twins():
        total = Stored(total.count + stored.count, total.bytes + stored.bytes)
        for twin, owners in twins.items():
            found.setdefault(twin, set()).update(owners)
    assert found == {7: {A, S}, 8: {Address(8)}, 9: {B}}
    assert total == Stored(2, 3)
    assert await Upkeep(client).check(8, [Address(8)], 1000) == []


async def test_sums_are_corrected_only_if_nobody_changed_them(store: Store) -> None:
    """A number that was read too long ago replaces nothing."""
    _, client = store
    upkeep = Upkeep(client)
    await client.hset("relay.stored", mapping={"n": 5, "b": 50})
    assert not await upkeep.correct_sums(Stored(4, 50), Stored(1, 1))
    assert await upkeep.sums() == Stored(5, 50)
    assert await upkeep.correct_sums(Stored(5, 50), Stored(1, 2))
    assert await upkeep.sums() == Stored(1, 2)


async def test_a_killed_store_comes_back_with_right_counters(tmp_path: Path) -> None:
    """SIGKILL in the middle of appends and removals: each script call is in the file as a whole, or not at all."""
    server = await EmbeddedValkey.start(tmp_path, fsync="always")
    keeper = asyncio.create_task(server.keep_running())
    client = Redis.from_url(server.url, socket_timeout=None)
    try:
        async with redis_mailboxes(server.url, "killed", append_s_max=0.0) as boxes:
            appends = [boxes.append(OWNERS[n % 3], bytes(n), 300) for n in range(2400)]
            await appends[400]
            deleted = boxes.delete(A, [appends[n].result().id for n in range(0, 300, 3)])
            await appends[500]
            first = server.pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            results = await asyncio.gather(*appends, return_exceptions=True)
            assert all(isinstance(each, Receipt | MailboxFailed) for each in results)
            await deleted
            async with asyncio.timeout(60):
                while server.pid == first or await server._ask(b"PING") != b"+PONG":
                    await asyncio.sleep(0.01)  # polls a real process
            stored = sum(isinstance(each, Receipt) for each in results)
            counts = await counted(client)
            assert counts == await really_stored(client)
            assert counts["all"][0] >= stored - 100
    finally:
        await client.aclose()
        await server.stop()
        await keeper


SIZES = st.integers(0, 30)
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.lists(st.tuples(st.sampled_from(OWNERS), SIZES), min_size=1, max_size=5)),
        st.tuples(st.just("delete"), st.sampled_from(OWNERS), st.lists(st.integers(0, 9), min_size=1, max_size=4)),
        st.tuples(st.just("expire"), st.sampled_from(OWNERS)),
        st.tuples(st.just("foreign"), st.sampled_from(OWNERS), SIZES),
        st.tuples(st.just("trim"), st.sampled_from(OWNERS), st.integers(0, 3)),
        st.tuples(st.just("walk"), st.sampled_from(OWNERS), st.booleans()),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(actions=ACTIONS, drop=st.booleans())
async def test_whatever_happens_the_counters_are_right(actions: list[Any], drop: bool, shared_store: Store) -> None:
    """Any mixture of appends, removals, expiries, walks and other programs: exact, or exact again after a recount."""
    server, client = shared_store
    await client.flushall()
    limits = Retention(
        count=5, bytes=60, twin_count=8, twin_bytes=90, stored_bytes=130, when_full="drop-oldest" if drop else "refuse"
    )
    clean = True
    """Whether only programs that count have changed anything since the last recount."""
    async with redis_mailboxes(server.url, "plays", retention=limits) as boxes:
        for action in actions:
            match action:
                case ("append", items):
                    results = await asyncio.gather(
                        *(boxes.append(owner, bytes(size), 300) for owner, size in items), return_exceptions=True
                    )
                    assert all(not isinstance(each, Exception) or isinstance(each, MailboxFull) for each in results)
                case ("delete", owner, numbers):
                    entries = (await boxes.read(owner, START)).entries
                    await boxes.delete(owner, [entries[n].id for n in numbers if n < len(entries)] or [(1, 1)])
                case ("expire", owner):
                    clean = clean and not await client.delete(mailbox_key(owner))
                case ("foreign", owner, size):
                    await client.xadd(mailbox_key(owner), {"_": bytes(size)})
                    clean = False
                case ("trim", owner, count):
                    clean = not await client.xtrim(mailbox_key(owner), maxlen=count, approximate=False) and clean
                case ("walk", owner, begin):
                    await Upkeep(client).walk(owner, 5000 if begin else None)
            if clean:
                real = await really_stored(client)
                assert await counted(client) == real
                assert real.get("all", (0, 0))[1] <= limits.stored_bytes
                for owner in OWNERS:
                    count, size = real.get(f"{owner.twin} {owner.session or ''}", (0, 0))
                    assert count <= limits.count and size <= limits.bytes
                assert real.get("7", (0, 0))[0] <= limits.twin_count and real.get("7", (0, 0))[1] <= limits.twin_bytes
        await recount(client, now_s=10**10)
        assert await counted(client) == await really_stored(client)
