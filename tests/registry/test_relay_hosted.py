"""The client of a hosted registry: what it believes, what it refuses, and what it says when the host fails.

Hosts that cheat or fail are real HTTP servers whose answers the test writes; honest ones are the relay's own code in
front of a real Valkey.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rmb_peer.protocol.twin import Twin
from rmb_peer.protocol.twin_record import VERSION_MAX, SignedTwin, sign_twin
from rmb_peer.registry.base import RegistryRefused, RegistryUnavailable
from rmb_peer.registry.cached import CachedRegistry
from rmb_peer.registry.relay_hosted import RelayHostedRegistry
from tests.support.hosted_registry import (
    PATIENCE_S,
    Listener,
    ScriptedHost,
    hosted,
    record,
    scripted_host,
    signer,
    until,
)
from tests.support.services import valkey

RELAYS = frozenset({"relay.test"})


@pytest.fixture
async def cheat() -> AsyncIterator[tuple[ScriptedHost, RelayHostedRegistry]]:
    """A host under the test's control, and a client of it."""
    async with scripted_host() as (host, url):
        registry = RelayHostedRegistry(url, poll_s=0.01)
        yield host, registry
        await registry.close()


Cheat = tuple[ScriptedHost, RelayHostedRegistry]


# --- what the host cannot do ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"relays": ["evil.test"]},
        {"relays": ["relay.test", "evil.test"]},
        {"relays": []},
        {"pk": "03" * 33},
        {"version": 8},
        {"account": signer("host").account.hex()},
        {"signature": "73" + "00" * 64},
    ],
)
async def test_a_forged_record_is_refused(
    cheat: Cheat, change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A record in which the host changed anything is not used, and an error line says so."""
    host, registry = cheat
    honest = record("a", 7).to_json()
    host.answers["GET /twins/7"] = (200, honest)
    assert await registry.get(7) is not None
    fresh = RelayHostedRegistry(registry._http.base)
    host.answers["GET /twins/7"] = (200, honest | change)
    with caplog.at_level(logging.ERROR, "rmb.registry"), pytest.raises(RegistryUnavailable, match="forged"):
        await fresh.get(7)
    assert caplog.records[0].getMessage() == "the registry's answer is refused"
    await fresh.close()


async def test_the_record_of_another_twin_is_refused(cheat: Cheat) -> None:
    """A host cannot serve one twin's valid record under another's id, nor under another's account."""
    host, registry = cheat
    host.answers["GET /twins/8"] = (200, record("a", 7).to_json())
    with pytest.raises(RegistryUnavailable, match="asked for twin 8, it served the record of twin 7"):
        await registry.get(8)
    host.answers[f"GET /accounts/{signer('b').account.hex()}"] = (200, record("a", 7).to_json())
    with pytest.raises(RegistryUnavailable, match="another one's record"):
        await registry.get_by_account(signer("b").account)


async def test_a_rollback_is_refused(cheat: Cheat) -> None:
    """Once a version was seen, an older one is refused, however validly signed, by id and by account."""
    host, registry = cheat
    host.answers["GET /twins/7"] = (200, record("a", 7, 5).to_json())
    assert await registry.get(7) is not None
    old = (200, record("a", 7, 4, ("old.test",)).to_json())
    host.answers["GET /twins/7"] = host.answers[f"GET /accounts/{signer('a').account.hex()}"] = old
    for question in (registry.get(7), registry.get_by_account(signer("a").account)):
        with pytest.raises(RegistryUnavailable, match="older than one served before"):
            await question
    host.answers["GET /twins/7"] = (200, record("a", 7, 6).to_json())
    assert await registry.get(7) is not None


async def test_two_records_of_one_version_are_refused(cheat: Cheat) -> None:
    """A version that says two different things is noticed; a mere new signature of the same is not."""
    host, registry = cheat
    host.answers["GET /twins/7"] = (200, record("a", 7).to_json())
    assert await registry.get(7) is not None
    host.answers["GET /twins/7"] = (200, record("a", 7).to_json())  # sr25519 signs differently each time
    assert await registry.get(7) is not None
    host.answers["GET /twins/7"] = (200, record("a", 7, relays=("other.test",)).to_json())
    with pytest.raises(RegistryUnavailable, match="two different records"):
        await registry.get(7)


async def test_an_id_cannot_change_hands(cheat: Cheat) -> None:
    """Once an id was seen with an account, the host cannot give it to its own key, unless we forget by restarting."""
    host, registry = cheat
    host.answers["GET /twins/7"] = (200, record("a", 7).to_json())
    assert await registry.get(7) is not None
    host.answers["GET /twins/7"] = (200, record("host", 7, 99).to_json())
    with pytest.raises(RegistryUnavailable, match=r"another account before .* restart"):
        await registry.get(7)
    fresh = RelayHostedRegistry(registry._http.base)
    assert await fresh.get(7) is not None
    await fresh.close()


async def test_the_cache_outlives_a_host_that_begins_to_cheat(cheat: Cheat) -> None:
    """What was proven before goes on being used when the host serves a forgery."""
    host, registry = cheat
    cached = CachedRegistry(registry, fresh_s=0.0)
    honest = record("a", 7)
    host.answers["GET /twins/7"] = (200, honest.to_json())
    assert await cached.get(7) == honest.twin
    host.answers["GET /twins/7"] = (200, honest.to_json() | {"relays": ["evil.test"]})
    assert await cached.get(7) == honest.twin


async def test_an_answer_overtaken_by_a_newer_one_is_honest(cheat: Cheat) -> None:
    """Two answers that change places on their way are no rollback: the newer record is returned for both."""
    host, registry = cheat
    first, second = record("a", 7, 1), record("a", 7, 2, ("new.test",))
    gate = asyncio.Event()

    async def slow(_: web.Request) -> web.Response:
        await gate.wait()
        return web.json_response(first.to_json())

    host.answers["GET /twins/7"] = slow
    waiting = asyncio.create_task(registry.get(7))
    await until(lambda: len(host.asked) == 1)
    host.answers["GET /twins/7"] = (200, second.to_json())
    assert await registry.get(7) == second.twin
    gate.set()
    assert await waiting == second.twin


async def test_a_new_version_is_above_everything_seen(cheat: Cheat) -> None:
    """A host that hides our newest record cannot make us sign the same version twice."""
    host, registry = cheat
    key = signer("a")
    account = f"GET /accounts/{key.account.hex()}"
    host.answers["GET /twins/7"] = (200, record("a", 7, 5).to_json())
    assert await registry.get(7) is not None
    host.answers[account] = (404, {"error": "no such twin", "absent": True})
    host.answers["POST /twins"] = (200, {"id": 7})
    signed: list[SignedTwin] = []

    async def store(request: web.Request) -> web.Response:
        signed.append(SignedTwin.from_json(await request.json()))
        return web.json_response({}, status=200)

    host.answers["PUT /twins/7"] = store
    assert (await registry.put(key, RELAYS, None)).version == 6
    signed[0].verify()


# --- what a host may answer -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((404, {"error": "not found"}), "404: not found"),
        ((404, "<html>"), "404: no registry seems to be there"),
        ((403, {"error": "go\x1b[31m away\n"}), "403: go \\[31m away "),
        ((429, {"error": "too many"}), "429: too many"),
        ((500, {"error": 7}), "500: no registry"),
        ((503, {"error": "x" * 10_000}), "503: x{300}$"),
        ((302, {}), "302: no registry"),
        ((200, []), "a twin record must be a JSON object"),
        ((200, {}), "`relays`"),
        ((200, record("a", 7).to_json() | {"id": "7"}), "`id`"),
        ((200, record("a", 7).to_json() | {"account": " " * 64}), "`account`"),
    ],
)
async def test_unusable_answers_say_what_was_wrong(cheat: Cheat, answer: tuple[int, Any], says: str) -> None:
    """A read that yields no record raises "unavailable" with the host's words, cleaned and cut; it is never None."""
    host, registry = cheat
    host.answers["GET /twins/7"] = host.answers[f"GET /accounts/{signer('a').account.hex()}"] = answer
    for question in (registry.get(7), registry.get_by_account(signer("a").account)):
        with pytest.raises(RegistryUnavailable, match=says):
            await question


