"""Taking through waiting moves: every item once and in order, whatever happens to answers, connections and numbers."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from rmb_peer.local import keys
from rmb_peer.local.queues import Taken
from rmb_peer.local.redis_queues import RedisQueues, connect
from rmb_peer.local.waiting_moves import Moved
from tests.support.services import valkey

LIMITS = (100, 10**6)


@asynccontextmanager
async def setup(folder: Path) -> AsyncIterator[tuple[RedisQueues, Any]]:
    """Queues, and a client of a program."""
    async with valkey(folder) as (server, client), asyncio.timeout(120):
        queues = RedisQueues(await connect(server.url, "taking"), random_bytes=os.urandom)
        try:
            yield queues, client
        finally:
            await queues.close()


async def armed(queues: RedisQueues, program: Any) -> asyncio.Task[list[Taken]]:
    """A take for which both moves wait in the store."""
    taking = asyncio.create_task(queues.take(100))
    while (await program.info("clients"))["blocked_clients"] < 2:
        await asyncio.sleep(0.002)  # polls what another process does
    return taking


async def test_a_lone_item_costs_one_round_trip(tmp_path: Path) -> None:
    """While it waits nothing more is asked: the store answers move and take together, and nothing before or after."""
    async with setup(tmp_path) as (queues, program):
        taking = await armed(queues, program)
        for number in range(3):
            await program.config_resetstat()
            await program.lpush(keys.LOCAL_REQUESTS, f"{number}")
            assert [item.raw for item in await taking] == [b"%d" % number]
            calls = await program.info("commandstats")
            assert calls["cmdstat_evalsha"]["calls"] == 1
            taking = await armed(queues, program)
            calls = await program.info("commandstats")
            assert calls["cmdstat_evalsha"]["calls"] == 1  # what waits again asks only to be woken
        taking.cancel()


async def test_answers_in_the_wrong_order_are_put_in_order(tmp_path: Path) -> None:
    """The answer to the second take waits for that to the first."""
    async with setup(tmp_path) as (queues, program):
        taking = await armed(queues, program)
        await program.lpush(keys.LOCAL_REQUESTS, "0")
        await taking
        answers = []
        for number in (1, 2):
            await program.lpush(keys.LOCAL_REQUESTS, f"{number}")
            answers.append(await queues._store.run(queues._take, LIMITS))
        queues._moved = [Moved(None, answer, 100) for answer in reversed(answers)]
        items = [item for _ in range(2) for item in await queues.take(100)]
        assert [(item.raw, item.found_since_s) for item in items] == [(b"1", None), (b"2", None)]


async def test_a_missing_answer_is_noticed(tmp_path: Path) -> None:
    """Items of a take whose answer got lost are read from the outbox, in their place, and none comes twice."""
    async with setup(tmp_path) as (queues, program):
        await program.lpush(keys.LOCAL_REQUESTS, "0")
        await queues.take(100)
        answers = []
        for number in (1, 2, 3):
            await program.lpush(keys.LOCAL_REQUESTS, f"{number}")
            answers.append(await queues._store.run(queues._take, LIMITS))
        queues._lists_may_hold_more = False
        queues._moved = [Moved(None, answers[2], 100)]
        items = await queues.take(100)
        queues._moved.append(Moved(None, answers[1], 100))  # late
        taking = asyncio.create_task(queues.take(100))
        await program.lpush(keys.LOCAL_REPLIES, "4")
        items += await taking
        assert [item.raw for item in items] == [b"1", b"2", b"3", b"4"]


async def test_items_that_somebody_deleted_from_the_outbox_have_their_turn(tmp_path: Path) -> None:
    """An early answer whose predecessor is nowhere is returned in the end, whatever became of the outbox."""
    async with setup(tmp_path) as (queues, program):
        await program.lpush(keys.LOCAL_REQUESTS, "0")
        await queues.take(100)
        answers = []
        for number in (1, 2):
            await program.lpush(keys.LOCAL_REQUESTS, f"{number}")
            answers.append(await queues._store.run(queues._take, LIMITS))
        await program.delete(keys.OUTBOX)
        queues._lists_may_hold_more = False
        queues._moved = [Moved(None, answers[1], 100)]
        assert [item.raw for item in await queues.take(100)] == [b"2"]
        await program.lpush(keys.LOCAL_REQUESTS, "3")
        assert [item.raw for item in await queues.take(100)] == [b"3"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda program: program.delete(keys.TAKES),
        lambda program: program.set(keys.TAKES, "no number"),
        lambda program: program.set(keys.TAKES, 2**63 - 1),
        lambda program: program.set(keys.TAKES, -5),
        lambda program: program.eval(f"redis.call('DEL','{keys.TAKES}') redis.call('LPUSH','{keys.TAKES}','x')", 0),
    ],
    ids=["gone", "text", "largest", "negative", "list"],
)
async def test_a_damaged_number_costs_no_item(tmp_path: Path, damage: Callable[[Any], Awaitable[Any]]) -> None:
    """Whatever stands where the takes are counted, items come once and in order."""
    async with setup(tmp_path) as (queues, program):
        taking = await armed(queues, program)
        await program.lpush(keys.LOCAL_REQUESTS, "0")
        items = await taking
        await damage(program)
        for number in range(1, 8):
            await program.lpush(keys.LOCAL_REQUESTS, f"{number}")
            items += await queues.take(100)
        assert [item.raw for item in items] == [b"%d" % number for number in range(8)]


async def test_connections_that_break_again_and_again_lose_nothing(tmp_path: Path) -> None:
    """While all connections are closed time and again, each list's items come once and in their order."""
    async with setup(tmp_path) as (queues, program):
        count = 300

        async def push(name: str, mark: str) -> None:
            for number in range(count):
                await program.lpush(name, f"{mark}{number}")

        async def disturb() -> None:
            while True:
                for client in await program.client_list():
                    if client["name"] == "taking":
                        await program.client_kill_filter(_id=client["id"])
                await asyncio.sleep(0.01)

        disturbing = asyncio.create_task(disturb())
        pushing = asyncio.gather(push(keys.LOCAL_REQUESTS, "q"), push(keys.LOCAL_REPLIES, "r"))
        items: list[Taken] = []
        while len(items) < 2 * count:
            if len(items) >= count:
                disturbing.cancel()
            taken = await queues.take(7)
            assert 0 < len(taken) <= 7
            items += taken
        await pushing
        for kind, mark in (("request", "q"), ("response", "r")):
            assert [item.raw for item in items if item.kind == kind] == [f"{mark}{n}".encode() for n in range(count)]
        order = [tuple(map(int, item.entry.split("-"))) for item in items]
        assert order == sorted(set(order))
        assert await program.xlen(keys.OUTBOX) == 2 * count


