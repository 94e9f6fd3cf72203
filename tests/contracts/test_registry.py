"""The contract of a registry, on every implementation (rmb_peer/registry/base.py)."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.registry_store import RegistryStore
from rmb_peer.protocol.address import TWIN_ID_MAX
from rmb_peer.protocol.signatures import Signer
from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.base import Registry
from rmb_peer.registry.cached import CachedRegistry
from rmb_peer.registry.discovered import DiscoveredRegistry
from rmb_peer.registry.file import FileRegistry
from rmb_peer.registry.memory import MemoryRegistry
from rmb_peer.registry.relay_hosted import RelayHostedRegistry
from tests.support.hosted_registry import PATIENCE_S, Listener, hosted, serve, signer
from tests.support.services import valkey

POLL_S = 0.01
PK = bytes([2]) * 33
RELAYS = frozenset({"relay.test", "other.test:8080"})


class Subject:
    """A registry under test, and a way to have a twin in it."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    async def have(self, key: Signer, relays: frozenset[str] = RELAYS, public_key: bytes | None = PK) -> Twin:
        """Make the registry hold this twin."""
        return await self.registry.put(key, relays, public_key)


class FileSubject(Subject):
    """A file is written with an editor, not with `put`."""

    def __init__(self, registry: Registry, path: Path) -> None:
        super().__init__(registry)
        self._path = path
        self._entries: dict[bytes, dict[str, object]] = {}
        self._write()

    async def have(self, key: Signer, relays: frozenset[str] = RELAYS, public_key: bytes | None = PK) -> Twin:
        old = self._entries.get(key.account)
        twin_id = int(str(old["id"])) if old else len(self._entries) + 1
        pk = public_key and public_key.hex()
        self._entries[key.account] = {"id": twin_id, "account": key.account.hex(), "relays": list(relays), "pk": pk}
        self._write()
        return Twin(twin_id, key.account, relays, public_key)

    def _write(self) -> None:
        new = self._path.with_suffix(".new")
        new.write_bytes(orjson.dumps({"twins": list(self._entries.values())}))
        new.rename(self._path)


async def _open(kind: str, folder: Path, stack: AsyncExitStack) -> Subject:
    if kind == "memory":
        return Subject(MemoryRegistry())
    if kind == "file":
        path = folder / "twins.json"
        return FileSubject(FileRegistry(path, check_s=0.0), path)
    _, redis = await stack.enter_async_context(valkey(folder))
    if kind == "store":
        return Subject(RegistryStore(redis, watch_poll_s=POLL_S))
    url = await stack.enter_async_context(hosted(redis))
    if kind == "hosted":
        return Subject(RelayHostedRegistry(url, poll_s=POLL_S))
    assert kind == "discovered"
    return Subject(await _discovered(url, stack))


async def _discovered(url: str, stack: AsyncExitStack) -> Registry:
    from aiohttp import web

    async def well_known(_: web.Request) -> web.Response:
        return web.json_response({"registry": url})

    app = web.Application()
    app.router.add_get("/.well-known/rmb", well_known)
    relay = await stack.enter_async_context(serve(app))
    return DiscoveredRegistry(
        [relay.replace("http:", "ws:")], opener=lambda found: RelayHostedRegistry(found, poll_s=POLL_S)
    )


WRITABLE = ["memory", "store", "hosted", "discovered", "cached memory", "cached store", "cached hosted"]
EVERY = [*WRITABLE, "file", "cached file"]


@pytest.fixture
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Subject]:
    kind: str = request.param
    async with AsyncExitStack() as stack:
        subject = await _open(kind.removeprefix("cached "), tmp_path, stack)
        if kind.startswith("cached "):
            subject.registry = CachedRegistry(subject.registry)
        stack.push_async_callback(subject.registry.close)
        yield subject


every = pytest.mark.parametrize("subject", EVERY, indirect=True)
writable = pytest.mark.parametrize("subject", WRITABLE, indirect=True)


@every
async def test_what_is_there_is_found_and_what_is_not_is_none(subject: Subject) -> None:
    """A twin is found by id and by account, whichever key and fields it has; others, also impossible ids, are None."""
    registry = subject.registry
    for twin_id in (0, 77, TWIN_ID_MAX, TWIN_ID_MAX + 1):
        assert await registry.get(twin_id) is None
    assert await registry.get_by_account(signer("nobody").account) is None
    full = await subject.have(signer("full"))
    bare = await subject.have(signer("bare", "ed25519"), frozenset(), None)
    assert (full.relays, full.public_key, bare.relays, bare.public_key) == (RELAYS, PK, frozenset(), None)
    for twin in (full, bare):
        assert await registry.get_by_account(twin.account) == twin
        assert await registry.get(twin.id) == twin
    both = await asyncio.gather(*(registry.get(twin_id) for twin_id in [full.id, bare.id, 77] * 20))
    assert both == [full, bare, None] * 20


