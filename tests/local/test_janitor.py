"""The janitor on a real Valkey. Heartbeats end by `DEL`, so that no test waits for time to pass."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from rmb_peer.local import janitor as module
from rmb_peer.local import keys
from rmb_peer.local.janitor import Janitor
from rmb_peer.local.lease_events import LeaseEvent, LeaseStep
from tests.support.requests import answered, entry
from tests.support.services import valkey


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[Any]:
    async with valkey(tmp_path, port=0) as (server, _):
        client = Redis.from_url(server.url, socket_timeout=None)
        yield client
        await client.aclose()


async def hold(redis: Any, worker: str, raw: bytes, command: str = "x", slot: str = "1") -> str:
    """What a worker in any language does: heartbeat, announcement, move."""
    name = keys.lease_list(worker, slot, command)
    await redis.set(keys.ALIVE_PREFIX + worker, "1", ex=600)
    await redis.sadd(keys.LEASES, name)
    await redis.lpush(f"msgbus.{command}", raw)
    assert await redis.blmove(f"msgbus.{command}", name, 5, "RIGHT", "LEFT") == raw
    return name


async def die(redis: Any, worker: str) -> None:
    await redis.delete(keys.ALIVE_PREFIX + worker)


async def test_the_work_of_the_living_is_left_alone(redis: Any) -> None:
    """As long as there is a heartbeat."""
    name = await hold(redis, "w1", entry())
    assert await Janitor(redis).sweep() == 0
    assert await redis.lrange(name, 0, -1) == [entry()]
    assert await redis.smembers(keys.LEASES) == {name.encode()}


async def test_the_work_of_the_dead_is_the_next_in_its_queue(redis: Any) -> None:
    """In its old place, the oldest first, before what has come since; the step is told."""
    told: list[LeaseEvent] = []
    now_s = int(time.time())
    raws = [entry(ref=f"u-{n}", now=now_s - 10 + n) for n in range(3)]
    for worker, n in (("w2", 0), ("w0", 1), ("w1", 2)):
        await hold(redis, worker, raws[n])
    await redis.lpush("msgbus.x", entry(ref="later"))
    for worker in ("w0", "w1", "w2"):
        await die(redis, worker)
    assert await Janitor(redis, tell=told.append).sweep() == 3
    assert [json.loads(await redis.rpop("msgbus.x"))["ref"] for _ in range(4)] == ["u-0", "u-1", "u-2", "later"]
    assert [(e.step, e.uid, e.worker) for e in told] == [
        (LeaseStep.RETURNED, "u-2", "w1"), (LeaseStep.RETURNED, "u-1", "w0"), (LeaseStep.RETURNED, "u-0", "w2"),
    ]  # fmt: skip
    await Janitor(redis).sweep()
    assert await redis.smembers(keys.LEASES) == set()


async def fail_once(redis: Any, raw: bytes, janitor: Janitor) -> None:
    """A worker takes it and dies."""
    name = keys.lease_list("w", "1", "x")
    await redis.sadd(keys.LEASES, name)
    assert await redis.blmove("msgbus.x", name, 5, "RIGHT", "LEFT") == raw
    assert await janitor.sweep() == 1


async def test_tries_are_counted_pauses_grow_and_the_last_ends_with_an_error(redis: Any) -> None:
    """The dead letter holds the entry with its reason, and the asker hears of it once."""
    told: list[LeaseEvent] = []
    janitor = Janitor(redis, tell=told.append)
    raw = entry()
    await redis.hset(keys.RETRIES, "x", 2)
    await redis.lpush("msgbus.x", raw)
    await fail_once(redis, raw, janitor)
    assert await redis.llen("msgbus.x") == 1  # the first repetition comes at once
    await fail_once(redis, raw, janitor)
    assert await redis.llen("msgbus.x") == 0  # the second waits
    ((member, due_s),) = await redis.zrange(keys.LATER, 0, -1, withscores=True)
    assert 0 < due_s - time.time() <= 2
    await redis.zadd(keys.LATER, {member: 0})  # its pause is over
    assert await janitor.sweep() == 1
    await fail_once(redis, raw, janitor)
    assert (await redis.llen("msgbus.x"), await redis.zcard(keys.LATER)) == (0, 0)
    answer = await answered(redis)
    assert (answer["ref"], answer["dst"], answer["err"]["code"]) == ("u-1", "7:web", 502)
    ((_, letter),) = await redis.xrange(keys.DEAD)
    assert (letter[b"kind"], letter[b"raw"], letter[b"list"]) == (b"unfinished", raw, b"msgbus.x")
    assert letter[b"reason"].decode() == answer["err"]["message"]
    assert [event.step for event in told] == [LeaseStep.RETURNED, LeaseStep.RETURNED, LeaseStep.GIVEN_UP]
    assert await janitor.sweep() == 0
    assert await redis.llen("msgbus.system.reply") == 0


async def test_a_life_that_ends_in_a_pause_ends_with_an_error(redis: Any) -> None:
    """What waits for its next try and expires is not tried again."""
    raw = entry(now=1000, exp=300)
    await redis.zadd(keys.LATER, {b"1:1:x" + raw: 0})
    assert await Janitor(redis).sweep() == 1
    assert (await answered(redis))["err"]["code"] == 102
    assert (await redis.llen("msgbus.x"), await redis.xlen(keys.DEAD)) == (0, 1)


async def test_a_lease_that_nobody_announced_is_found(redis: Any) -> None:
    """A worker that was thought dead and forgotten may still take work."""
    name = await hold(redis, "w", entry())
    await redis.srem(keys.LEASES, name)
    await die(redis, "w")
    assert await Janitor(redis).sweep() == 1
    assert await redis.llen("msgbus.x") == 1


async def test_several_janitors_at_once_do_no_harm(redis: Any) -> None:
    """Every entry is returned once."""
    for number in range(40):
        await hold(redis, f"w{number}", entry(ref=f"u-{number}"))
    for number in range(40):
        await die(redis, f"w{number}")
    counts = await asyncio.gather(*(Janitor(redis).sweep() for _ in range(4)))
    assert sum(counts) == 40
    assert len(set(await redis.lrange("msgbus.x", 0, -1))) == await redis.llen("msgbus.x") == 40


async def test_equal_entries_stay_two(redis: Any) -> None:
    """Two requests that are equal to the byte both come back, also after a pause."""
    raw = entry()
    await redis.hset(keys.RETRIES, "x", 9)
    janitor = Janitor(redis)
    for number in range(2):
        await hold(redis, f"w{number}", raw)
    for number in range(2):
        await die(redis, f"w{number}")
    assert await janitor.sweep() == 2  # the second counts as the second try of the same: it waits
    for member in await redis.zrange(keys.LATER, 0, -1):
        await redis.zadd(keys.LATER, {member: 0})
    await janitor.sweep()
    assert await redis.lrange("msgbus.x", 0, -1) == [raw, raw]


async def test_a_foreign_worker_with_several_entries_in_one_list_loses_none(redis: Any) -> None:
    """They come back in their order."""
    for number in range(3):
        await hold(redis, "w", entry(ref=f"u-{number}"))
    await die(redis, "w")
    assert await Janitor(redis).sweep() == 3
    assert [json.loads(await redis.rpop("msgbus.x"))["ref"] for _ in range(3)] == ["u-0", "u-1", "u-2"]


async def test_a_queue_that_is_no_list_keeps_its_work_and_hinders_nobody(redis: Any) -> None:
    """Nothing is taken away that could go nowhere; other queues are looked after."""
    name = await hold(redis, "w", entry())
    await hold(redis, "v", entry(cmd="y"), command="y")
    await redis.set("msgbus.x", "not a list")
    await die(redis, "w")
    await die(redis, "v")
    assert await Janitor(redis).sweep() == 1
    assert await redis.llen(name) == 1
    assert await redis.llen("msgbus.y") == 1
    await redis.delete("msgbus.x")
    assert await Janitor(redis).sweep() == 1
    assert await redis.lrange("msgbus.x", 0, -1) == [entry()]


async def test_noise_in_its_keys_is_forgotten(redis: Any) -> None:
    """Names and members that are none do not stop a sweep."""
    await redis.sadd(keys.LEASES, "noise", b"rmb:lease:\xff:1:x", b"rmb:lease:w:1:\xff")
    await redis.zadd(keys.LATER, {"noise": 0, "1:99:x": 0, b"\xff": 0})
    await redis.hset(keys.RETRIES, "x", "many")
    await hold(redis, "w", b"\xffnoise")
    await die(redis, "w")
    assert await Janitor(redis).sweep() >= 1
    assert await redis.lrange("msgbus.x", 0, -1) == [b"\xffnoise"]
    assert await redis.smembers(keys.LEASES) <= {keys.lease_list("w", "1", "x").encode()}
    assert await redis.zcard(keys.LATER) == 0


async def test_what_waits_is_bounded(redis: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit an entry goes back without a pause; it is not lost."""
    monkeypatch.setattr(module, "LATER_ENTRIES_MAX", 1)
    for number in range(2):
        raw = entry(ref=f"u-{number}")
        await hold(redis, f"w{number}", raw)
        await redis.eval("redis.call('SET', 'rmb:tries:' .. redis.sha1hex(ARGV[1]), 1)", 0, raw)
        await die(redis, f"w{number}")
    assert await Janitor(redis).sweep() == 2
    assert (await redis.zcard(keys.LATER), await redis.llen("msgbus.x")) == (1, 1)


async def test_it_waits_for_a_store_that_comes_back(tmp_path: Path) -> None:
    """A janitor that runs survives the absence of its store."""
    async with valkey(tmp_path, port=0) as (server, _):
        url = server.url
    client = Redis.from_url(url, socket_timeout=None)
    running = asyncio.create_task(Janitor(client, period_s=0.05).run())
    async with valkey(tmp_path, port=server.port) as (_, other):
        await hold(other, "w", entry())
        await die(other, "w")
        async with asyncio.timeout(60):
            while not await other.llen("msgbus.x"):
                await asyncio.sleep(0.02)  # polls what another task does
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await client.aclose()
