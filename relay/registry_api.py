"""The REST interface of a hosted registry, under `/registry/v1` (schemas/registry.openapi.yaml).

| request | answer |
|---|---|
| `POST /twins` with a signed claim | 201 or 200 `{"id": n}` |
| `PUT /twins/{id}` with a signed record | 201 or 200, the record |
| `GET /twins/{id}`, `GET /accounts/{hex or SS58}` | the record, or 404 |
| `GET /twins?ids=1,2,3` | `{"twins": […]}`, those that exist |
| `GET /twins?after=ID&limit=N` | `{"twins": […], "next": id or null}`, by id |
| `GET /changes?after=N&limit=M` | `{"feed": …, "next": n, "twins": […]}`, each twin at its latest change |

Every error is a JSON object `{"error": text}` whose text says what to do. A 404 for a twin that does not exist also has
`"absent": true`, so that it cannot be mistaken for the 404 of a server that is no registry. Whoever asks needs no
account here: records are public, and what is written carries its own proof.

This module refuses to know how records are stored.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

import orjson
from aiohttp import web

from relay.claim_limit import ClaimLimit
from relay.registry_store import IdNotYours, RegistryFull, RegistryStore, VersionNotGreater
from rmb_peer.protocol.address import TWIN_ID_MAX
from rmb_peer.protocol.errors import BadRequest, InvalidSignature
from rmb_peer.protocol.ss58 import decode_account
from rmb_peer.protocol.twin_record import VERSION_MAX, SignedTwin
from rmb_peer.registry.base import RegistryUnavailable
from rmb_peer.registry.claim import Claim
from rmb_peer.registry.urls import REGISTRY_PATH

BODY_BYTES_MAX = 16 * 1024
"""A record with four relays of full length takes about 1.5 KiB; the rest is room for other writers' white space."""

BODY_WAIT_S_MAX = 10.0
"""Longest wait for a body of that size; a guess."""

PAGE_MAX = 1000
PAGE_DEFAULT = 100
"""Records per answer: a page of the greatest size stays below 2 MiB."""

IDS_MAX = 100
"""Twins of one `ids=` list: a URL of about 1 KiB, which every proxy takes."""

_RETRY_AFTER_S = 2  # for a store that does not answer; a guess: an embedded store restarts in less
_NAMES_SHOWN_MAX = 5

_Handler = Callable[[web.Request], Awaitable[web.Response]]


class _Refused(Exception):
    """An answer with a status of 4xx."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None, **fields: Any) -> None:
        super().__init__(text)
        self.response = _json(status, {"error": text, **fields}, headers)


def add_registry_routes(
    app: web.Application,
    store: RegistryStore,
    *,
    audience_names: Collection[str],
    claim_limit: ClaimLimit | None = None,
    client_address: Callable[[web.Request], str] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Serve `store` under `/registry/v1`.

    Args:
        app: where the routes are added; it must not be running yet.
        store: the twins.
        audience_names: names of this registry, `host` or `host:port` as `names.relay_of_url` writes them. Looked at
            when a claim arrives, so that a port which is known only after listening may be added later.
        claim_limit: how often one address may claim; the default limit when `None`.
        client_address: who sent a request; the address of the connection when `None`. Behind a reverse proxy this must
            be the address that the proxy vouches for.
        clock: monotonic seconds.
    """
    api = _RegistryApi(store, audience_names, claim_limit or ClaimLimit(), client_address or _remote, clock)
    routes: dict[str, dict[str, _Handler]] = {
        "/twins": {"GET": api.list_twins, "POST": api.claim},
        "/twins/{id}": {"GET": api.twin, "PUT": api.store},
        "/accounts/{account}": {"GET": api.account},
        "/changes": {"GET": api.changes},
    }
    for path, handlers in routes.items():
        resource = app.router.add_resource(REGISTRY_PATH + path)
        for method, handler in handlers.items():
            resource.add_route(method, _answering(handler))
        resource.add_route("*", _answering(_method_not_allowed(sorted(handlers))))
    app.router.add_route("*", REGISTRY_PATH + "{rest:(/.*)?}", _answering(_no_such_path))