@every
async def test_closing_twice_is_harmless(subject: Subject) -> None:
    """close() may be called again, also on a registry that was never used."""
    await subject.registry.close()
    await subject.registry.close()


@every
async def test_a_change_is_heard(subject: Subject) -> None:
    """watch() tells about a twin that changes, with what it changed to."""
    key = signer("changing")
    first = await subject.have(key)
    listener = Listener(subject.registry)
    wanted = [first]
    async with asyncio.timeout(PATIENCE_S):
        while not listener.heard:  # what changes before a watcher has begun is not promised
            wanted.append(await subject.have(key, frozenset({f"relay{len(wanted)}.test"})))
            await asyncio.sleep(POLL_S)
    await listener.stop()
    assert listener.heard[-1] in wanted[1:]


@writable
async def test_put_makes_and_changes_and_leaves_alone(subject: Subject) -> None:
    """put gives an id from 1, keeps it through changes, counts versions up, and does not touch an equal record."""
    registry, key = subject.registry, signer("one")
    made = await registry.put(key, RELAYS, PK)
    assert made.id >= 1
    assert made.account == key.account
    assert await registry.put(key, frozenset(sorted(RELAYS)), PK) == made
    for relays, public_key in ((RELAYS, None), (frozenset({"new.test"}), None), (frozenset[str](), PK)):
        changed = await registry.put(key, relays, public_key)
        assert changed == Twin(made.id, key.account, relays, public_key, changed.version)
        assert changed.version > made.version
        assert await registry.get(made.id) == changed
        assert await registry.get_by_account(key.account) == changed
        made = changed


@writable
async def test_ids_are_never_shared(subject: Subject) -> None:
    """Many accounts that register at once get as many ids."""
    keys = [signer(f"twin {number}") for number in range(20)]
    twins = await asyncio.gather(*(subject.registry.put(key, RELAYS, None) for key in keys))
    assert len({twin.id for twin in twins}) == len(keys)
    assert [await subject.registry.get(twin.id) for twin in twins] == twins


@writable
async def test_concurrent_puts_of_one_account_end_with_one_of_them(subject: Subject) -> None:
    """One account that is put many times at once keeps one id, and the record is one of those put."""
    registry, key = subject.registry, signer("busy")
    wanted = [frozenset({f"relay{number}.test"}) for number in range(8)]
    twins = await asyncio.gather(*(registry.put(key, relays, PK) for relays in wanted))
    assert {twin.relays for twin in twins} == set(wanted)
    assert len({twin.id for twin in twins}) == 1
    last = await registry.get_by_account(key.account)
    assert last == max(twins, key=lambda twin: twin.version)


runs = itertools.count()  # each example has accounts of its own
steps = st.lists(
    st.tuples(
        st.sampled_from(["put", "get", "account"]),
        st.integers(0, 3),
        st.sampled_from([frozenset[str](), frozenset({"a.test"}), RELAYS]),
        st.sampled_from([None, PK]),
    ),
    max_size=12,
)


@pytest.mark.parametrize("subject", ["store", "cached hosted"], indirect=True)
@given(steps)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_all_agree_with_the_memory(
    subject: Subject, steps: list[tuple[str, int, frozenset[str], bytes | None]]
) -> None:
    """Any sequence of calls has the same outcome as on the registry in memory, apart from which ids are given."""
    model = MemoryRegistry()
    ids: dict[int, int] = {}  # the model's id of a twin to the real one
    run = next(runs)

    def seen(twin: Twin | None, real: bool) -> object:
        if twin is None:
            return None
        twin_id = twin.id if real else ids[twin.id]
        return (twin_id, twin.account, twin.relays, twin.public_key, twin.version)

    for step, number, relays, public_key in steps:
        key = signer(f"{run} {number}")
        if step == "put":
            expected, found = (
                await model.put(key, relays, public_key),
                await subject.registry.put(key, relays, public_key),
            )
            assert ids.setdefault(expected.id, found.id) == found.id
            assert seen(found, True) == seen(expected, False)
        elif step == "account":
            assert seen(await subject.registry.get_by_account(key.account), True) == seen(
                await model.get_by_account(key.account), False
            )
        elif number + 1 in ids:
            assert seen(await subject.registry.get(ids[number + 1]), True) == seen(await model.get(number + 1), False)
