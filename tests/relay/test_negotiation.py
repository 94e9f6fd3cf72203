"""How a client comes to speak rmb.2, and how it may show its token then (RFC 6455, 4.2.2; spec rmb 4.2, 10.12)."""

import time

import pytest

from rmb_peer.protocol.address import Address
from rmb_peer.protocol.token import make_token
from tests.support.hosted_registry import signer
from tests.support.relay import DOMAIN, TestBed, raw_http, token, upgrade_request

pytestmark = pytest.mark.asyncio(loop_scope="module")


def made_out_to(audience: str | None) -> str:
    return make_token(signer("7"), Address(7), int(time.time()), audience=audience)


async def ask(bed: TestBed, query: str = "", **headers: str) -> tuple[int, dict[str, str], str]:
    status, answer, body = await raw_http(bed.app.address, upgrade_request(f"/{query}", **headers))
    return status, answer, body.decode()


@pytest.mark.parametrize("offer", ["rmb.2", "chat, rmb.2", " rmb.2 ,rmb.1", "rmb.1,chat,  rmb.2"])
async def test_rmb_2_is_selected_where_it_is_offered(bed: TestBed, offer: str) -> None:
    """The answer names it exactly, and nothing else of the offer."""
    status, headers, _ = await ask(bed, f"?{token(Address(7))}", Sec_WebSocket_Protocol=offer)
    assert (status, headers["sec-websocket-protocol"]) == (101, "rmb.2")


@pytest.mark.parametrize("offer", ["", "RMB.2", "rmb.22", "rmb.1", "chat", ",", "rmb.2x, xrmb.2"])
async def test_other_offers_are_ignored(bed: TestBed, offer: str) -> None:
    """No subprotocol is selected, and rmb.1 is spoken."""
    status, headers, _ = await ask(bed, f"?{token(Address(7))}", Sec_WebSocket_Protocol=offer)
    assert status == 101
    assert "sec-websocket-protocol" not in headers


async def test_the_token_may_come_in_a_header(bed: TestBed) -> None:
    """Made out to this relay; no query is needed then, and the scheme may be written in any case."""
    for scheme in ("Bearer", "bearer", "BEARER "):
        headers = {"Authorization": f"{scheme} {made_out_to(DOMAIN)}", "Sec_WebSocket_Protocol": "rmb.2"}
        status, answer, _ = await ask(bed, **headers)
        assert (status, answer["sec-websocket-protocol"]) == (101, "rmb.2")


@pytest.mark.parametrize(
    ("audience", "text"),
    [
        (None, "invalid jwt: jwt in a header must name the relay it is for, as `aud`"),
        ("elsewhere.test", f"invalid jwt: jwt is made out to another relay; this one is known as {DOMAIN}"),
    ],
)
async def test_a_header_has_to_be_made_out_to_this_relay(bed: TestBed, audience: str | None, text: str) -> None:
    """A relay that was shown a token cannot show it to another."""
    headers = {"Authorization": f"Bearer {made_out_to(audience)}", "Sec_WebSocket_Protocol": "rmb.2"}
    assert (await ask(bed, **headers))[::2] == (401, text)


async def test_nor_does_such_a_token_open_another_relay_by_its_query(bed: TestBed) -> None:
    """Whichever way it is shown, and whatever is spoken; made out to this one it is good."""
    for headers in ({}, {"Sec_WebSocket_Protocol": "rmb.2"}):
        status, _, body = await ask(bed, f"?{made_out_to('elsewhere.test')}", **headers)
        assert (status, body[:51]) == (401, "invalid jwt: jwt is made out to another relay; this"[:51])
        assert (await ask(bed, f"?{made_out_to(DOMAIN)}", **headers))[0] == 101


async def test_the_header_counts_only_with_the_offer(bed: TestBed) -> None:
    """Without it things are as in rmb.1; another scheme is somebody else's business, such as a proxy's."""
    bearer = f"Bearer {made_out_to(DOMAIN)}"
    assert (await ask(bed, Authorization=bearer))[::2] == (400, "missing jwt")
    other = {"Authorization": "Basic dTpw", "Sec_WebSocket_Protocol": "rmb.2"}
    assert (await ask(bed, **other))[::2] == (400, "missing jwt")
    assert (await ask(bed, f"?{token(Address(7))}", **other))[0] == 101


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "e30.e30.e30"])
async def test_noise_in_the_header(bed: TestBed, text: str) -> None:
    """Refused in words."""
    headers = {"Authorization": f"Bearer {text}", "Sec_WebSocket_Protocol": "rmb.2"}
    status, _, body = await ask(bed, **headers)
    assert (status, body) == (400, "missing jwt") if not text else status == 401 and body.startswith("invalid jwt: ")
