"""One suite for `LocalQueues`, on a real Valkey and in memory."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest
from redis.asyncio import Redis

from rmb_peer.local import keys, redis_queues
from rmb_peer.local.memory_queues import MemoryQueues
from rmb_peer.local.queues import DeadLetter, Delivery, LocalQueues, Outcome, Waiting
from rmb_peer.local.redis_queues import RedisQueues, connect
from tests.support.services import valkey


class Programs(Protocol):
    """What local programs do with the store."""

    async def lpush(self, name: str, *values: bytes) -> None: ...
    async def rpush(self, name: str, value: bytes) -> None: ...
    async def content(self, name: str) -> list[bytes]:
        """From head to tail."""
        ...


class RedisPrograms:
    def __init__(self, redis: Redis) -> None:
        self.redis: Any = redis

    async def lpush(self, name: str, *values: bytes) -> None:
        await self.redis.lpush(name, *values)

    async def rpush(self, name: str, value: bytes) -> None:
        await self.redis.rpush(name, value)

    async def content(self, name: str) -> list[bytes]:
        return list(await self.redis.lrange(name, 0, -1))


class MemoryPrograms:
    def __init__(self, queues: MemoryQueues) -> None:
        self.queues = queues

    async def lpush(self, name: str, *values: bytes) -> None:
        for value in values:
            self.queues.push(name, value)

    async def rpush(self, name: str, value: bytes) -> None:
        self.queues.push(name, value)
        self.queues.lists[name].append(self.queues.lists[name].popleft())

    async def content(self, name: str) -> list[bytes]:
        return list(self.queues.lists.get(name, ()))


@asynccontextmanager
async def redis_setup(folder: Path) -> AsyncIterator[tuple[LocalQueues, Programs]]:
    async with valkey(folder) as (server, client):
        queues = RedisQueues(await connect(server.url), random_bytes=os.urandom)
        try:
            yield queues, RedisPrograms(client)
        finally:
            await queues.close()


@pytest.fixture(params=["valkey", "memory"])
async def setup(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[LocalQueues, Programs]]:
    if request.param == "valkey":
        async with redis_setup(tmp_path) as pair:
            yield pair
    else:
        queues = MemoryQueues(now=time.monotonic, random_bytes=os.urandom)
        yield queues, MemoryPrograms(queues)


Setup = tuple[LocalQueues, Programs]


async def test_lpush_producers_are_served_first_in_first_out(setup: Setup) -> None:
    """Items leave in the order in which an LPUSHing producer put them (C 13)."""
    queues, programs = setup
    await programs.lpush(keys.LOCAL_REQUESTS, b"1", b"2", b"3")
    assert [(item.kind, item.raw) for item in await queues.take(10)] == [
        ("request", b"1"),
        ("request", b"2"),
        ("request", b"3"),
    ]


async def test_our_record_is_kept(setup: Setup) -> None:
    """None at first; then what was kept last."""
    queues, _ = setup
    assert await queues.own_record() is None
    for record in (b"one", b"\0two"):
        await queues.keep_own_record(record)
        assert await queues.own_record() == record


async def test_rpush_producers_are_served(setup: Setup) -> None:
    """An RPUSHed item comes next, as with the Rust gateway, and is not forgotten (C 13)."""
    queues, programs = setup
    await programs.lpush(keys.LOCAL_REQUESTS, b"1", b"2")
    await programs.rpush(keys.LOCAL_REQUESTS, b"go")
    assert [item.raw for item in await queues.take(10)] == [b"go", b"1", b"2"]


async def test_neither_list_starves_the_other(setup: Setup) -> None:
    """Requests and replies take turns (spec rmb 10.11 f)."""
    queues, programs = setup
    await programs.lpush(keys.LOCAL_REQUESTS, *(b"q%d" % n for n in range(6)))
    await programs.lpush(keys.LOCAL_REPLIES, b"r0", b"r1")
    assert [item.raw for item in await queues.take(5)] == [b"q0", b"r0", b"q1", b"r1", b"q2"]
    assert [item.raw for item in await queues.take(5)] == [b"q3", b"q4", b"q5"]


@pytest.mark.parametrize("name", [keys.LOCAL_REQUESTS, keys.LOCAL_REPLIES])
async def test_take_waits_for_either_list(setup: Setup, name: str) -> None:
    """A take on empty lists returns as soon as something is pushed, again and again."""
    queues, programs = setup
    for number in range(3):
        taking = asyncio.create_task(queues.take(10))
        await asyncio.sleep(0)
        await programs.lpush(name, b"%d" % number)
        async with asyncio.timeout(3):
            assert [item.raw for item in await taking] == [b"%d" % number]


async def test_entries_are_never_used_twice(setup: Setup) -> None:
    """Each taken item has an id of its own."""
    queues, programs = setup
    entries = []
    for _ in range(3):
        await programs.lpush(keys.LOCAL_REQUESTS, b"same", b"same")
        entries += [item.entry for item in await queues.take(10)]
    assert len(set(entries)) == 6


async def test_deliveries_reach_the_head_in_order(setup: Setup) -> None:
    """Values are LPUSHed, so that a BRPOP reads them first in, first out (spec rmb 5.1)."""
    queues, programs = setup
    outcomes = await queues.deliver([Delivery("list", b"%d" % n, (f"m{n}",), 60) for n in range(3)])
    assert outcomes == [Outcome.DELIVERED] * 3
    assert await programs.content("list") == [b"2", b"1", b"0"]


async def test_a_marked_repeat_is_not_delivered(setup: Setup) -> None:
    """Either mark is enough to recognise a repeat, in the same batch and later."""
    queues, programs = setup
    first = Delivery("list", b"1", ("signature", "once"), 60)
    other_signature = Delivery("list", b"2", ("another", "once"), 60)
    other_once = Delivery("list", b"3", ("signature", "other"), 60)
    fresh = Delivery("list", b"4", ("new",), 60)
    assert await queues.deliver([first, other_signature]) == [Outcome.DELIVERED, Outcome.REPEATED]
    assert await queues.deliver([other_once, fresh]) == [Outcome.REPEATED, Outcome.DELIVERED]
    assert await programs.content("list") == [b"4", b"1"]


async def test_a_full_list_takes_nothing_and_sets_no_mark(setup: Setup) -> None:
    """At the limit the value is refused, nothing is trimmed, and the same message may come again later."""
    queues, programs = setup
    await programs.lpush("list", *(b"%d" % n for n in range(keys.LIST_ENTRIES_MAX - 1)))
    last, over = Delivery("list", b"last", ("a",), 60), Delivery("list", b"over", ("b",), 60)
    assert await queues.deliver([last, over]) == [Outcome.DELIVERED, Outcome.FULL]
    content = await programs.content("list")
    assert (len(content), content[0]) == (keys.LIST_ENTRIES_MAX, b"last")
    assert await queues.deliver([Delivery("elsewhere", b"over", ("b",), 60)]) == [Outcome.DELIVERED]


async def test_backlog(setup: Setup) -> None:
    """Who waits is remembered with every optional part, and unknown uids are nobody's."""
    queues, _ = setup
    waiting = [
        Waiting("u1", "ref", "ret", 60, frozenset({1, 2})),
        Waiting("u2", None, "ret", 60, frozenset({3})),
        Waiting("u3", "", "", 60, frozenset()),
    ]
    await queues.remember(waiting)
    assert await queues.recall(["u3", "unknown", "u1", "u2"]) == [waiting[2], None, waiting[0], waiting[1]]
    assert await queues.recall([]) == []