class _RegistryApi:
    def __init__(
        self,
        store: RegistryStore,
        audience_names: Collection[str],
        claim_limit: ClaimLimit,
        client_address: Callable[[web.Request], str],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._audience_names = audience_names
        self._claim_limit = claim_limit
        self._client_address = client_address
        self._clock = clock

    async def claim(self, request: web.Request) -> web.Response:
        """`POST /twins`: an id for an account, the same one each time."""
        wait_s = self._claim_limit.take(self._client_address(request), self._clock())
        if wait_s:
            seconds = math.ceil(wait_s)
            text = f"too many claims from your address: try again in {seconds} s"
            raise _Refused(429, text, {"Retry-After": str(seconds)})
        claim = Claim.from_json(await _read_json(request))
        if claim.audience not in self._audience_names:
            names = ", ".join(sorted(self._audience_names)[:_NAMES_SHOWN_MAX]) or "no name at all"
            raise _Refused(403, f"the claim is made out to another registry; this one is known as {names}")
        claim.verify()
        try:
            claimed = await self._store.claim(claim.account)
        except RegistryFull as error:
            raise _Refused(403, error.detail) from None
        return _json(201 if claimed.new else 200, {"id": claimed.id})

    async def store(self, request: web.Request) -> web.Response:
        """`PUT /twins/{id}`: a record that its twin has signed."""
        twin_id = _twin_id(request.match_info["id"])
        record = SignedTwin.from_json(await _read_json(request))
        if record.twin.id != twin_id:
            raise BadRequest(f"the record has id {record.twin.id}, and the path names {twin_id}: make them equal")
        try:
            first = await self._store.store(record)
        except IdNotYours as error:
            raise _Refused(403, f"{error.detail} (POST {REGISTRY_PATH}/twins)") from None
        except VersionNotGreater as error:
            raise _Refused(409, error.detail, version=error.current) from None
        return _json(201 if first else 200, record.to_json())

    async def twin(self, request: web.Request) -> web.Response:
        """`GET /twins/{id}`."""
        twin_id = _twin_id(request.match_info["id"])
        record = await self._store.signed(twin_id)
        if record is None:
            raise _Refused(404, f"there is no twin {twin_id} here", absent=True)
        return _json(200, record.to_json())

    async def account(self, request: web.Request) -> web.Response:
        """`GET /accounts/{hex or SS58}`."""
        try:
            account = decode_account(request.match_info["account"])
        except ValueError as error:
            raise BadRequest(str(error)) from None
        record = await self._store.signed_by_account(account)
        if record is None:
            raise _Refused(404, "there is no twin of this account here", absent=True)
        return _json(200, record.to_json())

    async def list_twins(self, request: web.Request) -> web.Response:
        """`GET /twins`: chosen ones, or page by page."""
        if "ids" in request.query:
            records = await self._store.many(_ids(request.query["ids"]))
            return _json(200, {"twins": [record.to_json() for record in records]})
        limit = _number(request, "limit", PAGE_DEFAULT, 1, PAGE_MAX)
        records = await self._store.page(_number(request, "after", 0, 0, TWIN_ID_MAX), limit)
        following = records[-1].twin.id if len(records) == limit else None
        return _json(200, {"twins": [record.to_json() for record in records], "next": following})

    async def changes(self, request: web.Request) -> web.Response:
        """`GET /changes`: what changed after a number; without `after`, only the number of now."""
        limit = _number(request, "limit", PAGE_DEFAULT, 1, PAGE_MAX)
        after = _number(request, "after", 0, 0, VERSION_MAX) if "after" in request.query else None
        changes = await self._store.changes(after, limit)
        twins = [record.to_json() for record in changes.twins]
        return _json(200, {"feed": changes.feed, "next": changes.next, "twins": twins})


def _answering(handler: _Handler) -> _Handler:
    """Turn every refusal into its status and a JSON body."""

    async def answer(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except _Refused as error:
            return error.response
        except BadRequest as error:
            return _json(400, {"error": str(error)})
        except InvalidSignature as error:
            return _json(403, {"error": f"not signed by the key of this account: {error.detail}"})
        except RegistryUnavailable as error:
            return _json(503, {"error": error.detail}, {"Retry-After": str(_RETRY_AFTER_S)})

    return answer


def _method_not_allowed(methods: list[str]) -> _Handler:
    allowed = ", ".join(methods)

    async def refuse(request: web.Request) -> web.Response:
        raise _Refused(405, f"{request.method[:20]} does not work here: use {allowed}", {"Allow": allowed})

    return refuse


async def _no_such_path(request: web.Request) -> web.Response:
    raise _Refused(404, "no such path: there are /twins, /twins/{id}, /accounts/{account} and /changes")


async def _read_json(request: web.Request) -> Any:
    """The body, read piece by piece so that the limit holds whatever its headers claim."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_WAIT_S_MAX):
            while piece := await request.content.readany():
                body += piece
                if len(body) > BODY_BYTES_MAX:
                    raise _Refused(413, f"the body is longer than {BODY_BYTES_MAX} bytes")
    except TimeoutError:
        raise _Refused(408, f"the body did not arrive within {BODY_WAIT_S_MAX:g} s") from None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from None


def _twin_id(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or not 1 <= int(text) <= TWIN_ID_MAX:
        raise BadRequest(f"{text[:20]!r} is not a twin id: expected a number from 1 to {TWIN_ID_MAX}")
    return int(text)


def _ids(text: str) -> list[int]:
    parts = text.split(",", IDS_MAX)
    if len(parts) > IDS_MAX:
        raise BadRequest(f"`ids` may name at most {IDS_MAX} twins")
    return [_twin_id(part) for part in parts]


def _number(request: web.Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdigit()) or len(text) > 16 or not least <= int(text) <= most:
        raise BadRequest(f"`{name}` must be a number from {least} to {most}")
    return int(text)


def _remote(request: web.Request) -> str:
    return request.remote or ""


def _json(status: int, body: dict[str, Any], headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status,
        body=orjson.dumps(body),
        content_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )
