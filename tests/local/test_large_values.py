"""Large items and values: by their name through the store, everywhere once, and nothing of them stays behind."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from redis import Redis, exceptions

from rmb_peer.embedded.valkey import EmbeddedValkey
from rmb_peer.local import keys, large_values, redis_queues
from rmb_peer.local.large_values import LARGE_BYTES, PIECE_BYTES, LargeValues
from rmb_peer.local.looking import Store
from rmb_peer.local.queues import DeadLetter, Delivery, Ending, Outcome, Taken, Waiting
from rmb_peer.local.redis_queues import ANSWER_S_MAX, RedisQueues, connect
from rmb_peer.store.address import StoreAddress
from tests.support.services import valkey

LARGE = orjson.dumps({"ver": 1, "ref": "big", "dat": "x" * LARGE_BYTES})
VALUE = os.urandom(2 * PIECE_BYTES + 12345)
ONE = Waiting("one", "ref", "ret", 60, (7,), 1500, "1-0")


@asynccontextmanager
async def setup(folder: Path) -> AsyncIterator[tuple[RedisQueues, Any, str]]:
    """Queues, a client of a program, and the store's URL."""
    async with valkey(folder) as (server, client), asyncio.timeout(120):
        queues = await queues_of(server.url)
        try:
            yield queues, client, server.url
        finally:
            await queues.close()


async def queues_of(url: str) -> RedisQueues:
    """A gateway's side of the store, as after a start."""
    return RedisQueues(await connect(url), random_bytes=os.urandom)


async def armed(queues: RedisQueues, program: Any) -> asyncio.Task[list[Taken]]:
    """A take for which both moves wait in the store."""
    taking = asyncio.create_task(queues.take(100))
    while (await program.info("clients"))["blocked_clients"] < 2:
        await asyncio.sleep(0.002)  # polls what another process does
    return taking


async def large_keys(program: Any) -> list[bytes]:
    """Keys that exist only for large ones."""
    found = [key async for key in program.scan_iter(keys.OUTBOX_LARGE_PREFIX + "*")]
    return found + [key async for key in program.scan_iter(keys.PARCEL_PREFIX + "*")]


async def of_outbox(program: Any) -> list[dict[bytes, bytes]]:
    """The fields of its entries."""
    return [fields for _, fields in await program.xrange(keys.OUTBOX)]


# --- taking -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "letter"), [(keys.LOCAL_REQUESTS, "request", b"Q"), (keys.LOCAL_REPLIES, "response", b"R")]
)
async def test_a_large_item_is_not_in_the_stream(tmp_path: Path, name: str, kind: str, letter: bytes) -> None:
    """It is taken whole, the stream holds its size alone, and settling leaves nothing; small ones follow in order."""
    async with setup(tmp_path) as (queues, program, _):
        taking = await armed(queues, program)
        await program.lpush(name, LARGE)
        (item,) = await taking
        assert (item.kind, item.raw, item.found_since_s) == (kind, LARGE, None)
        (fields,) = await of_outbox(program)
        assert list(fields) == [letter]
        assert int(fields[letter]) >= len(LARGE)
        assert await program.exists(keys.TAKING_REQUESTS, keys.TAKING_REPLIES) == 0
        await program.lpush(name, b"small")
        (small,) = await queues.take(10)
        assert small.raw == b"small"
        await queues.settle([item.entry, small.entry])
        assert (await of_outbox(program), await large_keys(program)) == ([], [])


