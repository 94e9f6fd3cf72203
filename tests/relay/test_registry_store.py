"""The hosted registry's store, on a real Valkey: who gets which id, which records are kept, what is told of changes."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from relay import registry_store
from relay.registry_store import Claimed, IdNotYours, RegistryFull, RegistryStore, VersionNotGreater
from rmb_peer.embedded.valkey import EmbeddedValkey
from rmb_peer.protocol.errors import InvalidSignature
from rmb_peer.protocol.twin_record import VERSION_MAX, SignedTwin
from rmb_peer.registry.base import RegistryUnavailable
from tests.support.hosted_registry import Listener, record, signer, until
from tests.support.services import valkey

A, B, C = (signer(name).account for name in "abc")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedValkey]:
    async with valkey(tmp_path_factory.mktemp("valkey")) as (server, _):
        yield server


@pytest.fixture
async def redis(server: EmbeddedValkey) -> AsyncIterator[Redis]:
    client = Redis.from_url(server.url, socket_timeout=None)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
def store(redis: Any) -> RegistryStore:
    return RegistryStore(redis, watch_poll_s=0.01)


async def test_ids_count_from_one_and_stay(store: RegistryStore) -> None:
    """Each account gets the next id, and the same one however often it asks."""
    assert [await store.claim(account) for account in (A, B, A, C, B)] == [
        Claimed(1, True),
        Claimed(2, True),
        Claimed(1, False),
        Claimed(3, True),
        Claimed(2, False),
    ]


async def test_concurrent_claims_of_one_account_give_one_id(redis: Any) -> None:
    """Several relay processes on one store, asked at once, allocate one id per account."""
    stores = [RegistryStore(redis) for _ in range(5)]
    answers = await asyncio.gather(*(store.claim(account) for store in stores for account in (A, B, C) * 4))
    for number in range(3):
        assert len({answer.id for answer in answers[number::3]}) == 1
        assert [answer.new for answer in answers[number::3]].count(True) == 1
    assert {answer.id for answer in answers} == {1, 2, 3}


async def test_a_claim_is_not_visible(store: RegistryStore) -> None:
    """An id without a record is nobody's, for all kinds of reading."""
    await store.claim(A)
    assert await store.get(1) is None
    assert await store.get_by_account(A) is None
    assert await store.many([1]) == []
    assert await store.page(0, 10) == []
    assert (await store.changes(0, 10)).twins == []


async def test_a_record_is_kept_as_signed(store: RegistryStore) -> None:
    """What is read back is what the twin signed, and still verifies."""
    await store.claim(A)
    signed = record("a", 1, relays=("relay.test", "other.test:8080"))
    assert await store.store(signed) is True
    assert await store.signed(1) == signed
    assert await store.signed_by_account(A) == signed
    assert await store.get(1) == signed.twin
    (await store.page(0, 1))[0].verify()


async def test_versions_only_grow(store: RegistryStore) -> None:
    """A record of the same or an older version is refused, told with the current one, and changes nothing."""
    await store.claim(A)
    assert await store.store(record("a", 1, 5)) is True
    for version in (1, 4, 5):
        with pytest.raises(VersionNotGreater, match="version 5: sign a greater") as refusal:
            await store.store(record("a", 1, version, ("other.test",)))
        assert refusal.value.current == 5
    assert await store.get(1) == record("a", 1, 5).twin
    for version in (6, 100, VERSION_MAX - 1, VERSION_MAX):
        assert await store.store(record("a", 1, version)) is False
    with pytest.raises(VersionNotGreater) as refusal:
        await store.store(record("a", 1, VERSION_MAX))
    assert refusal.value.current == VERSION_MAX


async def test_an_id_belongs_to_its_account(store: RegistryStore) -> None:
    """A record under an id of somebody else, of nobody, or of an account without an id is refused."""
    await store.claim(A)
    await store.claim(B)
    await store.store(record("a", 1))
    for stranger in (record("b", 1, 9), record("a", 2), record("a", 3), record("c", 3)):
        with pytest.raises(IdNotYours, match="claim an id for it first"):
            await store.store(stranger)
    assert await store.get(1) == record("a", 1).twin
    assert await store.get(2) is None


async def test_forged_records_are_refused(store: RegistryStore) -> None:
    """The store itself checks the signature, whoever calls it."""
    await store.claim(A)
    with pytest.raises(InvalidSignature):
        await store.store(SignedTwin(record("a", 1).twin, record("a", 1, 2).signature))
    assert await store.get(1) is None


async def test_concurrent_records_leave_the_greatest(redis: Any) -> None:
    """Records that arrive at once through several processes end with the greatest version; each is kept once."""
    stores = [RegistryStore(redis) for _ in range(4)]
    await stores[0].claim(A)
    records = [record("a", 1, version) for version in range(1, 21)] * 2
    outcomes = await asyncio.gather(
        *(stores[number % 4].store(item) for number, item in enumerate(records)), return_exceptions=True
    )
    assert all(isinstance(outcome, bool | VersionNotGreater) for outcome in outcomes)
    assert outcomes.count(True) == 1
    stored = await stores[0].get(1)
    assert stored is not None
    assert stored.version == 20


async def test_the_number_of_twins_is_limited(redis: Any) -> None:
    """At the limit new accounts are refused with what to do; known ones still get their id and can change."""
    store = RegistryStore(redis, twins_max=2)
    await store.claim(A)
    await store.claim(B)
    with pytest.raises(RegistryFull, match=r"full \(2 twins\): ask its operator"):
        await store.claim(C)
    assert await store.claim(A) == Claimed(1, False)
    assert await store.store(record("a", 1)) is True


async def test_ids_end_with_u32(store: RegistryStore, redis: Any) -> None:
    """No id is given that an envelope cannot carry (spec rmb 1)."""
    await redis.set(registry_store._LAST_ID, 2**32 - 2)
    assert (await store.claim(A)).id == 2**32 - 1
    with pytest.raises(RegistryFull):
        await store.claim(B)


async def test_claims_without_a_record_are_forgotten(redis: Any) -> None:
    """After a day an id that was never used makes room; one with a record stays, and ids are not given twice."""
    now = [0.0]
    store = RegistryStore(redis, twins_max=2, claim_keep_s=100, clock=lambda: now[0])
    await store.claim(A)
    await store.claim(B)
    await store.store(record("b", 2))
    now[0] = 100
    with pytest.raises(RegistryFull):
        await store.claim(C)
    now[0] = 100.1
    assert await store.claim(C) == Claimed(3, True)
    with pytest.raises(IdNotYours):
        await store.store(record("a", 1))
    now[0] = 150
    assert await store.claim(C) == Claimed(3, False)  # asking again keeps it
    now[0] = 201
    with pytest.raises(RegistryFull):
        await store.claim(A)
    assert await store.store(record("c", 3)) is True


async def test_pages_are_by_id(store: RegistryStore) -> None:
    """Pages hold the ids after a number, in order, without those that were only claimed."""
    for name in "abcdef":
        await store.claim(signer(name).account)
    for name, twin_id in (("f", 6), ("a", 1), ("d", 4), ("c", 3)):
        await store.store(record(name, twin_id))
    for after, limit, ids in ((0, 10, [1, 3, 4, 6]), (0, 2, [1, 3]), (3, 2, [4, 6]), (4, 1, [6]), (6, 5, [])):
        assert [item.twin.id for item in await store.page(after, limit)] == ids
    assert [item.twin.id for item in await store.many([6, 2, 1, 99])] == [6, 1]


async def test_changes_tell_each_twin_once_at_its_latest_change(store: RegistryStore) -> None:
    """The feed is as long as there are twins; `next` goes on where a piece ended, also in small pieces."""
    for name in "abc":
        await store.claim(signer(name).account)
    start = await store.changes(None, 10)
    for name, twin_id, version in (("a", 1, 1), ("b", 2, 1), ("a", 1, 2), ("c", 3, 1), ("a", 1, 3)):
        await store.store(record(name, twin_id, version))
    whole = await store.changes(start.next, 10)
    assert [(item.twin.id, item.twin.version) for item in whole.twins] == [(2, 1), (3, 1), (1, 3)]
    first = await store.changes(0, 2)
    rest = await store.changes(first.next, 2)
    assert first.twins + rest.twins == whole.twins
    assert rest.next == whole.next == (await store.changes(None, 1)).next
    nothing = await store.changes(whole.next, 10)
    assert (nothing.feed, nothing.next, nothing.twins) == (start.feed, whole.next, [])


