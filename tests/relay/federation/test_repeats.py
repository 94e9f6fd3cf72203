"""Marks of posts, in a real store."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from relay.federation.repeats import BEGUN_MS, REFUSED_MS, STORED_MS, MarksFailed, Repeats, Seen, post_of
from relay.federation.signature import CLOCK_S_MAX
from tests.support.proxy import proxy
from tests.support.relay import until
from tests.support.services import valkey

pytestmark = pytest.mark.asyncio(loop_scope="module")
S1, S2 = bytes(64), bytes([1]) * 64
FIRST, AGAIN = post_of("relay a.test", b"body", S1), post_of("relay a.test", b"body", S2)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def store(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Redis]:
    async with valkey(tmp_path_factory.mktemp("repeats")) as (_, client):
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def repeats(store: Redis) -> Repeats:
    await store.flushall()
    return Repeats(store)


async def test_what_tells_posts_apart() -> None:
    """The relay and the body do, the signature does not; and neither runs into the other."""
    assert FIRST.key == AGAIN.key
    keys = {post_of(*parts, b"").key for parts in (("a", b"b"), ("ab", b""), ("", b"ab"), ("a", b"c"), ("c", b"b"))}
    assert len(keys) == 5


async def test_stored_once(repeats: Repeats) -> None:
    """What is stored is recognised whatever signature it comes with, by every process on the store."""
    assert await repeats.begin(FIRST) is Seen.NEW
    await repeats.stored(FIRST)
    assert [await repeats.begin(post) for post in (FIRST, AGAIN)] == [Seen.STORED] * 2


async def test_under_way(repeats: Repeats) -> None:
    """Of many that come at once one is new."""
    seen = await asyncio.gather(*(repeats.begin(post) for post in (FIRST, AGAIN) * 20))
    assert seen.count(Seen.NEW) == 1
    assert seen.count(Seen.BEGUN) == 39


async def test_refused(repeats: Repeats) -> None:
    """A signature that was refused is used up; the same envelope with a new one is looked at again."""
    await repeats.begin(FIRST)
    await repeats.refused(FIRST)
    assert await repeats.begin(FIRST) is Seen.REFUSED
    assert await repeats.begin(AGAIN) is Seen.NEW
    assert await repeats.begin(FIRST) is Seen.BEGUN


async def test_refused_without_a_signature(repeats: Repeats) -> None:
    """Nothing tells a repeat from somebody who tries again."""
    post = post_of("192.0.2.1", b"body", b"")
    await repeats.begin(post)
    await repeats.refused(post)
    assert await repeats.begin(post) is Seen.NEW


async def test_failed(repeats: Repeats) -> None:
    """What we could not store may come again at once, with the same signature, too."""
    await repeats.begin(FIRST)
    await repeats.failed(FIRST)
    assert await repeats.begin(FIRST) is Seen.NEW


async def test_every_mark_expires(repeats: Repeats, store: Redis) -> None:
    """Begun, stored and refused, each after its own time, which is longer than a signature counts."""
    await repeats.begin(FIRST)
    assert BEGUN_MS - 60_000 < await store.pttl(FIRST.key) <= BEGUN_MS
    await repeats.stored(FIRST)
    assert STORED_MS - 60_000 < await store.pttl(FIRST.key) <= STORED_MS
    await repeats.refused(FIRST)
    assert REFUSED_MS - 60_000 < await store.pttl(FIRST.key) <= REFUSED_MS
    assert min(STORED_MS, REFUSED_MS) > 2 * CLOCK_S_MAX * 1000


async def test_an_expired_mark_is_gone(store: Redis) -> None:
    """Then the post is new."""
    short = Repeats(store, stored_ms=1)
    post = post_of("relay a.test", b"another body", S1)
    await short.begin(post)
    await short.stored(post)

    async def is_new() -> bool:
        return await short.begin(post) is Seen.NEW

    await until(is_new)


async def test_a_lost_answer_of_the_store(tmp_path: Path) -> None:
    """The client of the store asks again by itself, and the post is still new."""
    async with valkey(tmp_path) as (server, _), proxy(server.url) as door:
        client = Redis.from_url(door.url, socket_timeout=None, retry=Retry(NoBackoff(), 1))
        repeats = Repeats(client)
        await repeats.begin(AGAIN)
        await repeats.failed(AGAIN)
        door.lose_replies = 1
        assert await repeats.begin(FIRST) is Seen.NEW
        assert door.losses == 1
        assert await repeats.begin(FIRST) is Seen.BEGUN
        await client.aclose()


async def test_the_store_is_away(tmp_path: Path) -> None:
    """Beginning says so; what has happened has happened, and is noted or not."""
    client = Redis.from_url(f"unix://{tmp_path}/none.sock", socket_timeout=None)
    with pytest.raises(MarksFailed):
        await Repeats(client).begin(FIRST)
    await Repeats(client).stored(FIRST)
    await client.aclose()
