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
from rmb_peer.local.queues import (
    Damaged,
    DeadLetter,
    Delivery,
    Ending,
    JournalFailed,
    JournalLimits,
    LocalQueues,
    Outcome,
    Waiting,
)
from rmb_peer.local.redis_queues import RedisQueues, connect
from tests.support.services import valkey


class Programs(Protocol):
    """What local programs do with the store."""

    async def lpush(self, name: str, *values: bytes) -> None: ...
    async def rpush(self, name: str, value: bytes) -> None: ...
    async def content(self, name: str) -> list[bytes]:
        """From head to tail."""
        ...

    async def go(self, name: str) -> None:
        """Leave word that nobody waits on this list any more."""
        ...

    async def dead(self) -> list[tuple[str, bytes]]:
        """List and content of the dead letters."""
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

    async def go(self, name: str) -> None:
        await self.redis.set(name, keys.CALLER_GONE)

    async def dead(self) -> list[tuple[str, bytes]]:
        rows = await self.redis.xrange(keys.DEAD)
        return [(fields.get(b"list", b"").decode(), fields[b"raw"]) for _, fields in rows]


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

    async def go(self, name: str) -> None:
        self.queues.gone.add(name)

    async def dead(self) -> list[tuple[str, bytes]]:
        return [(letter.list_name, letter.raw) for letter in self.queues.dead]


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

DUE = 2000.0
DELIVERED, REPEATED = Outcome.DELIVERED, Outcome.REPEATED
ONE = Waiting("one", "ref", "ret", 60, (7,), 1500, "1-0")
MANY = Waiting("many", "ref", "ret", 60, (1, 2, 2), 1600, "2-0")


def error_of(request: Waiting, twin: int) -> Delivery:
    """An error of ours about one destination."""
    return Delivery(request.reply_to, b"error", (), 0, Ending.of(request, twin, ours=True))


def answer_of(request: Waiting, twin: int, value: bytes) -> Delivery:
    """An answer of a destination; each differs."""
    return Delivery(request.reply_to, value, (os.urandom(8).hex(),), 60, Ending.of(request, twin, ours=False))


async def journal(programs: Programs) -> list[bytes]:
    """The chunks of the journal."""
    if isinstance(programs, RedisPrograms):
        return [fields[b"c"] for _, fields in await programs.redis.xrange(keys.JOURNAL)]
    assert isinstance(programs, MemoryPrograms)
    return programs.queues.journal


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


async def test_large_ones_are_as_small_ones(setup: Setup) -> None:
    """Items and values of megabytes pass whole, in order, and a repeat is recognised."""
    queues, programs = setup
    large = os.urandom(3 * 1024 * 1024)
    await programs.lpush(keys.LOCAL_REQUESTS, large)
    (item,) = await queues.take(10)
    assert item.raw == large
    await queues.settle([item.entry])
    deliveries = [Delivery("list", large, (mark,), 60) for mark in "aab"] + [Delivery("list", b"1", (), 0)]
    assert await queues.deliver(deliveries) == [DELIVERED, REPEATED, DELIVERED, DELIVERED]
    assert await programs.content("list") == [b"1", large, large]


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
        async with asyncio.timeout(60):
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
        Waiting("u1", "ref", "ret", 60, (2, 1, 2)),
        Waiting("u2", None, "ret", 60, (3,)),
        Waiting("u3", "", "", 60, (4,)),
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


async def test_each_destination_ends_once(setup: Setup) -> None:
    """Whoever comes first counts: after an answer no error is told, and after an error no answer is pushed."""
    queues, programs = setup
    await queues.remember([ONE, MANY])
    assert await queues.deliver([answer_of(ONE, 7, b"answer"), error_of(ONE, 7)]) == [DELIVERED, REPEATED]
    assert await queues.deliver([error_of(MANY, 1), answer_of(MANY, 1, b"late")]) == [DELIVERED, Outcome.LATE]
    assert await queues.deliver([answer_of(MANY, 2, b"2"), error_of(MANY, 2)]) == [DELIVERED, REPEATED]
    assert await programs.content("ret") == [b"2", b"error", b"answer"]
    assert await queues.overdue(DUE, 10) == []