async def test_a_take_that_is_given_up_loses_nothing(tmp_path: Path) -> None:
    """What moves fetch while nobody takes comes with the next take, as it would have come."""
    async with setup(tmp_path) as (queues, program):
        taking = await armed(queues, program)
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
        await program.lpush(keys.LOCAL_REQUESTS, "1")
        while not await program.xlen(keys.OUTBOX):
            await asyncio.sleep(0.002)  # polls what another process does
        assert [(item.raw, item.found_since_s) for item in await queues.take(100)] == [(b"1", None)]


async def test_a_store_that_forgets_scripts_is_told_them(tmp_path: Path) -> None:
    """SCRIPT FLUSH while moves wait: the item that wakes them is taken all the same, without a word of trouble."""
    async with setup(tmp_path) as (queues, program):
        taking = await armed(queues, program)
        await program.script_flush()
        await program.lpush(keys.LOCAL_REQUESTS, "1")
        assert [item.raw for item in await taking] == [b"1"]
        assert queues.trouble is None


async def test_one_item_at_a_time_while_both_lists_bring_some(tmp_path: Path) -> None:
    """A limit of one leaves nothing behind in the lists that nobody looks at."""
    async with setup(tmp_path) as (queues, program):
        taking = await armed(queues, program)
        taking.cancel()
        for number in range(5):
            await program.lpush(keys.LOCAL_REQUESTS, f"q{number}")
            await program.lpush(keys.LOCAL_REPLIES, f"r{number}")
        items = [item.raw for _ in range(10) for item in await queues.take(1)]
        assert sorted(items) == sorted(f"{mark}{number}".encode() for mark in "qr" for number in range(5))
