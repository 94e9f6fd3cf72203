"""The cache in front of a registry: what it answers by itself, when it asks, and what it does while nobody answers."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from rmb_peer.protocol.signatures import Signer
from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.base import RegistryRefused, RegistryUnavailable
from rmb_peer.registry.cached import NOT_CACHED, WARNING_PAUSE_S, CachedRegistry
from rmb_peer.registry.memory import MemoryRegistry
from tests.support.hosted_registry import PATIENCE_S, signer, until

RELAYS = frozenset({"relay.test"})


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Slow(MemoryRegistry):
    """A registry whose queries wait for the test, and fail when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []
        self.gates: dict[int, asyncio.Event] = {}
        self.failure: Exception | None = None

    async def get(self, twin_id: int) -> Twin | None:
        self.asked.append(twin_id)
        answer = await super().get(twin_id)
        if twin_id in self.gates:
            await self.gates[twin_id].wait()
        if self.failure is not None:
            raise self.failure
        return answer


def down() -> RegistryUnavailable:
    return RegistryUnavailable("nobody there")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def inner() -> Slow:
    registry = Slow()
    for name in ("a", "b", "c"):
        await registry.put(signer(name), RELAYS, None)
    return registry


@pytest.fixture
async def cached(inner: Slow, clock: Clock) -> AsyncIterator[CachedRegistry]:
    registry = CachedRegistry(inner, clock=clock)
    yield registry
    for gate in inner.gates.values():
        gate.set()
    await registry.close()


def key(name: str) -> Signer:
    return signer(name)


async def test_a_record_is_asked_for_once_in_five_minutes(cached: CachedRegistry, inner: Slow, clock: Clock) -> None:
    """A found twin is believed for 300 s, and peek tells it without waiting; then it is asked for again."""
    assert cached.peek(1) is NOT_CACHED
    twin = await cached.get(1)
    clock.now += 299.9
    assert (await cached.get(1), cached.peek(1)) == (twin, twin)
    assert inner.asked == [1]
    clock.now += 0.1
    assert cached.peek(1) is NOT_CACHED
    assert await cached.get(1) == twin
    assert inner.asked == [1, 1]


async def test_absence_is_believed_for_ten_seconds(cached: CachedRegistry, inner: Slow, clock: Clock) -> None:
    """Messages to a bogus twin cost one query in 10 s (spec rmb 10.10); a twin that registers is then found."""
    for _ in range(100):
        assert await cached.get(4) is None
    assert cached.peek(4) is None
    assert inner.asked == [4]
    late = await inner.put(key("late"), RELAYS, None)
    clock.now += 9.9
    assert await cached.get(4) is None
    clock.now += 0.1
    assert cached.peek(4) is NOT_CACHED
    assert await cached.get(4) == late


async def test_concurrent_misses_are_one_query(cached: CachedRegistry, inner: Slow) -> None:
    """However many messages wait for a twin, it is asked for once (spec rmb 7.4)."""
    inner.gates[1] = asyncio.Event()
    waiting = [asyncio.create_task(cached.get(1)) for _ in range(100)]
    await until(lambda: inner.asked == [1])
    inner.gates[1].set()
    assert {twin and twin.id for twin in await asyncio.gather(*waiting)} == {1}
    assert inner.asked == [1]


async def test_a_slow_lookup_delays_nobody_else(cached: CachedRegistry, inner: Slow) -> None:
    """While twin 1 is being looked up, twin 2 is found (spec rmb 10.10)."""
    inner.gates[1] = asyncio.Event()
    slow = asyncio.create_task(cached.get(1))
    await until(lambda: inner.asked == [1])
    async with asyncio.timeout(PATIENCE_S):
        assert await cached.get(2) is not None
    assert not slow.done()
    inner.gates[1].set()
    assert await slow is not None


async def test_cancelling_one_waiter_leaves_the_others(cached: CachedRegistry, inner: Slow) -> None:
    """Who gives up does not end the query, be it the one who started it; and the answer is remembered."""
    inner.gates[1] = asyncio.Event()
    first, second = (asyncio.create_task(cached.get(1)) for _ in range(2))
    await until(lambda: inner.asked == [1])
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    inner.gates[1].set()
    assert await second is not None
    assert inner.asked == [1]


async def test_a_query_that_nobody_waits_for_still_counts(cached: CachedRegistry, inner: Slow) -> None:
    """When all waiters are gone, the answer is remembered, and a failure makes no noise."""
    inner.gates[1] = asyncio.Event()
    only = asyncio.create_task(cached.get(1))
    await until(lambda: inner.asked == [1])
    only.cancel()
    await asyncio.gather(only, return_exceptions=True)
    inner.gates[1].set()
    await until(lambda: cached.peek(1) is not NOT_CACHED)


async def test_a_dead_registry_is_asked_once_a_second(cached: CachedRegistry, inner: Slow, clock: Clock) -> None:
    """A failure is remembered for a second for its twin, with its text, and only for that."""
    inner.failure = down()
    for _ in range(100):
        with pytest.raises(RegistryUnavailable, match="nobody there"):
            await cached.get(1)
    assert inner.asked == [1]
    inner.failure = None
    assert await cached.get(2) is not None
    clock.now += 1
    assert await cached.get(1) is not None


async def test_what_was_known_is_used_while_nobody_answers(
    cached: CachedRegistry, inner: Slow, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """An expired record serves through an outage of up to a day, with one warning, and one query per second."""
    one, two = await cached.get(1), await cached.get(2)
    inner.failure = down()
    clock.now += 301
    with caplog.at_level(logging.WARNING, "rmb.registry"):
        for _ in range(100):
            assert (await cached.get(1), await cached.get(2)) == (one, two)
    assert [line.getMessage() for line in caplog.records] == ["the registry gives no answer, using what it said before"]
    assert cached.peek(1) == one
    assert inner.asked == [1, 2, 1, 2]
    clock.now += 24 * 3600
    with pytest.raises(RegistryUnavailable):
        await cached.get(1)


async def test_a_question_that_hangs_holds_up_nobody_who_is_known(inner: Slow, clock: Clock) -> None:
    """After a moment the old record is used, and for a while without asking; who is not known waits for the answer."""
    cached = CachedRegistry(inner, clock=clock, hurry_s=0.01)
    old = await cached.get(1)
    inner.gates = {1: asyncio.Event(), 2: asyncio.Event()}
    clock.now += 300
    assert await cached.get(1) == old
    assert cached.peek(1) == old
    stranger = asyncio.create_task(cached.get(2))
    clock.now += 10
    assert await cached.get(1) == old
    assert inner.asked == [1, 1, 2]
    assert not stranger.done()
    clock.now += 24 * 3600
    too_old = asyncio.create_task(cached.get(1))
    for gate in inner.gates.values():
        gate.set()
    assert await too_old == old
    assert await stranger is not None
    await cached.close()


async def test_the_end_of_an_outage_is_told(
    cached: CachedRegistry, inner: Slow, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """After an outage one line says that the registry answers."""
    await cached.get(1)
    with caplog.at_level(logging.INFO, "rmb.registry"):
        clock.now += 301
        inner.failure = down()
        await cached.get(1)
        inner.failure = None
        clock.now += 1
        await cached.get(1)
        await cached.get(2)
    assert [line.getMessage() for line in caplog.records] == [
        "the registry gives no answer, using what it said before",
        "the registry answers again",
    ]


async def test_a_flapping_registry_is_told_once_a_minute(
    inner: Slow, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A registry that answers now and then fills no log."""
    cached = CachedRegistry(inner, clock=clock, fresh_s=0.1, failure_s=0.1)
    with caplog.at_level(logging.INFO, "rmb.registry"):
        for step in range(100):
            inner.failure = down() if step % 2 else None
            await cached.get(1)
            clock.now += 2 * WARNING_PAUSE_S / 100
    assert len(inner.asked) == 100
    assert len(caplog.records) == 2 * 2
    await cached.close()


async def test_a_refusal_of_the_registry_counts_as_no_answer(cached: CachedRegistry, inner: Slow, clock: Clock) -> None:
    """Also a backend that refuses to answer a read does not take away what is known."""
    known = await cached.get(1)
    clock.now += 301
    inner.failure = RegistryRefused("who are you")
    assert await cached.get(1) == known
    with pytest.raises(RegistryUnavailable, match="who are you"):
        await cached.get(2)


async def test_refresh_asks_at_most_once_in_ten_seconds(cached: CachedRegistry, inner: Slow, clock: Clock) -> None:
    """refresh passes by the memory, but bad signatures cannot drive queries."""
    old = await cached.get(1)
    new = await inner.put(key("a"), frozenset({"new.test"}), None)
    assert await cached.get(1) == old
    assert [await cached.refresh(1) for _ in range(100)] == [new] * 100
    assert cached.peek(1) == new
    assert inner.asked == [1, 1]
    newer = await inner.put(key("a"), frozenset({"newer.test"}), None)
    clock.now += 9.9
    assert await cached.refresh(1) == new
    clock.now += 0.1
    assert await cached.refresh(1) == newer


async def test_refresh_of_an_absent_twin_is_limited_too(cached: CachedRegistry, inner: Slow) -> None:
    """A flood of bad signatures from a twin that does not exist costs one query."""
    assert [await cached.refresh(9) for _ in range(100)] == [None] * 100
    assert inner.asked == [9]


async def test_refresh_falls_back_to_memory(cached: CachedRegistry, inner: Slow) -> None:
    """When the registry does not answer, refresh tells what is known, also that there is no such twin."""
    known = await cached.get(1)
    assert await cached.get(9) is None
    inner.failure = down()
    assert await cached.refresh(1) == known
    assert await cached.refresh(9) is None
    with pytest.raises(RegistryUnavailable):
        await cached.refresh(2)


async def test_a_change_takes_the_place_of_what_is_known(cached: CachedRegistry, inner: Slow) -> None:
    """follow() puts changes into the memory at once: of known twins and of those thought absent, of no others."""
    await cached.get(1)
    assert await cached.get(4) is None
    follower = asyncio.create_task(cached.follow())
    await until(lambda: len(inner._watchers) == 1)
    changed = await inner.put(key("a"), frozenset({"new.test"}), None)
    arrived = await inner.put(key("d"), RELAYS, None)
    await inner.put(key("b"), frozenset({"new.test"}), None)
    await until(lambda: cached.peek(1) == changed and cached.peek(4) == arrived)
    assert arrived.id == 4
    assert cached.peek(2) is NOT_CACHED
    follower.cancel()
    await asyncio.gather(follower, return_exceptions=True)


async def test_a_change_overtakes_a_query_under_way(cached: CachedRegistry, inner: Slow) -> None:
    """An answer that was given before a change does not hide it."""
    inner.gates[1] = asyncio.Event()
    waiting = asyncio.create_task(cached.get(1))
    await until(lambda: inner.asked == [1])
    changed = await inner.put(key("a"), frozenset({"new.test"}), None)
    cached.invalidate(changed)
    inner.gates[1].set()
    assert await waiting == changed
    assert cached.peek(1) == changed


async def test_a_doubtful_record_is_asked_for_again(cached: CachedRegistry, inner: Slow, clock: Clock) -> None:
    """Only what is doubtful; `expire_all` is about every record, and about "no such twin"."""
    a, b = [await inner.put(key(name), frozenset({"r.test"}), None) for name in "ab"]
    for twin_id in (a.id, b.id, 99):
        await cached.get(twin_id)
    assert len(cached) == 2
    cached.expire({a.id, 4711})
    assert (cached.peek(a.id), cached.peek(b.id), cached.peek(99)) == (NOT_CACHED, b, None)
    assert await cached.get(a.id) == cached.peek(a.id) == a
    cached.expire_all()
    assert [cached.peek(twin_id) for twin_id in (a.id, b.id, 99)] == [NOT_CACHED] * 3


async def test_a_doubtful_record_is_used_while_nobody_answers(
    cached: CachedRegistry, inner: Slow, clock: Clock
) -> None:
    """Doubt does not make an outage worse."""
    a = await inner.put(key("a"), frozenset({"r.test"}), None)
    await cached.get(a.id)
    cached.expire_all()
    inner.failure = down()
    assert await cached.get(a.id) == a
    assert inner.asked == [a.id, a.id]


async def test_doubt_overtakes_a_query_under_way(cached: CachedRegistry, inner: Slow) -> None:
    """An answer that may be from before is handed out, and not believed for longer."""
    a = await inner.put(key("a"), frozenset({"r.test"}), None)
    inner.gates |= {a.id: asyncio.Event(), 99: asyncio.Event()}
    asked = [asyncio.create_task(cached.get(twin_id)) for twin_id in (a.id, 99)]
    await until(lambda: len(inner.asked) == 2)
    cached.expire_all()
    for gate in inner.gates.values():
        gate.set()
    assert await asyncio.gather(*asked) == [a, None]
    assert [cached.peek(twin_id) for twin_id in (a.id, 99)] == [NOT_CACHED] * 2


async def test_a_twin_that_is_gone_is_absent(cached: CachedRegistry, inner: Slow, clock: Clock) -> None:
    """When the registry no longer has a twin, the old record is not served."""
    await cached.get(1)
    inner._twins.clear()
    clock.now += 301
    assert await cached.get(1) is None
    assert cached.peek(1) is None


async def test_the_memory_is_bounded(inner: Slow, clock: Clock) -> None:
    """Beyond its limit the twin used longest ago is forgotten, and bogus ids push out no known twin."""
    cached = CachedRegistry(inner, clock=clock, entries_max=2)
    await cached.get(1)
    await cached.get(2)
    assert cached.peek(1) is not NOT_CACHED
    await cached.get(3)
    for bogus in range(100, 110):
        assert await cached.get(bogus) is None
        await cached.refresh(bogus)
    assert cached.peek(2) is NOT_CACHED
    assert cached.peek(1) is not NOT_CACHED
    assert cached.peek(3) is not NOT_CACHED
    assert [table._entries.keys() for table in (cached._absent_until, cached._refreshed_at)] == [{108, 109}] * 2
    await cached.close()


async def test_the_queries_under_way_are_bounded(inner: Slow, clock: Clock) -> None:
    """One query too many fails at once with a text that says so; the others go on."""
    cached = CachedRegistry(inner, clock=clock, lookups_max=2)
    inner.gates = {1: asyncio.Event(), 2: asyncio.Event()}
    waiting = [asyncio.create_task(cached.get(twin_id)) for twin_id in (1, 2)]
    await until(lambda: inner.asked == [1, 2])
    with pytest.raises(RegistryUnavailable, match="2 look-ups already wait"):
        await cached.get(3)
    for gate in inner.gates.values():
        gate.set()
    assert all(await asyncio.gather(*waiting))
    assert await cached.get(3) is not None
    await cached.close()


async def test_closing_ends_what_waits(inner: Slow, clock: Clock) -> None:
    """Who waits while the registry closes hears of it, as who asks later does; nobody is left hanging."""
    cached = CachedRegistry(inner, clock=clock)
    inner.gates[1] = asyncio.Event()
    waiting = asyncio.create_task(cached.get(1))
    await until(lambda: inner.asked == [1])
    await cached.close()
    for question in (waiting, cached.get(2)):
        with pytest.raises(RegistryUnavailable, match="closed"):
            await question


async def test_own_record_and_account_lookups_are_remembered(cached: CachedRegistry, inner: Slow) -> None:
    """What put and get_by_account return needs no further query."""
    twin = await cached.put(key("new"), RELAYS, None)
    other = await cached.get_by_account(key("a").account)
    assert other is not None
    assert (cached.peek(twin.id), cached.peek(other.id)) == (twin, other)
    assert await cached.get_by_account(key("nobody").account) is None
    assert inner.asked == []


async def test_an_error_that_is_no_answer_reaches_the_caller(cached: CachedRegistry, inner: Slow) -> None:
    """A bug in a backend is not taken for an outage, and is not remembered."""
    inner.failure = ZeroDivisionError("bug")
    with pytest.raises(ZeroDivisionError):
        await cached.get(1)
    inner.failure = None
    assert await cached.get(1) is not None