FIELDS = ["id", "account", "relays", "pk", "version", "signature", "error", "absent", "twins"]
leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=9)
noise = st.recursive(leaves, lambda c: st.lists(c) | st.dictionaries(st.sampled_from(FIELDS), c), max_leaves=6)


@given(noise, st.sampled_from([200, 201, 400, 404, 409, 500]))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_noise_from_the_host_never_crashes(cheat: Cheat, body: Any, status: int) -> None:
    """Whatever JSON comes with whatever status: None, or one of the two errors of the contract."""
    host, registry = cheat
    key = signer("a")
    for what in ("GET /twins/7", f"GET /accounts/{key.account.hex()}", "POST /twins", "PUT /twins/1", "PUT /twins/7"):
        host.answers[what] = (status, body)
    for question in (registry.get(7), registry.get_by_account(key.account)):
        try:
            assert await question is None
        except RegistryUnavailable:
            continue
    try:
        await registry.put(key, RELAYS, None)
    except (RegistryUnavailable, RegistryRefused):
        return
    raise AssertionError("nothing was registered")


async def test_an_endless_answer_is_cut(cheat: Cheat) -> None:
    """A host that sends without end is given up after the limit, not after filling the memory."""
    host, registry = cheat
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b" " * 16_384)
                sent += 16_384
        except ConnectionError:
            return response

    host.answers["GET /twins/7"] = endless
    with pytest.raises(RegistryUnavailable, match="sent more than 65536 bytes"):
        await registry.get(7)