async def test_the_uid_key_stays(setup: Setup) -> None:
    """It is made once and has 32 bytes."""
    queues, _ = setup
    key = await queues.uid_key()
    assert len(key) == 32
    assert await queues.uid_key() == key


async def test_nothing_to_do_is_fine(setup: Setup) -> None:
    """Empty batches do nothing."""
    queues, _ = setup
    await queues.settle([])
    await queues.bury([])
    await queues.remember([])
    assert await queues.deliver([]) == []


# --- what only a store that outlives the process can promise ----------------------------------------------------------


async def test_what_was_not_settled_comes_again(tmp_path: Path) -> None:
    """A gateway that died with items in its outbox finds them first, in order, marked as found, then new ones."""
    async with valkey(tmp_path) as (server, client):
        programs = RedisPrograms(client)
        queues = RedisQueues(await connect(server.url), random_bytes=os.urandom)
        await programs.lpush(keys.LOCAL_REQUESTS, *(b"%d" % n for n in range(5)))
        taken = await queues.take(10)
        await queues.settle([taken[0].entry, taken[3].entry])
        await queues.close()
        await programs.lpush(keys.LOCAL_REQUESTS, b"new")
        again = RedisQueues(await connect(server.url), random_bytes=os.urandom)
        found = [item for _ in range(2) for item in await again.take(2)]
        assert [item.entry for item in found] == [taken[1].entry, taken[2].entry, taken[4].entry]
        assert all(item.found_since_s is not None and abs(item.found_since_s - time.time()) < 60 for item in found)
        (fresh,) = await again.take(2)
        assert (fresh.raw, fresh.found_since_s) == (b"new", None)
        await again.close()


async def test_an_item_that_a_waiting_move_fetched_is_not_lost(tmp_path: Path) -> None:
    """Whatever instant a gateway dies at while waiting, the item is in a list that the next one empties first."""
    async with valkey(tmp_path) as (server, client):
        redis: Any = client
        queues = RedisQueues(await connect(server.url), random_bytes=os.urandom)
        await redis.lpush(keys.TAKING_REQUESTS, b"fetched")
        await redis.lpush(keys.LOCAL_REQUESTS, b"behind")
        assert [item.raw for item in await queues.take(10)] == [b"fetched", b"behind"]
        await queues.close()


async def test_a_store_that_restarts_is_waited_for(tmp_path: Path) -> None:
    """Calls made while the store is away happen when it is back."""
    async with valkey(tmp_path, port=0) as (first, client):
        queues = RedisQueues(await connect(first.url), random_bytes=os.urandom)
        taking = asyncio.create_task(queues.take(10))
        await first.stop()
        await client.aclose()
    delivering = asyncio.create_task(queues.deliver([Delivery("list", b"1", ("m",), 60)]))
    async with valkey(tmp_path, port=first.port) as (_, client):
        redis: Any = client
        assert await delivering == [Outcome.DELIVERED]
        await redis.lpush(keys.LOCAL_REPLIES, b"late")
        assert [item.raw for item in await taking] == [b"late"]
        await queues.close()


async def test_a_foreign_key_in_the_place_of_a_list(tmp_path: Path) -> None:
    """A command list that is no list fails that one delivery, not its neighbours."""
    async with redis_setup(tmp_path) as (queues, programs):
        assert isinstance(programs, RedisPrograms)
        await programs.redis.set("taken", "by somebody")
        outcomes = await queues.deliver([Delivery("taken", b"1", ("a",), 60), Delivery("list", b"2", ("b",), 60)])
        assert outcomes == [Outcome.FAILED, Outcome.DELIVERED]


async def test_dead_letters_are_kept_with_their_reason(tmp_path: Path) -> None:
    """The stream holds kind, reason and the bytes as they came."""
    async with redis_setup(tmp_path) as (queues, programs):
        assert isinstance(programs, RedisPrograms)
        await queues.bury([DeadLetter("request", b"\xff\x00", "not JSON")])
        ((_, fields),) = await programs.redis.xrange(keys.DEAD)
        assert fields == {b"kind": b"request", b"reason": b"not JSON", b"raw": b"\xff\x00"}


async def test_marks_and_backlog_expire(tmp_path: Path) -> None:
    """Nothing that is kept per message outlives the message."""
    async with redis_setup(tmp_path) as (queues, programs):
        assert isinstance(programs, RedisPrograms)
        await queues.deliver([Delivery("list", b"1", ("a", "b"), 60)])
        await queues.remember([Waiting("u", None, "ret", 60, frozenset())])
        for name in (keys.SEEN_PREFIX + "a", keys.SEEN_PREFIX + "b", keys.BACKLOG_PREFIX + "u"):
            assert 0 < await programs.redis.ttl(name) <= 60