async def test_more_answers_of_one_destination_are_delivered(setup: Setup) -> None:
    """A service may answer several times; an error of ours is the last word."""
    queues, programs = setup
    await queues.remember([ONE, MANY])
    for request, twin in ((ONE, 7), (MANY, 2)):
        answers = [answer_of(request, twin, b"%d" % number) for number in range(3)]
        assert await queues.deliver(answers) == [DELIVERED] * 3
    assert len(await programs.content("ret")) == 6


async def test_who_was_asked_twice_ends_twice_or_by_an_answer(setup: Setup) -> None:
    """One error for each time it was asked; but one answer may stand for both, since a receiver may see one message."""
    queues, programs = setup
    await queues.remember([MANY, MANY._replace(uid="again")])
    assert await queues.deliver([error_of(MANY, 2)] * 3) == [DELIVERED, DELIVERED, REPEATED]
    again = MANY._replace(uid="again")
    assert await queues.deliver([answer_of(again, 2, b"answer"), error_of(again, 2)]) == [DELIVERED, REPEATED]
    overdue = await queues.overdue(DUE, 10)
    assert {request.uid: request.silent for request in overdue} == {"many": (1,), "again": (1,)}
    assert len(await programs.content("ret")) == 3


async def test_overdue_is_told_oldest_first_and_stays_until_it_is(setup: Setup) -> None:
    """Not before its time, not more than asked for, and again until the endings were written."""
    queues, _ = setup
    await queues.remember(
        [ONE._replace(uid="later", deadline_s=1001), ONE._replace(uid="first", deadline_s=1000), MANY]
    )
    assert await queues.overdue(999.9, 10) == []
    assert [request.uid for request in await queues.overdue(1000, 10)] == ["first"]
    assert [request.uid for request in await queues.overdue(DUE, 2)] == ["first", "later"]
    (_, _, many) = await queues.overdue(DUE, 10)
    assert isinstance(many.waiting, Waiting)
    assert (many.waiting.reply_to, sorted(many.silent)) == ("ret", [1, 2, 2])
    await queues.forget(["first"])
    assert [request.uid for request in await queues.overdue(DUE, 10)] == ["later", "many"]
    assert await queues.recall(["first"]) == [None]


async def test_what_is_still_open(setup: Setup) -> None:
    """After a restart: the destinations that have not ended; none when all have, or when it was never remembered."""
    queues, _ = setup
    other = ONE._replace(uid="other")
    await queues.remember([ONE, MANY, other])
    await queues.deliver([answer_of(ONE, 7, b"1"), error_of(MANY, 1)])
    never = ONE._replace(uid="never")
    expected = [frozenset[int](), frozenset({2}), frozenset({7}), frozenset[int]()]
    assert await queues.still_open([ONE, MANY, other, never]) == expected
    assert await queues.still_open([]) == []


async def test_an_error_that_nobody_can_be_told_still_ends(setup: Setup) -> None:
    """A full list: the error becomes a dead letter, the destination has ended, and the entry is forgotten with it."""
    queues, programs = setup
    await programs.lpush(keys.LOCAL_REQUESTS, b"1")
    (item,) = await queues.take(1)
    await queues.remember([ONE])
    await programs.lpush("ret", *(b"x" for _ in range(keys.LIST_ENTRIES_MAX)))
    assert await queues.conclude([error_of(ONE, 7)], [], [item.entry]) == [Outcome.FULL]
    assert await programs.dead() == [("ret", b"error")]
    assert await queues.overdue(DUE, 10) == []


async def test_a_caller_that_has_gone_is_not_written_to(setup: Setup) -> None:
    """Where a program left word that it no longer waits, nothing is pushed and nothing is buried."""
    queues, programs = setup
    await queues.remember([ONE, ONE._replace(uid="answered")])
    await programs.go("ret")
    answer = answer_of(ONE._replace(uid="answered"), 7, b"answer")
    assert await queues.conclude([error_of(ONE, 7), answer], [], []) == [Outcome.GONE, Outcome.GONE]
    assert await programs.dead() == []


async def test_the_journal_is_bounded(setup: Setup) -> None:
    """It never holds much more than its bytes, and the newest chunk is there."""
    queues, programs = setup
    limits = JournalLimits(64_000, 3600)
    for number in range(100):
        await queues.append_journal(b"%d:" % number + os.urandom(4000), limits, time.time())
    chunks = await journal(programs)
    assert chunks[-1].startswith(b"99:")
    assert 5 <= len(chunks) <= 25


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
        await queues.remember([ONE._replace(uid=item.entry, entry=item.entry) for item in taken[:3]])
        await queues.settle([taken[0].entry, taken[3].entry])
        await queues.close()
        await programs.lpush(keys.LOCAL_REQUESTS, b"new")
        again = RedisQueues(await connect(server.url), random_bytes=os.urandom)
        found = [item for _ in range(2) for item in await again.take(2)]
        assert [item.entry for item in found] == [taken[1].entry, taken[2].entry, taken[4].entry]
        assert [item.remembered for item in found] == [True, True, False]
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
    """Nothing that is kept per message outlives the message, once everybody who was asked has ended."""
    async with redis_setup(tmp_path) as (queues, programs):
        assert isinstance(programs, RedisPrograms)
        await queues.remember([ONE, MANY])
        assert await programs.redis.ttl(keys.BACKLOG_PREFIX + "one") == -1
        await queues.deliver([Delivery("list", b"1", ("a", "b"), 60, Ending.of(ONE, 7, ours=False))])
        await queues.deliver([error_of(MANY, 1), error_of(MANY, 2), error_of(MANY, 2)])
        names = [keys.SEEN_PREFIX + "a", keys.SEEN_PREFIX + "b", keys.BACKLOG_PREFIX + "one"]
        for name in [*names, keys.BACKLOG_PREFIX + "many", keys.TOLD_PREFIX + "many"]:
            assert 0 < await programs.redis.ttl(name) <= 60
        assert not await programs.redis.exists(keys.DEADLINES, keys.OPEN_PREFIX + "one", keys.OPEN_PREFIX + "many")


async def test_a_damaged_backlog_is_reported_as_such(tmp_path: Path) -> None:
    """Bytes that are no backlog, or that of another request, are neither believed nor taken for nobody waiting."""
    async with redis_setup(tmp_path) as (queues, programs):
        assert isinstance(programs, RedisPrograms)
        await queues.remember([ONE, MANY])
        other = await programs.redis.get(keys.BACKLOG_PREFIX + "one")
        await programs.redis.set(keys.BACKLOG_PREFIX + "one", b"\xff\xff")
        await programs.redis.set(keys.BACKLOG_PREFIX + "many", other)
        assert await queues.recall(["one", "many"]) == [Damaged(b"\xff\xff"), Damaged(other)]
        assert {request.uid: request.waiting for request in await queues.overdue(DUE, 10)} == {
            "one": Damaged(b"\xff\xff"),
            "many": Damaged(other),
        }


async def test_damaged_deadlines_can_be_read_and_forgotten(tmp_path: Path) -> None:
    """A uid that is no text any more, or twins that are no numbers: named, and gone when they are forgotten."""
    async with redis_setup(tmp_path) as (queues, programs):
        assert isinstance(programs, RedisPrograms)
        await queues.remember([MANY])
        await programs.redis.hset(keys.OPEN_PREFIX + "many", b"\xb2", 1)
        await programs.redis.zadd(keys.DEADLINES, {b"\xff\x00": 1})
        overdue = await queues.overdue(DUE, 10)
        assert [isinstance(request.waiting, Damaged) for request in overdue] == [True, True]
        await queues.forget([request.uid for request in overdue])
        assert await queues.overdue(DUE, 10) == []
        assert not await programs.redis.exists(keys.BACKLOG_PREFIX + "many", keys.OPEN_PREFIX + "many")


