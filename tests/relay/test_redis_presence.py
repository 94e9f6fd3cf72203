"""Presence in a real store, without sockets: entries, what they cost, and who may take short cuts since when."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from relay.feed import Feed
from relay.horizon import UNKNOWN, Horizon
from relay.mailboxes import START, EntryId, Page
from relay.process_settings import Timing
from relay.redis_presence import RedisPresence
from relay.sessions import Session, Sessions
from rmb_peer.protocol.address import Address
from tests.support.mailboxes import redis_mailboxes
from tests.support.relay import until
from tests.support.services import valkey

TIMING = Timing(beat_s=0.05, life_s=600.0, check_s=600.0)


async def nothing(after: EntryId) -> Page:
    return Page([], START, True)


class Process:
    """What presence belongs to."""

    def __init__(self, url: str, name: str, store: Redis) -> None:
        self.sessions = Sessions(100)
        self.horizon = Horizon()
        self.superseded: list[str] = []
        self.presence = RedisPresence(
            store,
            lambda: Redis.from_url(url, socket_timeout=None),
            self.sessions,
            self.horizon,
            process=name,
            timing=TIMING,
        )

    async def connect(self, owner: Address) -> Session:
        session = self.sessions.register(owner, Feed(nothing), lambda: self.superseded.append(str(owner)))
        await self.presence.enter(session)
        return session

    def disconnect(self, session: Session) -> None:
        if self.sessions.unregister(session):
            self.presence.leave(session)


@asynccontextmanager
async def process(url: str, name: str) -> AsyncIterator[Process]:
    store = Redis.from_url(url, socket_timeout=None)
    made = Process(url, name, store)
    await made.presence.start()
    running = asyncio.create_task(made.presence.run())
    try:
        await made.presence.listens()
        yield made
    finally:
        await made.presence.close()
        await running
        await store.aclose()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[tuple[str, Any]]:
    async with valkey(tmp_path) as (running, client):
        yield running.url, client


async def test_an_entry_says_who_and_since_when(server: tuple[str, Any]) -> None:
    """Process, number of the registration, count of foreign entries; gone when the session is; it expires."""
    url, store = server
    async with process(url, "p1") as one:
        with_id, without = await one.connect(Address(7, "a")), await one.connect(Address(7))
        assert await store.hgetall("relay.presence:{7}") == {b"=a": b"p1:1:0", b"-": b"p1:2:0"}
        assert await store.ttl("relay.presence:{7}") > 3600
        one.disconnect(without)
        one.disconnect(with_id)
        await until(lambda: is_empty(store))


async def is_empty(store: Any) -> bool:
    return not await store.exists("relay.presence:{7}")


async def test_whoever_holds_the_place_is_told(server: tuple[str, Any]) -> None:
    """Another process enters the same session; the older one cannot take the entry out."""
    url, store = server
    async with process(url, "p1") as one, process(url, "p2") as two:
        older = await one.connect(Address(7))
        await two.connect(Address(7))
        await until(lambda: one.superseded == ["7"])
        one.disconnect(older)
        one.presence.leave(older)
        await asyncio.wait_for(one.connect(Address(8)), 60)  # said after that
        assert await store.hget("relay.presence:{7}", "-") == b"p2:1:0"
        assert not two.superseded


async def test_appends_count_and_tell(server: tuple[str, Any]) -> None:
    """A foreign append raises the count and reaches the feed; our own is answered with the count; others get none."""
    url, _ = server
    async with process(url, "p1") as one, redis_mailboxes(url, "p1") as own, redis_mailboxes(url, "p2") as foreign:
        session = await one.connect(Address(7, "a"))
        assert (await own.append(Address(7, "a"), b"x", 300)).foreign == (session.generation, 0)
        assert (await foreign.append(Address(7, "a"), b"x", 300)).foreign is None
        assert (await own.append(Address(7), b"x", 300)).foreign is None
        assert (await own.append(Address(7, "a"), b"x", 300)).foreign == (session.generation, 1)
        await until(lambda: session.feed.foreign == 1)
        await asyncio.gather(*(foreign.append(Address(7, "a"), b"x", 300) for _ in range(50)))
        await until(lambda: session.feed.foreign == 51)


async def test_strange_entries_stop_no_append(server: tuple[str, Any]) -> None:
    """Whatever somebody has put there, envelopes are stored."""
    url, store = server
    async with redis_mailboxes(url, "p1") as own:
        await store.hset("relay.presence:{7}", "-", "no entry at all")
        await store.set("relay.presence:{8}", "no hash at all")
        for twin in (7, 8):
            assert (await own.append(Address(twin), b"x", 300)).foreign is None


async def test_since_when_short_cuts_are_safe(server: tuple[str, Any]) -> None:
    """Alone: from the start. With others: each needs a new look. Alone again: one look is enough for all."""
    url, _ = server
    async with process(url, "p1") as one:
        assert (await one.connect(Address(1))).since == 0
        async with process(url, "p2"):
            second, third = await one.connect(Address(2)), await one.connect(Address(3))
            assert 0 < second.since < third.since < UNKNOWN
        await until(lambda: not one.presence.others and one.horizon.floor)
        fourth, fifth = await one.connect(Address(4)), await one.connect(Address(5))
        assert third.since < fourth.since == fifth.since == one.horizon.floor


async def test_one_process_asks_nothing_about_messages(server: tuple[str, Any]) -> None:
    """Alone, where sessions are is known without the store; with others it is asked, and known for a moment."""
    url, _ = server
    async with process(url, "p1") as one:
        assert one.presence.peek(Address(9)) is False
        async with process(url, "p2") as two:
            await until(lambda: one.presence.others)
            await two.connect(Address(9, "a"))
            assert one.presence.peek(Address(9, "a")) is None

            async def is_known() -> bool:
                await one.presence.ask(9)
                return (one.presence.peek(Address(9, "a")), one.presence.peek(Address(9))) == (True, False)

            await until(is_known)


@pytest.mark.parametrize(
    "noise", [b"", b"\xff\xfe", b"more", b"more x 1 7", b"more 1 1 nobody", b"else 1 1 7", b"gone 9 0 7"]
)
async def test_noise_on_the_channel(server: tuple[str, Any], noise: bytes) -> None:
    """What is not understood, or is about another registration, changes nothing."""
    url, store = server
    async with process(url, "p1") as one:
        session = await one.connect(Address(7))
        await store.publish("relay.process.p1", noise)
        await store.publish("relay.process.p1", f"more {session.generation} 5 7")
        await until(lambda: session.feed.foreign == 5)
        assert not one.superseded
