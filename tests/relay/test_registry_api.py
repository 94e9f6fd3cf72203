"""The REST interface of the hosted registry: every status, limits at their edge, and noise."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from relay import registry_api
from relay.claim_limit import ClaimLimit
from relay.registry_api import BODY_BYTES_MAX, IDS_MAX, PAGE_MAX, add_registry_routes
from relay.registry_store import RegistryStore
from rmb_peer.embedded.valkey import EmbeddedValkey
from rmb_peer.protocol.ss58 import encode_account
from rmb_peer.protocol.twin_record import SignedTwin
from rmb_peer.registry.claim import Claim
from tests.support.hosted_registry import record, serve, signer
from tests.support.services import valkey

NAME = "relay.test"
A = signer("a").account


class Api:
    """A registry on loopback, and requests to it."""

    def __init__(self, url: str, session: aiohttp.ClientSession, store: RegistryStore) -> None:
        self.url = url + "/registry/v1"
        self.session = session
        self.store = store
        self.headers: dict[str, str] = {}
        self.now = 0.0
        self.address = ""

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """One request; checks what every answer has to be."""
        data = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
        async with self.session.request(method, self.url + path, data=data) as response:
            self.headers = dict(response.headers)
            assert response.headers["Content-Type"].startswith("application/json")
            answer = orjson.loads(await response.read())
            assert isinstance(answer, dict)
            assert ("error" in answer) == (response.status >= 400)
            return response.status, answer

    async def claim(self, name: str, audience: str = NAME) -> tuple[int, Any]:
        """Claim an id for a test twin."""
        return await self.ask("POST", "/twins", Claim.make(signer(name), audience).to_json())

    async def store_record(self, signed: SignedTwin) -> tuple[int, Any]:
        """Put a record where it belongs."""
        return await self.ask("PUT", f"/twins/{signed.twin.id}", signed.to_json())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedValkey]:
    async with valkey(tmp_path_factory.mktemp("valkey")) as (server, _):
        yield server


@pytest.fixture
async def api(server: EmbeddedValkey) -> AsyncIterator[Api]:
    async with serving(server) as api:
        yield api


@asynccontextmanager
async def serving(server: EmbeddedValkey) -> AsyncIterator[Api]:
    """An empty registry."""
    async with Redis.from_url(server.url, socket_timeout=None) as redis:
        await redis.flushall()
        app = web.Application(client_max_size=64 * 2**20)  # as a relay needs it for envelopes
        store = RegistryStore(redis, twins_max=20)
        held: list[Api] = []
        add_registry_routes(
            app,
            store,
            audience_names=[NAME, "other.test:8080"],
            claim_limit=ClaimLimit(10),
            client_address=lambda request: held[0].address or request.remote or "",
            clock=lambda: held[0].now,
        )
        async with serve(app) as url, aiohttp.ClientSession() as session:
            held.append(Api(url, session, store))
            yield held[0]


async def test_the_way_of_a_record(api: Api) -> None:
    """Claim, record, change and read, with the statuses that the interface promises."""
    assert await api.claim("a") == (201, {"id": 1})
    assert await api.claim("a", "other.test:8080") == (200, {"id": 1})
    assert await api.claim("b") == (201, {"id": 2})
    first, second = record("a", 1), record("a", 1, 2, ("new.test",))
    assert await api.store_record(first) == (201, first.to_json())
    assert await api.store_record(second) == (200, second.to_json())
    for path in ("/twins/1", f"/accounts/{A.hex()}", f"/accounts/0x{A.hex()}", f"/accounts/{encode_account(A)}"):
        assert await api.ask("GET", path) == (200, second.to_json())
        assert api.headers["Cache-Control"] == "no-store"


async def test_what_is_not_there(api: Api) -> None:
    """404 with a mark that says "no such twin", also for an id that was claimed and never recorded."""
    await api.claim("a")
    for path in ("/twins/1", "/twins/4294967295", f"/accounts/{A.hex()}"):
        status, answer = await api.ask("GET", path)
        assert (status, answer["absent"]) == (404, True)


async def test_lists(api: Api) -> None:
    """Pages by id with where to go on, chosen ids, and changes."""
    for number, name in enumerate("abcde", 1):
        await api.claim(name)
        await api.store_record(record(name, number))

    async def ids(query: str) -> tuple[list[int], Any]:
        status, answer = await api.ask("GET", query)
        assert status == 200
        return [SignedTwin.from_json(item).twin.id for item in answer["twins"]], answer.get("next")

    assert await ids("/twins") == ([1, 2, 3, 4, 5], None)
    assert await ids("/twins?limit=2") == ([1, 2], 2)
    assert await ids("/twins?limit=2&after=4") == ([5], None)
    assert await ids(f"/twins?limit={PAGE_MAX}&after=5") == ([], None)
    assert await ids("/twins?ids=5,1,77,2") == ([5, 1, 2], None)
    assert await ids(f"/twins?ids={','.join(['1'] * IDS_MAX)}") == ([1] * IDS_MAX, None)
    assert await ids("/changes") == ([], 5)
    assert await ids("/changes?after=2&limit=2") == ([3, 4], 4)
    assert await ids("/changes?after=9007199254740991") == ([], 9007199254740991)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/twins/0", "'0' is not a twin id: expected a number from 1 to 4294967295"),
        ("/twins/4294967296", "is not a twin id"),
        ("/twins/-1", "is not a twin id"),
        ("/twins/1.0", "is not a twin id"),
        ("/twins/%D9%A3", "is not a twin id"),  # an Arabic digit
        ("/twins/" + "9" * 4000, "is not a twin id"),
        ("/accounts/x", "an account is SS58 text|checksum"),
        ("/accounts/" + "ab" * 31, "account"),
        ("/accounts/" + "zz" * 32, "account"),
        ("/twins?limit=0", "`limit` must be a number from 1 to 1000"),
        ("/twins?limit=1001", "`limit`"),
        ("/twins?limit=", "`limit`"),
        ("/twins?after=-1", "`after` must be a number from 0"),
        ("/twins?after=4294967296", "`after`"),
        ("/twins?ids=", "is not a twin id"),
        ("/twins?ids=1,,2", "is not a twin id"),
        ("/twins?ids=1,x", "'x' is not a twin id"),
        ("/twins?ids=" + ",".join(["1"] * (IDS_MAX + 1)), "at most 100"),
        ("/changes?after=x", "`after`"),
        ("/changes?after=9007199254740992", "`after`"),
        ("/changes?limit=1e3", "`limit`"),
    ],
)
async def test_malformed_reads(api: Api, path: str, says: str) -> None:
    """400 with what was expected."""
    status, answer = await api.ask("GET", path)
    assert status == 400
    assert any(part in answer["error"] for part in says.split("|"))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"account": "\\ud800"}', "not JSON"),
        ([], "a claim must be a JSON object"),
        ({}, "`audience` must be the name"),
        ({"audience": ""}, "`audience`"),
        ({"audience": "x" * 254}, "`audience`"),
        ({"audience": NAME}, "`account` must be 64 hex digits"),
        ({"audience": NAME, "account": "  " * 32}, "`account`"),
        ({"audience": NAME, "account": "ab" * 31 + "  "}, "`account`"),
        ({"audience": NAME, "account": "zz" * 32}, "`account`"),
        ({"audience": NAME, "account": A.hex()}, "`signature` must be 130 hex digits"),
        ({"audience": NAME, "account": A.hex(), "signature": "73" * 64}, "`signature`"),
    ],
)
async def test_malformed_claims(api: Api, body: Any, says: str) -> None:
    """400 with the field and its form."""
    status, answer = await api.ask("POST", "/twins", body)
    assert (status, says in answer["error"]) == (400, True)


async def test_claims_that_prove_nothing(api: Api) -> None:
    """403: made out to another registry, signed by another key, for another name, or with no key of ours at all."""
    status, answer = await api.claim("a", "elsewhere.test")
    assert (status, answer["error"]) == (
        403,
        "the claim is made out to another registry; this one is known as other.test:8080, relay.test",
    )
    good = Claim.make(signer("a"), NAME).to_json()
    for wrong in (
        {"account": signer("b").account.hex()},
        {"audience": "other.test:8080"},
        {"signature": "73" + "00" * 64},
        {"signature": "65" + good["signature"][2:]},
        {"signature": "00" + good["signature"][2:]},
        {"account": "ff" * 32},
    ):
        status, answer = await api.ask("POST", "/twins", good | wrong)
        assert (status, "not signed by the key of this account" in answer["error"]) == (403, True)
        api.now += 60
    assert await api.store.page(0, 1) == []
    assert (await api.store.claim(A)).new


async def test_a_claim_is_no_record_and_a_record_is_no_claim(api: Api) -> None:
    """The two signatures cannot stand for one another."""
    await api.claim("a")
    claim = Claim.make(signer("a"), NAME)
    signed = record("a", 1)
    status, _ = await api.ask("PUT", "/twins/1", signed.to_json() | {"signature": claim.signature.hex()})
    assert status == 403
    status, _ = await api.ask("POST", "/twins", claim.to_json() | {"signature": signed.signature.hex()})
    assert status == 403


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"id": 2}, "the record has id 2, and the path names 1"),
        ({"id": 0}, "`id`"),
        ({"id": "1"}, "`id`"),
        ({"id": True}, "`id`"),
        ({"version": 0}, "`version`"),
        ({"version": 2**53}, "`version`"),
        ({"version": 1.0}, "`version`"),
        ({"account": "00"}, "`account`"),
        ({"account": A.hex()[:-2] + "  "}, "`account`"),
        ({"relays": None}, "`relays`"),
        ({"relays": ["a b"]}, "is not a relay"),
        ({"relays": [f"r{n}.test" for n in range(5)]}, "the number of relays should not exceed 4"),
        ({"pk": "00"}, "`pk`"),
        ({"signature": None}, "`signature`"),
    ],
)
async def test_malformed_records(api: Api, change: dict[str, Any], says: str) -> None:
    """400 with the field and its form."""
    await api.claim("a")
    status, answer = await api.ask("PUT", "/twins/1", record("a", 1).to_json() | change)
    assert (status, says in answer["error"]) == (400, True)
    assert await api.store.get(1) is None


@pytest.mark.parametrize(
    "change", [{"relays": ["evil.test"]}, {"pk": "02" * 33}, {"version": 7}, {"signature": "73" + "00" * 64}]
)
async def test_forged_records(api: Api, change: dict[str, Any]) -> None:
    """403 for a record that its twin did not sign like this."""
    await api.claim("a")
    status, answer = await api.ask("PUT", "/twins/1", record("a", 1).to_json() | change)
    assert (status, "not signed by the key of this account" in answer["error"]) == (403, True)


async def test_records_of_others(api: Api) -> None:
    """403 for an id that belongs to somebody else, or to nobody, with where to claim one."""
    await api.claim("a")
    for stranger in (record("b", 1), record("a", 2)):
        status, answer = await api.store_record(stranger)
        assert (status, "(POST /registry/v1/twins)" in answer["error"]) == (403, True)


async def test_old_records(api: Api) -> None:
    """409 with the version that is here, for an older one and for the same again."""
    await api.claim("a")
    await api.store_record(record("a", 1, 3))
    for version in (2, 3):
        status, answer = await api.store_record(record("a", 1, version))
        assert (status, answer["version"]) == (409, 3)
        assert "sign a greater version" in answer["error"]


async def test_a_full_registry(api: Api) -> None:
    """403 with whom to ask, once there are as many twins as the operator allows."""
    for number in range(20):
        api.now += 60
        assert (await api.claim(f"twin {number}"))[0] == 201
    api.now += 60
    status, answer = await api.claim("one more")
    assert (status, "ask its operator" in answer["error"]) == (403, True)
    assert (await api.claim("twin 3"))[0] == 200


async def test_too_many_claims(api: Api) -> None:
    """429 with the time to wait, per address, whatever the claims are worth; reads and records are not counted."""
    for _ in range(10):
        assert (await api.ask("POST", "/twins", b"junk"))[0] == 400
    status, answer = await api.claim("a")
    assert (status, api.headers["Retry-After"]) == (429, "6")
    assert answer["error"] == "too many claims from your address: try again in 6 s"
    api.address = "192.0.2.7"
    assert (await api.claim("a"))[0] == 201
    assert (await api.store_record(record("a", 1)))[0] == 201
    api.address = ""
    api.now += 6
    assert (await api.claim("b"))[0] == 201


@pytest.mark.parametrize(("method", "path"), [("POST", "/twins"), ("PUT", "/twins/1")])
async def test_the_body_is_limited(api: Api, method: str, path: str) -> None:
    """A body at the limit is read; one byte more is 413, also when its length is not announced."""
    status, _ = await api.ask(method, path, b" " * BODY_BYTES_MAX)
    assert status == 400
    status, answer = await api.ask(method, path, b" " * (BODY_BYTES_MAX + 1))
    assert (status, answer["error"]) == (413, f"the body is longer than {BODY_BYTES_MAX} bytes")

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(BODY_BYTES_MAX // 1024 + 1):
            yield b" " * 1024

    async with api.session.request(method, api.url + path, data=pieces()) as response:
        assert response.status == 413


async def test_a_bomb_is_not_unpacked(api: Api) -> None:
    """The limit holds for what a compressed body becomes."""
    import zlib

    bomb = zlib.compress(b" " * 10_000_000)
    assert len(bomb) < BODY_BYTES_MAX
    async with api.session.post(api.url + "/twins", data=bomb, headers={"Content-Encoding": "deflate"}) as response:
        assert response.status == 413


async def test_a_body_that_does_not_come(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """408 when the announced body stays out."""
    monkeypatch.setattr(registry_api, "BODY_WAIT_S_MAX", 0.05)
    host, port = api.url.removeprefix("http://").split("/")[0].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /registry/v1/twins HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
    async with asyncio.timeout(60):
        assert b" 408 " in await reader.readline()
    writer.close()
    await writer.wait_closed()


async def test_other_paths_and_methods(api: Api) -> None:
    """404 and 405 are JSON too, and say what there is."""
    for path in ("", "/", "/twin/1", "/twins/1/2", "/%00", "/accounts/", "/accounts/a/b"):
        status, answer = await api.ask("GET", path)
        assert (status, "there are /twins" in answer["error"]) == (404, True)
        assert "absent" not in answer
    for method, path, allowed in (
        ("DELETE", "/twins/1", "GET, PUT"),
        ("POST", "/twins/1", "GET, PUT"),
        ("PUT", "/twins", "GET, POST"),
        ("POST", f"/accounts/{A.hex()}", "GET"),
        ("PATCH", "/changes", "GET"),
    ):
        status, answer = await api.ask(method, path)
        assert (status, api.headers["Allow"]) == (405, allowed)
        assert answer["error"] == f"{method} does not work here: use {allowed}"


async def test_without_its_store(tmp_path: Path) -> None:
    """503 with when to try again, on every path that needs the store."""
    async with valkey(tmp_path) as (own, _), serving(own) as api:
        await own.stop()
        await _expect_503(api)


async def _expect_503(api: Api) -> None:
    for method, path, body in (
        ("GET", "/twins/1", None),
        ("GET", "/twins", None),
        ("GET", "/twins?ids=1", None),
        ("GET", f"/accounts/{A.hex()}", None),
        ("GET", "/changes", None),
        ("POST", "/twins", Claim.make(signer("a"), NAME).to_json()),
        ("PUT", "/twins/1", record("a", 1).to_json()),
    ):
        status, _ = await api.ask(method, path, body)
        assert (status, api.headers["Retry-After"]) == (503, "2")


json_noise = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
field_noise = st.dictionaries(
    st.sampled_from(["id", "account", "relays", "pk", "version", "signature", "audience"]),
    json_noise
    | st.binary(min_size=32, max_size=32).map(bytes.hex)
    | st.binary(min_size=65, max_size=65).map(bytes.hex)
    | st.just(NAME)
    | st.lists(st.text(max_size=9), max_size=5),
)


@given(
    st.sampled_from([("POST", "/twins"), ("PUT", "/twins/1")]),
    st.binary(max_size=300) | json_noise.map(lambda value: orjson.dumps(value, option=0) if _fits(value) else b"[]"),
    field_noise,
    st.booleans(),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_noise_in_bodies(
    api: Api, where: tuple[str, str], body: bytes, fields: dict[str, Any], change: bool
) -> None:
    """Any bytes, any JSON, and good messages with any fields changed: a clear 4xx, never a 5xx, never a record."""
    api.now += 60
    method, path = where
    if change:
        good = Claim.make(signer("a"), NAME).to_json() if method == "POST" else record("a", 1).to_json()
        fields = {name: value for name, value in fields.items() if _fits(value)}
        body = orjson.dumps(good | fields | {"signature": fields.get("signature", "73" + "11" * 64)})
    status, _ = await api.ask(method, path, body)
    assert 400 <= status < 500
    assert await api.store.page(0, 1) == []


@given(st.sampled_from(["/twins/", "/accounts/", "/", "/twins?ids=", "/twins?after=", "/changes?limit="]), st.text())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_noise_in_paths(api: Api, start: str, rest: str) -> None:
    """Any path and any query: a result or a clear 4xx."""
    status, _ = await api.ask("GET", start + rest)
    assert status == 200 or 400 <= status < 500


@given(st.binary(max_size=60))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_noise_in_raw_request_lines(api: Api, noise: bytes) -> None:
    """Bytes that no HTTP library would send: some answer of 4xx, or a closed connection; and the server lives."""
    host, port = api.url.removeprefix("http://").split("/")[0].split(":")
    line = noise.replace(b"\r", b"").replace(b"\n", b"")
    with socket.create_connection((host, int(port))) as raw:
        raw.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(
            raw, b"GET /registry/v1/twins/" + line + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        async with asyncio.timeout(60):
            answer = await loop.sock_recv(raw, 100)
    assert answer == b"" or answer.split(b" ")[1][:1] in (b"2", b"4")


def _fits(value: Any) -> bool:
    """Whether orjson can write it: integers beyond 64 bits it cannot."""
    try:
        orjson.dumps(value)
    except (TypeError, orjson.JSONEncodeError):
        return False
    return True