async def test_a_foreign_value_under_a_backlog_key_is_no_backlog(tmp_path: Path) -> None:
    """Bytes that are no backlog count as nobody waiting."""
    async with redis_setup(tmp_path) as (queues, programs):
        assert isinstance(programs, RedisPrograms)
        await programs.redis.set(keys.BACKLOG_PREFIX + "u", b"\xff\xff")
        assert await queues.recall(["u"]) == [None]


async def test_taking_many_large_items_stops_at_the_byte_limit(tmp_path: Path) -> None:
    """One take does not pull an unbounded amount into memory."""
    async with redis_setup(tmp_path) as (queues, programs):
        await programs.lpush(keys.LOCAL_REQUESTS, *(bytes(3 * 1024 * 1024) for _ in range(5)))
        assert [len(await queues.take(100)) for _ in range(2)] == [3, 2]


@pytest.mark.parametrize("call", ["take", "bury", "remember", "deliver", "announce"])
@pytest.mark.parametrize("refusal", ["full memory", "read-only", "no permission"])
async def test_a_store_that_refuses_for_now_is_waited_for(tmp_path: Path, call: str, refusal: str) -> None:
    """A store without memory, a replica or changed permissions are the operator's to mend; then the call happens."""
    ways: dict[str, tuple[list[str], list[str]]] = {
        "full memory": (["CONFIG", "SET", "maxmemory", "1"], ["CONFIG", "SET", "maxmemory", "0"]),
        "read-only": (["REPLICAOF", "127.0.0.1", "1"], ["REPLICAOF", "NO", "ONE"]),
        "no permission": (["ACL", "SETUSER", "default", "resetkeys"], ["ACL", "SETUSER", "default", "allkeys"]),
    }
    break_it, mend_it = ways[refusal]
    async with valkey(tmp_path) as (server, client):
        redis: Any = client
        queues = RedisQueues(await connect(server.url), random_bytes=os.urandom)
        await redis.lpush(keys.LOCAL_REQUESTS, b"1")
        await redis.execute_command(*break_it)
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "take": lambda: queues.take(1),
            "bury": lambda: queues.bury([DeadLetter("request", b"1", "why")]),
            "remember": lambda: queues.remember([Waiting("u", None, "ret", 60, frozenset())]),
            "deliver": lambda: queues.deliver([Delivery("list", b"1", ("m",), 60)]),
            "announce": lambda: queues.announce({"twin": "1"}),
        }
        attempt = asyncio.ensure_future(calls[call]())
        async with asyncio.timeout(10.0):
            while not (queues._away or attempt.done()):
                await asyncio.sleep(0.002)  # polls what another task sets
            await redis.execute_command(*mend_it)
            await attempt
        await queues.close()


async def test_an_outbox_of_the_wrong_type_costs_no_item(tmp_path: Path) -> None:
    """While a foreign key stands in the place of the outbox, items stay in their list."""
    async with valkey(tmp_path) as (server, client):
        redis: Any = client
        queues = RedisQueues(await connect(server.url), random_bytes=os.urandom)
        queues._outbox_may_hold_more = False  # the first look into the outbox went well
        await redis.set(keys.OUTBOX, "foreign")
        await redis.lpush(keys.LOCAL_REQUESTS, b"1", b"2")
        taking = asyncio.create_task(queues.take(10))
        async with asyncio.timeout(10.0):
            while not queues._away:
                await asyncio.sleep(0.002)  # polls what another task sets
            assert await redis.llen(keys.LOCAL_REQUESTS) == 2
            await redis.delete(keys.OUTBOX)
            assert [item.raw for item in await taking] == [b"1", b"2"]
        await queues.close()


async def test_something_that_does_not_answer_is_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that accepts connections and says nothing is an error, not an endless wait."""
    monkeypatch.setattr(redis_queues, "ANSWER_S_MAX", 0.1)

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server, asyncio.timeout(10.0):
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ConnectionError, match="does not answer"):
            await connect(f"redis://127.0.0.1:{port}")