async def test_a_host_that_is_silent_is_given_up() -> None:
    """A host that accepts and says nothing, or stops in the middle, costs no more than the time limit."""
    async with scripted_host() as (host, url):
        registry = RelayHostedRegistry(url, total_s=0.05)
        forever = asyncio.Event()

        async def silent(_: web.Request) -> web.Response:
            await forever.wait()
            return web.Response()

        async def stuck(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b'{"id":')
            await forever.wait()
            return response

        for answer in (silent, stuck):
            host.answers["GET /twins/7"] = answer
            async with asyncio.timeout(PATIENCE_S):
                with pytest.raises(RegistryUnavailable, match="did not answer in time"):
                    await registry.get(7)
        forever.set()
        await registry.close()


async def test_a_slow_lookup_delays_nobody_else(cheat: Cheat) -> None:
    """While the host takes its time for twin 7, twin 8 is found (spec rmb 10.10)."""
    host, registry = cheat
    gate = asyncio.Event()

    async def slow(_: web.Request) -> web.Response:
        await gate.wait()
        return web.json_response(record("a", 7).to_json())

    host.answers["GET /twins/7"] = slow
    host.answers["GET /twins/8"] = (200, record("b", 8).to_json())
    waiting = asyncio.create_task(registry.get(7))
    await until(lambda: len(host.asked) == 1)
    async with asyncio.timeout(PATIENCE_S):
        assert await registry.get(8) is not None
    gate.set()
    assert await waiting is not None


