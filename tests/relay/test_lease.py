"""Leases: one process at a time, another one soon after it died, and nobody works on a lease that has ended."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from relay.lease import Lease
from relay.tasks import end
from tests.support.proxy import proxy
from tests.support.relay import until
from tests.support.services import valkey

pytestmark = pytest.mark.asyncio(loop_scope="module")

LONG_S = 600.0
"""No stall of a test machine is as long."""

KEY = "relay.lease:{work}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_store(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Redis]:
    async with valkey(tmp_path_factory.mktemp("lease")) as (_, client):
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def store(shared_store: Redis) -> Redis:
    await shared_store.flushall()
    return shared_store


class Work:
    """Work that goes on until it is cancelled, and says when it starts and stops."""

    def __init__(self) -> None:
        self.started = 0
        self.running = 0

    async def __call__(self) -> None:
        self.started += 1
        self.running += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.running -= 1


async def test_one_at_a_time(store: Redis) -> None:
    """A lease that somebody has is given to nobody else; renewing it is taking it again."""
    one, two = Lease(store, "work", lease_s=LONG_S), Lease(store, "work", lease_s=LONG_S)
    assert (await one.take(), await two.take(), await one.take()) == (True, False, True)
    assert (one.held, two.held) == (True, False)
    assert await Lease(store, "other", lease_s=LONG_S).take()


async def test_only_the_holder_gives_it_up(store: Redis) -> None:
    """Releasing what is not ours changes nothing; after the holder's release it is free at once."""
    one, two = Lease(store, "work", lease_s=LONG_S), Lease(store, "work", lease_s=LONG_S)
    assert await one.take()
    await two.release()
    assert not await two.take()
    await one.release()
    assert not one.held
    assert await two.take()


async def test_it_ends_by_itself(store: Redis) -> None:
    """A holder that says nothing more loses it when its time in the store is over."""
    dead, heir = Lease(store, "work", lease_s=0.2), Lease(store, "work", lease_s=LONG_S)
    await dead.take()
    await until(heir.take)
    assert not await dead.take()


async def test_the_holder_stops_before_the_store_does(store: Redis) -> None:
    """By the holder's clock it ends early, counted from the question; the store still has the key then."""
    now_s = [100.0]
    lease = Lease(store, "work", lease_s=LONG_S, now_s=lambda: now_s[0])
    assert await lease.take()
    now_s[0] += LONG_S * 0.79
    assert lease.held
    now_s[0] += LONG_S * 0.02
    assert not lease.held
    assert await store.exists(KEY)
    assert await lease.take()  # nobody else came: it goes on


async def test_work_runs_in_one_place_and_moves(store: Redis) -> None:
    """Two want to work: one does; when it ends, the other takes over."""
    works = [Work(), Work()]
    tasks = [asyncio.create_task(Lease(store, "work", lease_s=3.0).keep(work)) for work in works]
    try:
        await until(lambda: works[0].running + works[1].running == 1)
        first = 0 if works[0].running else 1
        await end([tasks[first]])
        await until(lambda: works[1 - first].running == 1)
        assert works[first].running == 0
    finally:
        await end(tasks)
    await until(lambda: free(store))


async def free(store: Redis) -> bool:
    return not await store.exists(KEY)


async def test_work_stops_when_the_lease_is_somebody_elses(store: Redis) -> None:
    """A process that was declared dead in the meantime finds another holder, and stops; later it works again."""
    work = Work()
    keeping = asyncio.create_task(Lease(store, "work", lease_s=0.6).keep(work))
    try:
        await until(lambda: work.running)
        await store.set(KEY, "somebody else")
        await until(lambda: not work.running)
        await store.delete(KEY)
        await until(lambda: work.running)
        assert work.started >= 2
    finally:
        await end([keeping])


async def test_work_stops_when_the_store_is_away(tmp_path: Path) -> None:
    """Without answers the holder cannot know, so it stops; when the store is back, it goes on."""
    async with valkey(tmp_path) as (server, _), proxy(server.url) as door:
        client = Redis.from_url(door.url, socket_timeout=None)
        work = Work()
        keeping = asyncio.create_task(Lease(client, "work", lease_s=0.6).keep(work))
        try:
            await until(lambda: work.running)
            door.cut()
            await until(lambda: not work.running)
            door.down = False
            await until(lambda: work.running)
        finally:
            await end([keeping])
            await client.aclose()


async def test_work_that_returns_gives_it_up(store: Redis) -> None:
    """One round of work, then others have their turn, then another round."""
    rounds: list[int] = []

    async def work() -> None:
        rounds.append(1)

    keeping = asyncio.create_task(Lease(store, "work", lease_s=0.3).keep(work))
    try:
        await until(lambda: len(rounds) >= 3)
    finally:
        await end([keeping])


async def test_an_error_of_the_work_is_told(store: Redis) -> None:
    """What work raises ends `keep` and frees the lease."""

    async def work() -> None:
        raise ValueError("broken")

    lease: Callable[[], Lease] = lambda: Lease(store, "work", lease_s=LONG_S)  # noqa: E731
    with pytest.raises(ValueError, match="broken"):
        await lease().keep(work)
    assert await lease().take()