async def test_a_damaged_outbox_entry_becomes_a_dead_letter(tmp_path: Path) -> None:
    """An entry of an earlier run that is neither request nor response is kept as a letter; its neighbours are found."""
    async with redis_setup(tmp_path) as (queues, programs):
        assert isinstance(programs, RedisPrograms)
        for fields in ({"q": "1"}, {"\x71\x01": "2"}, {"r": "3"}):
            await programs.redis.xadd(keys.OUTBOX, fields)
        assert [item.raw for item in await queues.take(10)] == [b"1", b"3"]
        ((_, raw),) = await programs.dead()
        assert b"q\\x01" in raw
        assert await programs.redis.xlen(keys.OUTBOX) == 2


async def test_only_damaged_outbox_entries_do_not_hold_up_new_ones(tmp_path: Path) -> None:
    """A page of nothing but damage is passed over."""
    async with redis_setup(tmp_path) as (queues, programs):
        assert isinstance(programs, RedisPrograms)
        for _ in range(3):
            await programs.redis.xadd(keys.OUTBOX, {"x": "damaged"})
        await programs.lpush(keys.LOCAL_REQUESTS, b"new")
        assert [item.raw for item in await queues.take(2)] == [b"new"]
        assert len(await programs.dead()) == 3


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
            "remember": lambda: queues.remember([Waiting("u", None, "ret", 60, ())]),
            "deliver": lambda: queues.deliver([Delivery("list", b"1", ("m",), 60)]),
            "announce": lambda: queues.announce({"twin": "1"}),
        }
        attempt = asyncio.ensure_future(calls[call]())
        async with asyncio.timeout(60):
            while not (queues._away or attempt.done()):
                await asyncio.sleep(0.002)  # polls what another task sets
            await redis.execute_command(*mend_it)
            await attempt
        await queues.close()


async def test_a_list_with_only_an_unread_error_does_not_stay_for_ever(tmp_path: Path) -> None:
    """Programs often name a list that nobody reads again; one that is in use keeps what it holds."""
    async with redis_setup(tmp_path) as (queues, programs):
        assert isinstance(programs, RedisPrograms)
        await queues.remember([ONE, MANY])
        await queues.conclude([error_of(ONE, 7)], [], [])
        assert 0 < await programs.redis.ttl("ret") <= keys.UNREAD_ERROR_S
        await queues.deliver([answer_of(MANY, 2, b"answer")])
        assert await programs.redis.ttl("ret") == -1
        await queues.conclude([error_of(MANY, 1)], [], [])
        assert await programs.redis.ttl("ret") == -1
        await queues.conclude([Delivery("refused", b"error", ("told:1-0",), 60)], [], [])  # it never waited for anybody
        assert 0 < await programs.redis.ttl("refused") <= keys.UNREAD_ERROR_S


async def test_one_instant_for_telling_and_forgetting(tmp_path: Path) -> None:
    """Errors, dead letters and forgotten entries go in one script, also in thousands."""
    async with redis_setup(tmp_path) as (queues, programs):
        assert isinstance(programs, RedisPrograms)
        count = 3000
        await programs.lpush(keys.LOCAL_REQUESTS, *(b"%d" % n for n in range(count)))
        entries = [item.entry for _ in range(count // 250) for item in await queues.take(250)]
        await programs.redis.config_resetstat()
        errors = [Delivery("ret", b"%d" % n, (f"told:{n}",), 60) for n in range(count)]
        await queues.conclude(errors, [DeadLetter("request", b"raw", "why", "uid", "list")] * 10, entries)
        calls = await programs.redis.info("commandstats")
        assert calls["cmdstat_evalsha"]["calls"] <= 2  # a second one where the script was not known yet
        assert await programs.redis.xlen(keys.OUTBOX) == 0
        assert await programs.redis.llen("ret") == count
        assert await programs.dead() == [("list", b"raw")] * 10


async def test_a_request_to_very_many(tmp_path: Path) -> None:
    """As many destinations as a request may name, several times over, are remembered in scripts of bounded size."""
    async with redis_setup(tmp_path) as (queues, programs):
        assert isinstance(programs, RedisPrograms)
        twins = tuple(range(1, 10_001))
        requests = [ONE._replace(uid=f"u{n}", entry=f"{n}-0", destinations=twins) for n in range(1, 4)]
        await queues.remember(requests)
        assert await programs.redis.hlen(keys.OPEN_PREFIX + "u3") == 10_000
        assert await programs.redis.get(keys.REMEMBERED) == b"3-0"
        assert [len(twins) for twins in await queues.still_open(requests)] == [10_000] * 3


async def test_old_journal_is_forgotten(tmp_path: Path) -> None:
    """What is older than the limit goes when something is added."""
    async with redis_setup(tmp_path) as (queues, programs):
        assert isinstance(programs, RedisPrograms)
        for number in range(1, 300):
            await programs.redis.xadd(keys.JOURNAL, {"c": b"old"}, id=f"{number}-0")
        await queues.append_journal(b"new", JournalLimits(10**6, 3600), time.time())
        assert len(await journal(programs)) <= 100 + 1  # whole nodes of the stream go, and each holds a hundred


async def test_a_journal_that_cannot_be_written_says_so_at_once(tmp_path: Path) -> None:
    """It is advisory: nobody waits for it."""
    async with redis_setup(tmp_path) as (queues, programs):
        assert isinstance(programs, RedisPrograms)
        await programs.redis.set(keys.JOURNAL, "foreign")
        with pytest.raises(JournalFailed, match="WRONGTYPE"):
            await queues.append_journal(b"chunk", JournalLimits(10**6, 3600), time.time())


async def test_a_full_store_takes_nothing(tmp_path: Path) -> None:
    """Without memory items stay where their program can see them, the reason is told, and it recovers by itself."""
    async with valkey(tmp_path) as (server, client):
        redis: Any = client
        queues = RedisQueues(await connect(server.url), random_bytes=os.urandom)
        await redis.lpush(keys.LOCAL_REQUESTS, b"1")
        await redis.config_set("maxmemory", 1)
        taking = asyncio.create_task(queues.take(1))
        async with asyncio.timeout(30.0):
            while not queues.trouble:
                await asyncio.sleep(0.002)  # polls what another task sets
        assert "used memory" in queues.trouble
        assert "used memory" in (await queues.why_refused() or "")
        assert await redis.llen(keys.LOCAL_REQUESTS) == 1
        assert await redis.xlen(keys.OUTBOX) == 0
        await redis.config_set("maxmemory", 0)
        assert [item.raw for item in await taking] == [b"1"]
        assert [queues.trouble, await queues.why_refused()] == [None, None]
        await queues.close()


async def test_a_store_that_cannot_write_its_file_takes_nothing(tmp_path: Path) -> None:
    """A disk error of the store (MISCONF): nothing is taken or lost, the reason is told, and it recovers by itself."""
    async with valkey(tmp_path) as (server, client):
        redis: Any = client
        queues = RedisQueues(await connect(server.url), random_bytes=os.urandom)
        await redis.lpush(keys.LOCAL_REQUESTS, b"1")
        in_the_way = Path((await redis.config_get("dir"))["dir"]) / "dump.rdb"
        in_the_way.mkdir()
        await redis.config_set("save", "3600 1")
        await redis.bgsave()
        async with asyncio.timeout(30.0):
            while (await redis.info("persistence"))["rdb_last_bgsave_status"] != "err":
                await asyncio.sleep(0.01)  # polls a real process
        assert "MISCONF" in (await queues.why_refused() or "")
        taking = asyncio.create_task(queues.take(1))
        async with asyncio.timeout(30.0):
            while not queues.trouble:
                await asyncio.sleep(0.002)  # polls what another task sets
        assert await redis.llen(keys.LOCAL_REQUESTS) == 1
        in_the_way.rmdir()
        await redis.bgsave()
        assert [item.raw for item in await taking] == [b"1"]
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
        async with asyncio.timeout(60):
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

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server, asyncio.timeout(60):
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ConnectionError, match="does not answer"):
            await connect(f"redis://127.0.0.1:{port}")