async def test_nobody_there() -> None:
    """A refused connection and a name that cannot be looked up are "unavailable", with the address in the text."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        for url in (f"http://127.0.0.1:{port}", f"http://{'x' * 70}.invalid"):
            registry = RelayHostedRegistry(url)
            with pytest.raises(RegistryUnavailable, match=f"{url}/registry/v1 did not answer"):
                await registry.get(7)
            await registry.close()


async def test_a_closed_registry_says_so(cheat: Cheat) -> None:
    """After close, questions fail clearly instead of opening new connections."""
    _, registry = cheat
    await registry.close()
    with pytest.raises(RegistryUnavailable, match="closed"):
        await registry.get(7)


# --- put --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        ((400, {"error": "wrong"}), RegistryRefused, "refused: wrong"),
        ((403, {"error": "full"}), RegistryRefused, "refused: full"),
        ((403, "<html>"), RegistryUnavailable, "403: no registry seems to be there"),
        ((429, {"error": "slow down"}), RegistryUnavailable, "429: slow down"),
        ((503, {"error": "store is down"}), RegistryUnavailable, "503: store is down"),
        ((201, {"id": 0}), RegistryUnavailable, "201"),
        ((201, {"id": True}), RegistryUnavailable, "201"),
        ((201, []), RegistryUnavailable, "201"),
    ],
)
async def test_a_refused_claim_carries_the_hosts_words(
    cheat: Cheat, answer: tuple[int, Any], error: type[Exception], says: str
) -> None:
    """What will not help to repeat is "refused", what may is "unavailable"; both say what the host said."""
    host, registry = cheat
    host.answers["POST /twins"] = answer
    with pytest.raises(error, match=says):
        await registry.put(signer("a"), RELAYS, None)


async def test_a_conflict_is_retried_once(cheat: Cheat) -> None:
    """After 409 the record is read again and written above it; a second 409 is reported with what to do."""
    host, registry = cheat
    key = signer("a")
    account = f"GET /accounts/{key.account.hex()}"
    host.answers[account] = (200, record("a", 7, 1).to_json())

    async def conflict(_: web.Request) -> web.Response:
        host.answers[account] = (200, record("a", 7, 5, ("other.test",)).to_json())
        host.answers["PUT /twins/7"] = (200, {})
        return web.json_response({"error": "older", "version": 5}, status=409)

    host.answers["PUT /twins/7"] = conflict
    assert (await registry.put(key, frozenset({"mine.test"}), None)).version == 6
    assert host.asked == [account, "PUT /twins/7"] * 2

    host.answers[account] = (200, record("a", 7, 9).to_json())
    host.answers["PUT /twins/7"] = (409, {"error": "older", "version": 9})
    with pytest.raises(RegistryRefused, match="give each its own key"):
        await registry.put(key, frozenset({"mine.test"}), None)


async def test_an_equal_record_is_not_written(cheat: Cheat) -> None:
    """A gateway that starts with nothing new makes one read."""
    host, registry = cheat
    account = f"GET /accounts/{signer('a').account.hex()}"
    host.answers[account] = (200, record("a", 7, 3).to_json())
    assert (await registry.put(signer("a"), RELAYS, None)).version == 3
    assert host.asked == [account]


async def test_the_last_version_is_reported(cheat: Cheat) -> None:
    """A record that cannot grow any more is a clear error, not a record that nobody can read."""
    host, registry = cheat
    host.answers[f"GET /accounts/{signer('a').account.hex()}"] = (200, record("a", 7, VERSION_MAX).to_json())
    with pytest.raises(RegistryRefused, match="last version"):
        await registry.put(signer("a"), frozenset(), None)


# --- watch ------------------------------------------------------------------------------------------------------------


def feed(name: str, following: int, *records: Any) -> tuple[int, Any]:
    return 200, {"feed": name, "next": following, "twins": list(records)}


async def test_bad_records_in_the_feed_are_skipped(cheat: Cheat) -> None:
    """A forged or unreadable change neither gets through nor hides the good ones after it."""
    host, registry = cheat
    host.answers["GET /twins/1"] = (200, record("a", 1, 5).to_json())
    assert await registry.get(1) is not None
    host.answers["GET /changes"] = feed("x", 0)
    listener = Listener(registry)
    await until(lambda: "GET /changes" in host.asked)
    forged = record("b", 2).to_json() | {"relays": ["evil.test"]}
    stolen, good = record("host", 1, 9).to_json(), record("c", 3)
    host.answers["GET /changes"] = feed("x", 4, forged, None, stolen, good.to_json())
    await until(lambda: bool(listener.heard))
    host.answers["GET /changes"] = feed("x", 4)
    await listener.stop()
    assert set(listener.heard) == {good.twin}
    assert registry._pins.version(3) == 0  # what nobody asked for is not pinned


async def test_a_feed_that_began_anew_is_heard_from_its_start(cheat: Cheat) -> None:
    """When the host's store was set up anew, its numbers mean something else, and everything is heard again."""
    host, registry = cheat
    asked_after: list[str | None] = []
    good = record("a", 1)

    async def anew(request: web.Request) -> web.Response:
        after = request.query.get("after")
        asked_after.append(after)
        if after is None:
            return web.json_response({"feed": "old", "next": 50, "twins": []})
        twins = [good.to_json()] if after == "0" else []
        return web.json_response({"feed": "new", "next": max(3, int(after)), "twins": twins})

    host.answers["GET /changes"] = anew
    listener = Listener(registry)
    await until(lambda: len(asked_after) >= 4)
    await listener.stop()
    assert asked_after[:4] == [None, "50", "0", "3"]
    assert listener.heard == [good.twin]


