"""Opening a connection: every row of spec rmb 4.3, statuses and bodies as they leave the socket (appendix C 3)."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from rmb_peer.protocol.twin import Twin
from tests.support.hosted_registry import signer
from tests.support.relay import Directory, LogLines, TestBed, raw_http, relay, upgrade_request

NOW = 1_700_000_000
CLAIMS = {"sub": 7, "sid": None, "iat": NOW, "exp": NOW + 60}


def encode(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def make(header: Any = None, claims: Any = None, key: str = "7", scheme: Any = "sr25519") -> str:
    signed = f"{encode({'alg': 'RS512'} if header is None else header)}.{encode(CLAIMS if claims is None else claims)}"
    return f"{signed}.{encode(signer(key, scheme).sign(signed.encode()))}"


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_bed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TestBed]:
    """One relay for all tests here, with a clock that stands still: none of them leaves anything behind."""
    async with relay(tmp_path_factory.mktemp("signin"), Directory(), now_s=lambda: NOW) as bed:
        yield bed


@pytest.fixture
def bed(shared_bed: TestBed) -> TestBed:
    shared_bed.directory.reset(7)
    return shared_bed


async def ask(bed: TestBed, query: str | None, **headers: str | None) -> tuple[int, dict[str, str], str]:
    target = "/" if query is None else f"/?{query}"
    status, fields, body = await raw_http(bed.app.address, upgrade_request(target, **headers))
    return status, fields, body.decode()


@pytest.mark.parametrize("query", [None, ""])
async def test_c3_row1_no_query(bed: TestBed, query: str | None) -> None:
    """Without a token: 400, and no content type."""
    status, headers, body = await ask(bed, query)
    assert (status, body) == (400, "missing jwt")
    assert "content-type" not in headers


@pytest.mark.parametrize(
    ("text", "body"),
    [
        (".a.b", "invalid jwt: jwt: No header component found in token string"),
        ("abc", "invalid jwt: jwt: No claims component found in token string"),
        ("a.b", "invalid jwt: jwt: No signature component found in token string"),
        ("a.b.c.d", "invalid jwt: jwt: Too many components found in token string"),
        ("!!.e30.x", "invalid jwt: jwt: "),
        ("e30.!!.x", "invalid jwt: jwt: "),
        (f"{encode(b'no json')}.{encode(CLAIMS)}.x", "invalid jwt: jwt: "),
        (make(claims=[1]), "invalid jwt: jwt: "),
        (make(claims={**CLAIMS, "sub": "7"}), "invalid jwt: jwt: "),
        (make(claims={**CLAIMS, "sub": 2**32}), "invalid jwt: jwt: "),
        (make(claims={**CLAIMS, "sid": 5}), "invalid jwt: jwt: "),
        (make(claims={**CLAIMS, "exp": -1}), "invalid jwt: jwt: "),
        (make(claims={"sub": 7, "iat": NOW}), "invalid jwt: jwt: "),
        ("token=" + make(), "invalid jwt: jwt: "),
    ],
)
async def test_c3_row2_malformed_tokens(bed: TestBed, text: str, body: str) -> None:
    """Not three parts, bad base64, bad JSON, wrong types: 401 with the detail."""
    status, headers, answer = await ask(bed, text)
    assert status == 401
    assert answer.startswith(body) and len(answer) > len("invalid jwt: jwt: ")
    assert "content-type" not in headers


async def test_c3_row3_expired(bed: TestBed) -> None:
    """After `exp`: 401, even if the twin is unknown, since the order of checks counts."""
    for twin in (7, 4711):
        claims = {**CLAIMS, "sub": twin, "exp": NOW - 1}
        assert (await ask(bed, make(claims=claims)))[::2] == (401, "invalid jwt: jwt has expired")


async def test_c3_row3_at_its_last_second(bed: TestBed) -> None:
    """`now == exp` is still valid."""
    claims = {**CLAIMS, "exp": NOW}
    assert (await ask(bed, make(claims=claims)))[0] == 101


async def test_tokens_that_live_too_long_are_refused(bed: TestBed) -> None:
    """Stricter than others: nobody needs more than 20 minutes (spec rmb 10.12)."""
    status, _, body = await ask(bed, make(claims={**CLAIMS, "exp": NOW + 1201}))
    assert (status, body) == (401, "invalid jwt: jwt is valid for too long: at most 1200 seconds are accepted")


async def test_c3_row4_lookup_failed(bed: TestBed) -> None:
    """The registry gives no answer: 500 with its text."""
    bed.directory.failing[7] = "no route to chain"
    assert (await ask(bed, make()))[::2] == (500, "failed to get twin: no route to chain")


async def test_c3_row5_unknown_twin(bed: TestBed) -> None:
    """Nobody has this id: 401; the id is told, and the signature not looked at."""
    assert (await ask(bed, make(claims={**CLAIMS, "sub": 8})))[::2] == (401, "twin not found 8")
    assert (await ask(bed, make(claims={**CLAIMS, "sub": 0})))[::2] == (401, "twin not found 0")


async def test_c3_row6_wrong_algorithm(bed: TestBed) -> None:
    """The label must be RS512; the text swaps the names as the Rust library does."""
    text = "invalid jwt: jwt: Expected algorithm type Hs256 but found Rs512"
    assert (await ask(bed, make(header={"alg": "HS256"})))[::2] == (401, text)


@pytest.mark.parametrize(
    "text",
    [
        make(key="8"),
        make().rsplit(".", 1)[0] + "." + encode(b"x" + bytes(64)),
        make().rsplit(".", 1)[0] + "." + encode(b"e" + bytes(64)),
        make().rsplit(".", 1)[0] + ".",
        make(scheme="ed25519"),
    ],
)
async def test_c3_row7_bad_signature(bed: TestBed, text: str) -> None:
    """Of another key, of the wrong length or of the wrong type: 401."""
    assert (await ask(bed, text))[::2] == (401, "invalid jwt: jwt: Invalid signature")


@pytest.mark.parametrize("end", ["A", "%%%"])
async def test_c3_row2_signature_is_no_base64(bed: TestBed, end: str) -> None:
    """Bad base64 is row 2 in every part of the token."""
    status, _, body = await ask(bed, f"{make().rsplit('.', 1)[0]}.{end}")
    assert status == 401
    assert body.startswith("invalid jwt: jwt: invalid signature: ")


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Sec_WebSocket_Key": None}, "Sec-WebSocket-Key must be 16 bytes in base64"),
        ({"Sec_WebSocket_Key": "dG9vIHNob3J0"}, "Sec-WebSocket-Key must be 16 bytes in base64"),
        ({"Sec_WebSocket_Key": "*"}, "Sec-WebSocket-Key must be 16 bytes in base64"),
        ({"Sec_WebSocket_Version": None}, "Sec-WebSocket-Version must be 13"),
        ({"Sec_WebSocket_Version": "8"}, "Sec-WebSocket-Version must be 13"),
    ],
)
async def test_c3_row8_bad_handshake(bed: TestBed, headers: dict[str, str | None], body: str) -> None:
    """A valid token with a broken handshake: 500; with a bad token the token is what is reported."""
    assert (await ask(bed, make(), **headers))[::2] == (500, body)
    assert (await ask(bed, "abc", **headers))[0] == 401


@pytest.mark.parametrize("header", [{"alg": "RS512"}, {"alg": "RS512", "typ": "JWT"}, {"typ": "JWT", "alg": "RS512"}])
@pytest.mark.parametrize("session", [{}, {"sid": None}, {"sid": ""}, {"sid": "js client"}])
async def test_c3_row9_accepted(bed: TestBed, header: dict[str, str], session: dict[str, str | None]) -> None:
    """With and without `typ`; session id missing, null, empty and not; claims in any order, unknown ones ignored."""
    claims = {"exp": NOW + 60, "more": [1], "iat": NOW, **session, "sub": 7}
    status, headers, _ = await ask(bed, make(header, claims))
    assert status == 101
    assert headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455, section 1.3
    assert "sec-websocket-extensions" not in headers


async def test_c3_row9_ed25519(bed: TestBed) -> None:
    """Tokens signed with the other scheme open connections, too."""
    bed.directory.twins[7] = Twin(7, signer("7", "ed25519").account, frozenset(), None)
    assert (await ask(bed, make(scheme="ed25519")))[0] == 101


@pytest.mark.parametrize("path", ["/", "/anything/at/all", "/metrics", "/registry/v1/twins"])
async def test_any_path_is_an_upgrade(bed: TestBed, path: str) -> None:
    """The path does not count, not even one that means something else."""
    data = upgrade_request(f"{path}?{make()}")
    assert (await raw_http(bed.app.address, data))[0] == 101


@pytest.mark.parametrize(
    ("headers", "upgrade"),
    [
        ({"Connection": "keep-alive, Upgrade"}, True),
        ({"Connection": "UPGRADE"}, True),
        ({"Upgrade": "WebSocket"}, True),
        ({"Upgrade": "h2c, websocket"}, True),
        ({"Connection": "keep-alive"}, False),
        ({"Connection": None}, False),
        ({"Connection": "upgraded"}, False),
        ({"Upgrade": None}, False),
        ({"Upgrade": "h2c"}, False),
        ({"Upgrade": "websocketx"}, False),
    ],
)
async def test_what_counts_as_an_upgrade(bed: TestBed, headers: dict[str, str | None], upgrade: bool) -> None:
    """Tokens in comma lists, in any case; everything else is an ordinary request, here for a page that is not there."""
    status, _, body = await raw_http(bed.app.address, upgrade_request(f"/x?{make()}", **headers))
    assert (status, body) == ((101, b"") if upgrade else (404, b"page not found"))


async def test_the_method_does_not_count(bed: TestBed) -> None:
    """An upgrade by POST is an upgrade."""
    data = upgrade_request(f"/?{make()}").replace(b"GET", b"POST", 1)
    assert (await raw_http(bed.app.address, data))[0] == 101


async def test_extensions_and_protocols_are_not_selected(bed: TestBed) -> None:
    """No compression, no subprotocol that we do not know, and no complaint about the offer."""
    offers = {"Sec_WebSocket_Extensions": "permessage-deflate", "Sec_WebSocket_Protocol": "rmb.3, chat"}
    with LogLines("aiohttp") as lines:
        status, headers, _ = await ask(bed, make(), **offers)
    assert status == 101
    assert "sec-websocket-extensions" not in headers and "sec-websocket-protocol" not in headers
    assert lines.lines == []


async def test_a_very_long_token_is_refused(bed: TestBed) -> None:
    """Every entrance has a size limit."""
    status, _, body = await ask(bed, make(claims={**CLAIMS, "sid": "s" * 4000}))
    assert (status, body) == (401, "invalid jwt: jwt: token is longer than 4096 characters")