async def test_the_size_decides(tmp_path: Path) -> None:
    """An item well below the threshold is in the stream itself, and needs no key."""
    async with setup(tmp_path) as (queues, program, _):
        taking = await armed(queues, program)
        await program.lpush(keys.LOCAL_REQUESTS, b"x" * (LARGE_BYTES // 2))
        (item,) = await taking
        assert len(item.raw) == LARGE_BYTES // 2
        assert await large_keys(program) == []


async def test_what_an_earlier_run_left_is_found_whole(tmp_path: Path) -> None:
    """After a restart large and small ones come in their order, with the same ids, and can be settled."""
    async with setup(tmp_path) as (queues, program, url):
        entries = []
        for raw in (b"before", LARGE, b"after"):
            taking = await armed(queues, program)
            await program.lpush(keys.LOCAL_REQUESTS, raw)
            entries += [item.entry for item in await taking]
        again = await queues_of(url)
        await again.remember([ONE._replace(uid=entries[1], entry=entries[1])])
        found = await again.take(10)
        assert [(item.entry, item.raw) for item in found] == list(
            zip(entries, (b"before", LARGE, b"after"), strict=True)
        )
        assert all(item.found_since_s is not None for item in found)
        await again.settle(entries)
        assert (await of_outbox(program), await large_keys(program)) == ([], [])
        await again.close()


async def test_an_item_that_only_the_move_reached_is_taken_by_the_next_run(tmp_path: Path) -> None:
    """A gateway that died between move and take: the item is in the list that the next take empties first."""
    async with setup(tmp_path) as (queues, program, _):
        await program.lpush(keys.TAKING_REPLIES, LARGE)
        await program.lpush(keys.LOCAL_REPLIES, b"next")
        first = await queues.take(10)
        assert [item.raw for item in first] == [LARGE, b"next"]
        await queues.settle([item.entry for item in first])
        assert await large_keys(program) == []


async def test_one_that_no_move_fetched_is_large_all_the_same(tmp_path: Path) -> None:
    """Alone in its list, it is taken by its name, behind small ones too; an expiry of that list is not its own."""
    async with setup(tmp_path) as (queues, program, _):
        await program.lpush(keys.TAKING_REQUESTS, b"older")
        await program.lpush(keys.LOCAL_REQUESTS, LARGE)
        await program.lpush(keys.LOCAL_REPLIES, LARGE)
        await program.expire(keys.LOCAL_REPLIES, 1000)
        assert [item.raw for item in await queues.take(10)] == [b"older", LARGE, LARGE]
        assert [list(fields) for fields in await of_outbox(program)] == [[b"q"], [b"R"], [b"Q"]]
        assert [await program.ttl(key) for key in await large_keys(program)] == [-1, -1]


async def test_large_ones_behind_each_other_keep_their_order(tmp_path: Path) -> None:
    """Whichever way each of them is taken."""
    async with setup(tmp_path) as (queues, program, _):
        items = [LARGE + b"%d" % number for number in range(4)]
        await program.lpush(keys.LOCAL_REQUESTS, *items)
        taken: list[Taken] = []
        while len(taken) < len(items):
            taken += await queues.take(10)
        assert [item.raw for item in taken] == items
        await queues.settle([item.entry for item in taken])
        assert (await of_outbox(program), await large_keys(program)) == ([], [])


async def test_a_missing_answer_costs_no_large_item(tmp_path: Path) -> None:
    """Whoever died after the take, and before it had fetched the item, finds it; once."""
    async with setup(tmp_path) as (queues, program, _):
        await queues.uid_key()
        await program.lpush(keys.TAKING_REQUESTS, LARGE)
        await queues._store.run(queues._take, (100, 10**6))  # nobody sees the answer
        await program.lpush(keys.LOCAL_REQUESTS, b"next")
        items = [item for _ in range(2) for item in await queues.take(10)]
        assert [item.raw for item in items] == [LARGE, b"next"]


async def test_fetching_is_repeated_when_the_connection_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A take whose large item cannot be fetched the first time returns it the second time, and everything once."""
    async with setup(tmp_path) as (queues, program, _):
        fetch, failures = queues._large_values.fetch, [exceptions.ConnectionError("broken")]

        async def failing(name: str) -> bytes | None:
            if failures:
                raise failures.pop()
            return await fetch(name)

        monkeypatch.setattr(queues._large_values, "fetch", failing)
        await program.lpush(keys.TAKING_REQUESTS, LARGE)
        await program.lpush(keys.LOCAL_REQUESTS, b"next")
        assert [item.raw for item in await queues.take(10)] == [LARGE, b"next"]
        assert not failures


async def test_one_take_returns_a_bounded_number_of_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many large ones of an earlier run are not all fetched at once."""
    monkeypatch.setattr(redis_queues, "TAKE_BYTES_MAX", 2 * LARGE_BYTES)
    async with setup(tmp_path) as (queues, program, url):
        for _ in range(5):
            await program.lpush(keys.TAKING_REQUESTS, LARGE)
            await queues._store.run(queues._take, (100, 10**6))
        again = await queues_of(url)
        assert [len(await again.take(10)) for _ in range(3)] == [2, 2, 1]
        await again.close()


@pytest.mark.parametrize("foreign", [False, True], ids=["gone", "another type"])
async def test_a_large_item_that_is_gone_becomes_a_dead_letter(tmp_path: Path, foreign: bool) -> None:
    """An operator who deleted or replaced the key loses that item, is told, and nothing else is held up."""
    async with setup(tmp_path) as (queues, program, _):
        await program.lpush(keys.TAKING_REQUESTS, LARGE)
        await program.lpush(keys.LOCAL_REQUESTS, b"next")
        await queues._store.run(queues._take, (100, 10**8))
        (key, *_) = await large_keys(program)
        await program.delete(key)
        if foreign:
            await program.set(key, "foreign")
        assert [item.raw for item in await queues.take(10)] == [b"next"]
        ((_, letter),) = await program.xrange(keys.DEAD)
        assert b"has lost its content" in letter[b"reason"]
        assert len(await of_outbox(program)) == 1
        assert await large_keys(program) == []


async def test_burying_a_large_item_forgets_its_key(tmp_path: Path) -> None:
    """What becomes a dead letter leaves nothing in the outbox."""
    async with setup(tmp_path) as (queues, program, _):
        await program.lpush(keys.TAKING_REQUESTS, LARGE)
        (item,) = await queues.take(10)
        await queues.conclude((), [DeadLetter("request", item.raw, "why")], [item.entry])
        assert (await of_outbox(program), await large_keys(program)) == ([], [])
        ((_, letter),) = await program.xrange(keys.DEAD)
        assert letter[b"raw"] == LARGE


async def test_operators_see_a_large_item(tmp_path: Path) -> None:
    """`where` finds it by its reference and says its size, `queues` counts it; also when its key is gone."""
    async with setup(tmp_path) as (queues, program, url):
        await queues.uid_key()
        await program.lpush(keys.TAKING_REQUESTS, LARGE)
        (item,) = await queues.take(10)
        client = Redis.from_url(url)
        store = Store(client)
        (entry,) = await asyncio.to_thread(lambda: list(store.outbox()))
        assert (entry.id, entry.kind, entry.reference) == (item.entry, "request", "big")
        assert entry.size_bytes == len(LARGE)
        assert await asyncio.to_thread(store.uids_of, "big") == [entry.uid]
        outbox = next(queue for queue in await asyncio.to_thread(store.queues) if queue.what == "outbox")
        assert outbox.entries == 1
        for value in (None, "foreign"):
            await program.delete(keys.OUTBOX_LARGE_PREFIX + item.entry)
            if value is not None:
                await program.set(keys.OUTBOX_LARGE_PREFIX + item.entry, value)
            (entry,) = await asyncio.to_thread(lambda: list(store.outbox()))
            assert (entry.reference, entry.size_bytes) == (None, 0)
        client.close()


# --- delivering -------------------------------------------------------------------------------------------------------


async def test_a_large_value_reaches_the_head_of_its_list(tmp_path: Path) -> None:
    """Into an empty list and into one with entries, small ones before and after; it does not expire."""
    async with setup(tmp_path) as (queues, program, _):
        values = [VALUE, b"small", VALUE[::-1], b"last"]
        outcomes = await queues.deliver([Delivery("list", value, (), 60) for value in values])
        assert outcomes == [Outcome.DELIVERED] * 4
        assert await program.lrange("list", 0, -1) == values[::-1]
        assert await program.ttl("list") == -1
        assert await large_keys(program) == []


@pytest.mark.parametrize("size", [LARGE_BYTES, LARGE_BYTES + 1, 2 * PIECE_BYTES - 1, 2 * PIECE_BYTES])
async def test_every_size_arrives_as_it_was(tmp_path: Path, size: int) -> None:
    """Whole pieces, and a byte more or less."""
    value = os.urandom(size)
    async with setup(tmp_path) as (queues, program, _):
        assert await queues.deliver([Delivery("list", value, (), 60)]) == [Outcome.DELIVERED]
        assert await program.rpop("list") == value


@pytest.mark.parametrize(
    "command", [("BRPOP", "list", 0), ("BLPOP", "list", 0), ("BLMOVE", "list", "other", "RIGHT", "LEFT", 0)]
)
async def test_a_program_that_waits_is_woken(tmp_path: Path, command: tuple[Any, ...]) -> None:
    """A blocked client gets the value, though no push command runs on its list."""
    async with setup(tmp_path) as (queues, program, _):
        waiting = asyncio.create_task(program.execute_command(*command))
        while (await program.info("clients"))["blocked_clients"] < 1:
            await asyncio.sleep(0.002)  # polls what another process does
        assert await queues.deliver([Delivery("list", VALUE, (), 60)]) == [Outcome.DELIVERED]
        answer = await waiting
        assert VALUE in (answer if isinstance(answer, tuple | list) else [answer])
        assert await program.exists("list") == 0


async def test_a_repeat_is_recognised(tmp_path: Path) -> None:
    """By its marks, in one batch and later, and its parcel is gone."""
    async with setup(tmp_path) as (queues, program, _):
        first = Delivery("list", VALUE, ("a", "b"), 60)
        assert await queues.deliver([first, first]) == [Outcome.DELIVERED, Outcome.REPEATED]
        assert await queues.deliver([first._replace(marks=("c", "b"))]) == [Outcome.REPEATED]
        assert await program.llen("list") == 1
        assert await large_keys(program) == []


async def refused_because(reason: Outcome, queues: RedisQueues, program: Any) -> Delivery:
    """A delivery that ends so."""
    delivery = Delivery("list", VALUE, ("mark",), 60)
    match reason:
        case Outcome.FULL:
            await program.lpush("list", *range(keys.LIST_ENTRIES_MAX))
        case Outcome.GONE:
            await program.set("list", keys.CALLER_GONE)
        case Outcome.FAILED:
            await program.set("list", "foreign")
        case Outcome.LATE:
            await queues.remember([ONE])
            error = Delivery("elsewhere", b"error", (), 0, Ending.of(ONE, 7, ours=True))
            assert await queues.deliver([error]) == [Outcome.DELIVERED]
            delivery = delivery._replace(ending=Ending.of(ONE, 7, ours=False))
    return delivery


@pytest.mark.parametrize("reason", [Outcome.FULL, Outcome.GONE, Outcome.FAILED, Outcome.LATE])
async def test_what_is_refused_leaves_nothing(tmp_path: Path, reason: Outcome) -> None:
    """Neither a parcel nor a mark nor a change of the list; the same message may come again later."""
    async with setup(tmp_path) as (queues, program, _):
        delivery = await refused_because(reason, queues, program)
        before = await program.dump("list")
        assert await queues.deliver([delivery]) == [reason]
        assert await program.dump("list") == before
        assert await large_keys(program) == []
        assert await queues.deliver([Delivery("free", VALUE, ("mark",), 60)]) == [Outcome.DELIVERED]


async def test_a_late_answer_disturbs_no_list_with_entries(tmp_path: Path) -> None:
    """What was pushed on top of others is taken back, and only that."""
    async with setup(tmp_path) as (queues, program, _):
        delivery = await refused_because(Outcome.LATE, queues, program)
        await program.rpush("list", "1", "2")
        assert await queues.deliver([delivery]) == [Outcome.LATE]
        assert await program.lrange("list", 0, -1) == [b"1", b"2"]
        assert await large_keys(program) == []


async def test_a_large_answer_ends_its_destination(tmp_path: Path) -> None:
    """As a small one: no error is told after it, and the list loses the expiry of an unread error."""
    async with setup(tmp_path) as (queues, program, _):
        await queues.remember([ONE])
        await program.lpush("ret", "error")
        await program.expire("ret", 1000)
        answer = Delivery("ret", VALUE, ("mark",), 60, Ending.of(ONE, 7, ours=False))
        assert await queues.deliver([answer]) == [Outcome.DELIVERED]
        assert await queues.overdue(2000.0, 10) == []
        assert await program.ttl("ret") == -1


async def test_a_killed_gateway_leaves_nothing_for_ever(tmp_path: Path) -> None:
    """Whatever step of an upload was the last: what is there then has an expiry."""
    async with setup(tmp_path) as (_, program, url):
        redis = await connect(url)
        values = LargeValues(StoreAddress.of(redis), answer_s_max=ANSWER_S_MAX, random_bytes=os.urandom)
        call, steps = values._store.call, 0

        async def dies(command: Any, large: bool = False) -> Any:
            nonlocal steps
            if steps == 0:
                raise asyncio.CancelledError
            steps -= 1
            return await call(command, large)

        values._store.call = dies  # type: ignore[method-assign]
        for steps_before_death in range(3):
            steps = steps_before_death
            if steps_before_death < 2:
                with pytest.raises(asyncio.CancelledError):
                    await values.put(VALUE)
            else:
                steps = 100
                await values.put(VALUE)  # and nobody delivers it
            left = await large_keys(program)
            assert len(left) == steps_before_death + 1
            assert all([0 < await program.ttl(key) <= large_values.PARCEL_S for key in left])
        await values.close()
        await redis.aclose()


async def test_a_parcel_that_the_store_threw_away_is_sent_again(tmp_path: Path) -> None:
    """Stores may evict what has an expiry: whenever that happens, the value arrives whole, once."""
    async with setup(tmp_path) as (queues, program, _):
        values = queues._large_values
        lost: list[int] = []
        call, put = values._store.call, values.put

        async def piece_lost(command: Any, large: bool = False) -> Any:
            if len(lost) < 2 and command[0] == "SETRANGE":
                lost.append(await program.delete(command[1]))
            return await call(command, large)

        async def list_lost(value: bytes) -> str:
            name = await put(value)
            if len(lost) == 2:
                lost.append(await program.delete(name))
            return name

        values._store.call = piece_lost  # type: ignore[method-assign]
        values.put = list_lost  # type: ignore[method-assign]
        assert await queues.deliver([Delivery("list", VALUE, ("mark",), 60)]) == [Outcome.DELIVERED]
        assert lost == [1, 1, 1]
        assert await program.lrange("list", 0, -1) == [VALUE]
        assert await large_keys(program) == []


async def test_a_delivery_whose_answer_got_lost_is_not_made_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The repeat brings a second parcel, finds the mark, and drops it."""
    async with setup(tmp_path) as (queues, program, _):
        run = queues._store.run
        lost: list[Any] = []

        async def answer_lost(*arguments: Any, **options: Any) -> Any:
            answer = await run(*arguments, **options)
            if not lost:
                lost.append(answer)
                raise exceptions.ConnectionError("broken")
            return answer

        monkeypatch.setattr(queues._store, "run", answer_lost)
        assert await queues.deliver([Delivery("list", VALUE, ("mark",), 60)]) == [Outcome.REPEATED]
        assert lost == [[0]]
        assert await program.lrange("list", 0, -1) == [VALUE]
        assert await large_keys(program) == []


async def test_a_store_that_lets_us_read_some_keys_only(tmp_path: Path) -> None:
    """There SORT may not read by a pattern; values go as one argument then, and arrive all the same."""
    async with setup(tmp_path) as (_, program, url):
        await program.execute_command(
            "ACL", "SETUSER", "gateway", "on", ">secret", "~rmb:*", "~msgbus.*", "~list", "+@all"
        )
        queues = await queues_of(url.replace("://", "://gateway:secret@", 1))
        for mark in ("a", "b"):
            assert await queues.deliver([Delivery("list", VALUE, (mark,), 60)]) == [Outcome.DELIVERED]
        assert not queues._large_values._in_pieces
        assert await program.lrange("list", 0, -1) == [VALUE, VALUE]
        assert await large_keys(program) == []
        await queues.close()


async def test_a_store_without_memory_usage_takes_large_items_as_small_ones(tmp_path: Path) -> None:
    """The size is an opportunity, not a condition."""
    async with setup(tmp_path) as (_, program, url):
        await program.execute_command("ACL", "SETUSER", "gateway", "on", ">secret", "~*", "+@all", "-memory")
        queues = await queues_of(url.replace("://", "://gateway:secret@", 1))
        await program.lpush(keys.TAKING_REQUESTS, LARGE)
        (item,) = await queues.take(10)
        assert item.raw == LARGE
        assert await large_keys(program) == []
        await queues.close()


async def test_everything_survives_the_store(tmp_path: Path) -> None:
    """A store that ends and reads its append-only file again has large items and values as they were."""
    server = await EmbeddedValkey.start(tmp_path)
    async with asyncio.timeout(120):
        queues = await queues_of(server.url)
        program: Any = await connect(server.url)
        await queues.deliver([Delivery("list", VALUE, ("mark",), 60)])
        await program.lpush(keys.TAKING_REQUESTS, LARGE)
        (item,) = await queues.take(10)
        await queues.close()
        await program.aclose()
        await server.stop()
        server = await EmbeddedValkey.start(tmp_path)
        program, queues = await connect(server.url), await queues_of(server.url)
        assert await program.lrange("list", 0, -1) == [VALUE]
        assert [(found.entry, found.raw) for found in await queues.take(10)] == [(item.entry, LARGE)]
        await queues.close()
        await program.aclose()
        await server.stop()