async def test_watching_survives_an_outage(cheat: Cheat, caplog: pytest.LogCaptureFixture) -> None:
    """While the host fails, watching waits and says so once; then it goes on."""
    host, registry = cheat
    host.answers["GET /changes"] = (503, {"error": "store is down"})
    with caplog.at_level(logging.WARNING, "rmb.registry"):
        listener = Listener(registry)
        await until(lambda: len(host.asked) >= 4)
    assert [line.getMessage() for line in caplog.records] == ["changes of twins cannot be read"]
    good = record("a", 1)
    host.answers["GET /changes"] = feed("x", 1, good.to_json())
    await until(lambda: bool(listener.heard))
    await listener.stop()
    assert listener.heard[0] == good.twin


@pytest.mark.parametrize(
    "body", [[], {}, {"feed": "x", "next": "1", "twins": []}, {"feed": "x", "next": 1, "twins": [None] * 501}]
)
async def test_a_feed_of_another_form_is_an_outage(cheat: Cheat, body: Any) -> None:
    """A host without a usable feed of changes crashes nothing."""
    host, registry = cheat
    host.answers["GET /changes"] = (200, body)
    listener = Listener(registry)
    await until(lambda: len(host.asked) >= 2)
    await listener.stop()
    assert listener.heard == []


# --- with an honest host ----------------------------------------------------------------------------------------------


async def test_a_host_that_was_away_is_used_again(tmp_path: Path) -> None:
    """The same client works before, during (from the cache) and after a restart of the host."""
    key = signer("a")
    async with valkey(tmp_path) as (_, redis):
        async with hosted(redis) as url:
            registry = CachedRegistry(RelayHostedRegistry(url), fresh_s=0.0, failure_s=0.0)
            twin = await registry.put(key, RELAYS, None)
            assert await registry.get(twin.id) == twin
        assert await registry.get(twin.id) == twin
        with pytest.raises(RegistryUnavailable):
            await registry.get(99)
        async with hosted(redis, port=int(url.rpartition(":")[2])):
            assert await registry.get(99) is None
            assert (await registry.put(key, frozenset(), None)).version == 2
        await registry.close()


async def test_several_gateways_with_one_key(tmp_path: Path) -> None:
    """Clients in several processes that put different records for one account end with one id and a valid record."""
    key = signer("a")
    async with valkey(tmp_path) as (_, redis), hosted(redis) as url:
        clients = [RelayHostedRegistry(url) for _ in range(4)]
        wanted = [frozenset({f"relay{number}.test"}) for number in range(4)]
        outcomes = await asyncio.gather(
            *(client.put(key, relays, None) for client, relays in zip(clients, wanted, strict=True)),
            return_exceptions=True,
        )
        twins = [outcome for outcome in outcomes if isinstance(outcome, Twin)]
        assert all(isinstance(outcome, Twin | RegistryRefused) for outcome in outcomes)
        assert {(twin.id, twin.version) for twin in twins} == {(1, number + 1) for number in range(len(twins))}
        assert await clients[0].get(1) == max(twins, key=lambda twin: twin.version)
        for client in clients:
            await client.close()


async def test_the_claim_names_the_host_it_is_meant_for(tmp_path: Path) -> None:
    """A relay that hands our claim on to another registry cannot use it there."""
    async with valkey(tmp_path) as (_, redis), hosted(redis) as url:
        registry = RelayHostedRegistry(url)
        registry._audience = "other.test"
        with pytest.raises(RegistryRefused, match=r"made out to another registry; this one is known as 127\.0\.0\.1:"):
            await registry.put(signer("a"), RELAYS, None)
        await registry.close()


def test_a_record_signed_by_us_is_verified_like_any_other() -> None:
    """sign_twin and verify agree, and a record changed after signing does not verify."""
    key = signer("a")
    signed = sign_twin(Twin(1, key.account, RELAYS, None, 1), key)
    signed.verify()
    with pytest.raises(Exception, match="verification failed"):
        SignedTwin(replace(signed.twin, version=2), signed.signature).verify()
