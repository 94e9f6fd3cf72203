"""schemas/registry.openapi.yaml says what the relay really serves: every path, method, status and body."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import yaml
from aiohttp import web
from jsonschema import Draft202012Validator
from redis.asyncio import Redis
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from relay import registry_api
from relay.registry_api import BODY_BYTES_MAX, IDS_MAX, PAGE_DEFAULT, PAGE_MAX, add_registry_routes
from relay.registry_store import RegistryStore
from rmb_peer.protocol.address import TWIN_ID_MAX
from rmb_peer.protocol.twin_record import VERSION_MAX, SignedTwin
from rmb_peer.registry.claim import Claim
from rmb_peer.registry.urls import REGISTRY_PATH
from tests.support.hosted_registry import hosted, record, signer
from tests.support.services import valkey

FILE = Path(__file__).parents[2] / "schemas" / "registry.openapi.yaml"
DOCUMENT: dict[str, Any] = yaml.safe_load(FILE.read_text())
RECORD = "registry_record.schema.json"
METHODS = {"get", "post", "put"}


def _resolve(node: Any) -> Any:
    """Follow references inside the document."""
    while isinstance(node, dict) and str(node.get("$ref", "")).startswith("#/"):
        target: Any = DOCUMENT
        for part in node["$ref"][2:].split("/"):
            target = target[part]
        node = target
    return node


def _validator(schema: dict[str, Any]) -> Draft202012Validator:
    """A schema of the document. Records are only told apart here: their own schema has tests of its own."""
    one_record: Resource[Any] = DRAFT202012.create_resource({"type": "object", "required": ["id", "signature"]})
    whole = {**schema, "components": DOCUMENT["components"]}  # what "#/components/…" leads to
    return Draft202012Validator(whole, registry=Registry().with_resource(RECORD, one_record))


def _records(body: dict[str, Any]) -> list[dict[str, Any]]:
    return list(body.get("twins", [body] if "signature" in body else []))


def test_the_paths_are_those_of_the_code() -> None:
    """Each route has its entry and each entry its route."""
    app = web.Application()
    add_registry_routes(app, RegistryStore(Redis()), audience_names=[])
    served = {
        (route.method, str(route.resource.canonical).removeprefix(REGISTRY_PATH))
        for route in app.router.routes()
        if route.method != "*" and route.resource is not None
    }
    described = {(method.upper(), path) for path, item in DOCUMENT["paths"].items() for method in METHODS & set(item)}
    assert served == described
    assert DOCUMENT["servers"][0]["url"] == REGISTRY_PATH


def test_all_references_lead_somewhere() -> None:
    """No reference dangles, and every part is used."""
    found: set[str] = set()

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if "$ref" in node:
                found.add(node["$ref"])
                assert node["$ref"] == RECORD or _resolve(node)
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(DOCUMENT)
    parts = {f"#/components/{kind}/{name}" for kind, names in DOCUMENT["components"].items() for name in names}
    assert found == parts | {RECORD}


def test_schemas_and_limits() -> None:
    """The schemas are valid JSON Schemas, and their numbers are those of the code."""
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    parameters = {item["name"]: item["schema"] for item in DOCUMENT["paths"]["/twins"]["get"]["parameters"]}
    assert parameters["ids"]["pattern"].endswith(f"{{0,{IDS_MAX - 1}}}$")
    assert parameters["after"]["maximum"] == TWIN_ID_MAX
    assert (parameters["limit"]["maximum"], parameters["limit"]["default"]) == (PAGE_MAX, PAGE_DEFAULT)
    after = {item["name"]: item["schema"] for item in DOCUMENT["paths"]["/changes"]["get"]["parameters"]}["after"]
    assert after["maximum"] == VERSION_MAX
    assert f"{BODY_BYTES_MAX // 1024} KiB" in DOCUMENT["components"]["responses"]["TooLarge"]["description"]
    assert f"{registry_api.BODY_WAIT_S_MAX:g} seconds" in DOCUMENT["components"]["responses"]["TooSlow"]["description"]


def test_what_we_send_is_what_is_described() -> None:
    """A claim as our client makes it, with both kinds of keys."""
    for key in (signer("a"), signer("a", "ed25519")):
        _validator(DOCUMENT["components"]["schemas"]["Claim"]).validate(Claim.make(key, "relay.test:8080").to_json())


async def _late(answered: asyncio.Event) -> AsyncIterator[bytes]:
    """A body that does not end before its answer."""
    yield b"{"
    await answered.wait()


async def test_every_status_has_its_body(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that bring about each status of each operation get exactly the described bodies; nothing is left out."""
    seen: set[tuple[str, str, str]] = set()
    too_long = b" " * (BODY_BYTES_MAX + 1)
    answered = asyncio.Event()

    async with aiohttp.ClientSession() as session, valkey(tmp_path) as (server, redis):

        async def check(url: str, method: str, path: str, query: str = "", body: Any = None) -> None:
            data = orjson.dumps(body) if isinstance(body, dict) else body
            real = path.replace("{id}", "1").replace("{account}", signer("a").account.hex())
            async with session.request(method, url + REGISTRY_PATH + real + query, data=data) as response:
                answer = orjson.loads(await response.read())
                answered.set()
                seen.add((method, path, str(response.status)))
                described = DOCUMENT["paths"][path][method.lower()]["responses"][str(response.status)]
                _validator(_resolve(described)["content"]["application/json"]["schema"]).validate(answer)
                for item in _records(answer):
                    SignedTwin.from_json(item).verify()

        def claim(name: str, url: str) -> dict[str, str]:
            return Claim.make(signer(name), url.removeprefix("http://")).to_json()

        async def ask_all(url: str) -> None:
            for path in ("/twins/{id}", "/accounts/{account}", "/twins", "/changes"):
                await check(url, "GET", path)
            await check(url, "POST", "/twins", body=claim("a", url))
            await check(url, "PUT", "/twins/{id}", body=record("a", 1).to_json())

        async with hosted(redis) as url:
            await ask_all(url)
            await ask_all(url)
            await check(url, "PUT", "/twins/{id}", body=record("a", 1, 2).to_json())
            await check(url, "GET", "/twins", "?ids=1,2")
            await check(url, "GET", "/changes", "?after=0")
            for path, query in (("/twins", "?limit=0"), ("/changes", "?limit=0")):
                await check(url, "GET", path, query)
            await check(url, "GET", "/twins/{id}", "x")
            await check(url, "GET", "/accounts/{account}", "x")
            await check(url, "PUT", "/twins/{id}", body=record("b", 1).to_json())
            await check(url, "POST", "/twins", body=claim("a", "http://elsewhere.test"))
            for method, path in (("POST", "/twins"), ("PUT", "/twins/{id}")):
                await check(url, method, path, body=b"junk")
                await check(url, method, path, body=too_long)
            monkeypatch.setattr(registry_api, "BODY_WAIT_S_MAX", 0.05)
            answered.clear()
            for method, path in (("POST", "/twins"), ("PUT", "/twins/{id}")):
                await check(url, method, path, body=_late(answered))
                answered.clear()
        async with hosted(redis, claims_per_minute=1) as url:
            for _ in range(2):
                await check(url, "POST", "/twins", body=claim("a", url))
        async with hosted(redis) as url:
            await server.stop()
            await ask_all(url)

    described = {
        (method.upper(), path, status)
        for path, item in DOCUMENT["paths"].items()
        for method in METHODS & set(item)
        for status in item[method]["responses"]
    }
    assert seen == described