async def test_watch_goes_on_when_the_store_began_anew(
    store: RegistryStore, redis: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A store that was emptied is heard from its start; one that fails is told once and heard again after."""
    listener = Listener(store)
    asked = "rmb:registry:{v1}:feed"
    while not await redis.exists(asked):  # the listener has begun
        await asyncio.sleep(0.001)
    await store.claim(A)
    await store.store(record("a", 1))
    await until(lambda: len(listener.heard) == 1)
    with caplog.at_level(logging.WARNING, "rmb.relay.registry"):
        await redis.set(registry_store._CHANGES, "in the way")
        await until(lambda: bool(caplog.records))
        await redis.flushall()
    await store.claim(B)
    await store.store(record("b", 1))
    await until(lambda: len(listener.heard) == 2)
    await listener.stop()
    assert listener.heard == [record("a", 1).twin, record("b", 1).twin]
    assert len(caplog.records) == 1


async def test_a_cancelled_watch_ends(store: RegistryStore) -> None:
    """Whenever a watch is cancelled, also while it sends, it ends (CPython issue 86296)."""
    for turns in range(60):
        listener = Listener(store)
        for _ in range(turns):
            await asyncio.sleep(0)
        async with asyncio.timeout(60):
            await listener.stop()


async def test_without_its_store_nothing_hangs(tmp_path: Path) -> None:
    """When Valkey is gone, every call is "unavailable"."""
    async with valkey(tmp_path) as (own, client):
        store = RegistryStore(client)
        await store.claim(A)
        await own.stop()
        await _expect_unavailable(store)


async def _expect_unavailable(store: RegistryStore) -> None:
    for call in (
        store.get(1),
        store.get_by_account(A),
        store.claim(A),
        store.store(record("a", 1)),
        store.page(0, 1),
        store.many([1]),
        store.changes(0, 1),
        store.put(signer("a"), frozenset(), None),
    ):
        with pytest.raises(RegistryUnavailable, match="store does not answer"):
            await call


@pytest.mark.parametrize("damage", [b"", b"{", b"{}", b"\xff"])
async def test_a_damaged_record_is_reported(store: RegistryStore, redis: Any, damage: bytes) -> None:
    """What somebody else wrote into the store is not served and crashes nothing."""
    await redis.hset(registry_store._RECORDS, "1", damage)
    with pytest.raises(RegistryUnavailable, match="record of twin 1 cannot be read"):
        await store.get(1)


async def test_all_keys_have_our_prefix(store: RegistryStore, redis: Any) -> None:
    """Nothing is written outside `rmb:registry:`, and never the `twin` of another implementation (spec rmb 7.4)."""
    await redis.hset("twin", "1", b"bincode")
    await store.claim(A)
    await store.claim(B)
    await store.store(record("a", 1))
    await store.changes(None, 1)
    keys = {key.decode() for key in await redis.keys("*")}
    assert {key for key in keys if not key.startswith("rmb:registry:{v1}:")} == {"twin"}
    assert await redis.hgetall("twin") == {b"1": b"bincode"}
    assert len(keys) == 1 + 8


async def test_records_survive_as_json(store: RegistryStore, redis: Any) -> None:
    """The stored form is the JSON of the REST interface: readable with any tool."""
    await store.claim(A)
    signed = record("a", 1)
    await store.store(signed)
    assert orjson.loads(await redis.hget(registry_store._RECORDS, "1")) == signed.to_json()


async def test_a_client_that_decodes_works_too(server: EmbeddedValkey, redis: Any) -> None:
    """Whether the connection returns bytes or texts makes no difference."""
    client = Redis.from_url(server.url, socket_timeout=None, decode_responses=True)
    store = RegistryStore(client)
    twin = await store.put(signer("a"), frozenset({"relay.test"}), None)
    assert await store.get(1) == twin
    with pytest.raises(VersionNotGreater):
        await store.store(record("a", 1))
    with pytest.raises(IdNotYours):
        await store.store(record("a", 2, 9))
    changes = await store.changes(0, 10)
    assert [item.twin for item in changes.twins] == [twin]
    await client.aclose()
