"""A whole relay and its limits: what a client that meets one is told, in both protocols and before them."""

import asyncio
import ssl
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from relay.admission import hash_of
from relay.client_address import LOOPBACK
from relay.limit_settings import LimitSettings
from relay.token_bucket import Rate
from rmb_peer.protocol.envelope import Envelope
from rmb_peer.protocol.link.endings import Ending
from rmb_peer.transport.refused import REFUSAL_HEADER, TICKET_HEADER
from tests.support.certificates import authority_pem, issue
from tests.support.link_client import link_client
from tests.support.relay import (
    PATIENCE_S,
    Directory,
    TestBed,
    receive,
    receive_error,
    relay,
    request,
    send,
    until,
)


async def closed(client: ClientConnection) -> tuple[int, str]:
    """Code and reason with which the relay ends this connection."""
    with pytest.raises(ConnectionClosed) as error:
        async with asyncio.timeout(PATIENCE_S):
            await client.recv()
    assert error.value.rcvd is not None
    return error.value.rcvd.code, error.value.rcvd.reason


async def refused(bed: TestBed, twin: int, **options: Any) -> tuple[int, str | None, str | None, str]:
    """Status, `RMB-Refusal`, `Retry-After` and text of a refused upgrade."""
    with pytest.raises(InvalidStatus) as error:
        await bed.client(twin, **options)
    response = error.value.response
    headers = response.headers
    return (
        response.status_code,
        headers.get(REFUSAL_HEADER),
        headers.get("Retry-After"),
        (response.body or b"").decode(),
    )


async def test_sessions_of_a_twin(tmp_path: Path) -> None:
    """As many as may be; one more is told why and when to come back; taking a place over needs no room."""
    limits = LimitSettings(sessions_per_twin=2)
    async with (
        relay(tmp_path, Directory(7, 9), limits=limits) as bed,
        bed.client(7, "a") as first,
        bed.client(7, "b"),
        bed.client(9),
    ):
        text = "twin 7 has 2 sessions, the most that are allowed: close one; try again in 30 s"
        async with bed.client(7, "c") as third:
            assert await closed(third) == (1013, text)
        async with bed.client(7, "c", subprotocols=["rmb.2"]) as third:
            assert await closed(third) == (1013, text)
        async with bed.client(7, "a"):
            assert (await closed(first))[0] == 4001
        await until(lambda: bed.app.metrics.sessions() == 2)
        async with bed.client(7, "c"):
            await until(lambda: bed.app.metrics.sessions() == 3)
        assert bed.app.metrics.refusals == {"sessions_per_twin": 2}


async def test_a_full_relay_says_so(tmp_path: Path) -> None:
    """1013 with a text that tells when to come back."""
    async with relay(tmp_path, Directory(7, 8), sessions_max=1) as bed, bed.client(7), bed.client(8) as refused:
        assert await closed(refused) == (
            1013,
            "relay is full: 1 sessions are connected; try again in 30 s, or another relay",
        )


async def test_a_message_that_is_too_large_is_told_the_limit(tmp_path: Path) -> None:
    """1009 with a text."""
    async with relay(tmp_path, Directory(7), message_bytes_max=1000) as bed, bed.client(7) as client:
        await client.send(bytes(1001))
        assert await closed(client) == (1009, "message is too large: at most 1000 bytes are accepted")


async def test_rates_in_rmb1(tmp_path: Path) -> None:
    """At the edge it is taken, one over gets an error envelope with limit and seconds; a reconnect changes nothing."""
    now_s = float(int(time.time()))
    limits = LimitSettings(rate_messages=Rate(10, 3), slow_s_max=0.15)
    async with relay(tmp_path, Directory(7, 9), now_s=lambda: now_s, limits=limits) as bed, bed.client(9) as other:

        def envelope(uid: str) -> Envelope:
            made = request(7, 9, uid)
            made.timestamp = int(now_s)
            return made

        async with bed.client(7) as client:
            for n in range(5):  # three from the bucket, and two on credit: the second with a debt of 0.1 s
                await send(client, envelope(f"u{n}"))
            await send(client, envelope("over"))
            assert await receive_error(client) == "more than 10 messages per second: try again in 1 s"
        async with bed.client(7) as client:
            await send(client, envelope("over"))
            assert await receive_error(client) == "more than 10 messages per second: try again in 1 s"
        assert [(await receive(other)).uid for _ in range(5)] == [f"u{n}" for n in range(5)]
        assert bed.app.metrics.refusals["rate_messages"] == 2
        assert bed.app.metrics.slowed_s > 0


async def test_rates_in_rmb2(tmp_path: Path) -> None:
    """One frame: what the bucket and the credit allow is taken, the rest is refused with the time to wait."""
    now_s = float(int(time.time()))
    limits = LimitSettings(rate_messages=Rate(10, 3), slow_s_max=0.15)
    async with (
        relay(tmp_path, Directory(7), now_s=lambda: now_s, limits=limits, direct_s_max=600.0) as bed,
        link_client(bed, 7) as a,
    ):
        envelopes = [request(7, 7, f"u{n}") for n in range(7)]
        for made in envelopes:
            made.timestamp = int(now_s)
        await a.send(*envelopes)
        outcomes = [await a.outcome(f"u{n}") for n in range(7)]
        assert [outcome.ending is Ending.REFUSED for outcome in outcomes] == [False] * 5 + [True] * 2
        assert (outcomes[-1].reason, outcomes[-1].retry_after_ms) == (
            "more than 10 messages per second: try again in 1 s",
            200,
        )


async def test_a_fast_client_is_slowed_down_before_anything_is_refused(tmp_path: Path) -> None:
    """Ten times the burst, sent at once: all of it arrives, in order, at the rate."""
    limits = LimitSettings(rate_messages=Rate(200, 5), slow_s_max=60.0)
    async with relay(tmp_path, Directory(7, 9), limits=limits) as bed, bed.client(9) as other:
        async with bed.client(7) as client:
            for n in range(50):
                await send(client, request(7, 9, f"u{n}"))
            assert [(await receive(other)).uid for _ in range(50)] == [f"u{n}" for n in range(50)]
        async with link_client(bed, 7, "b") as link:
            for n in range(0, 40, 4):
                await link.send(*(request("7:b", 9, f"v{k}") for k in range(n, n + 4)))
            assert [(await receive(other)).uid for _ in range(40)] == [f"v{n}" for n in range(40)]
            assert (await link.outcome("v39")).ending is not Ending.REFUSED
        assert bed.app.metrics.slowed_s > 0
        assert not bed.app.metrics.refusals


async def test_admission_by_list(tmp_path: Path) -> None:
    """Who is on it gets in; who is taken off it is told and has to go, and does not get in again."""
    twins = tmp_path / "twins"
    twins.write_text("7\n8\n")
    limits = LimitSettings(admission="list", admit=frozenset({6}), admit_file=twins)
    async with relay(tmp_path, Directory(6, 7, 8, 9), limits=limits) as bed, bed.client(6), bed.client(8) as stays:
        text = "twin 9 is not on the list of this relay: ask its operator to be added"
        assert await refused(bed, 9) == (403, "not_admitted", "60", text)
        async with bed.client(7) as goes:
            twins.write_text("8\nnonsense\n")
            assert not bed.reload()
            twins.write_text("8\n")
            assert bed.reload()
            assert await closed(goes) == (1008, "twin is no longer admitted: ask the relay's operator")
        assert (await refused(bed, 7))[0] == 403
        await (await stays.ping())
        assert bed.app.metrics.refusals["not_admitted"] == 2


async def test_admission_by_ticket(tmp_path: Path) -> None:
    """In the header, or behind the token in the query; a wrong one is refused, and never shown."""
    tickets = tmp_path / "tickets"
    tickets.write_text(hash_of("open sesame").hex())
    limits = LimitSettings(admission="ticket", ticket_file=tickets)
    async with relay(tmp_path, Directory(7), limits=limits) as bed:
        assert "needs a ticket" in (await refused(bed, 7))[3]
        status, _, _, text = await refused(bed, 7, additional_headers={TICKET_HEADER: "open barley"})
        assert (status, "open barley" in text) == (403, False)
        for offered in ([], ["rmb.2"]):
            headers = {TICKET_HEADER: "open sesame"}
            async with bed.client(7, additional_headers=headers, subprotocols=offered or None) as client:
                await (await client.ping())
        url = str(bed.client(7).uri)
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(f"{url}&ticket=open%20sesame") as client2:
                assert not client2.closed
            with pytest.raises(aiohttp.WSServerHandshakeError) as error:
                await session.ws_connect(f"{url}&ticket=x")
            assert error.value.status == 403


async def test_behind_a_trusted_proxy(tmp_path: Path) -> None:
    """Clients are counted by the address that the proxy tells; who is refused reads why."""
    limits = LimitSettings(trusted_proxies=LOOPBACK, connections_per_address=1)
    async with relay(tmp_path, Directory(7, 8, 9), limits=limits) as bed:
        here, there = {"X-Forwarded-For": "192.0.2.1"}, {"X-Forwarded-For": "spoofed, 192.0.2.2"}
        async with bed.client(7, additional_headers=here), bed.client(8, additional_headers=there):
            status, reason, retry_after, text = await refused(bed, 9, additional_headers=here)
            assert (status, reason, retry_after) == (429, "connections_per_address", "60")
            assert text.startswith("192.0.2.1 has 1 connections open")

        async def gone() -> bool:
            try:
                async with bed.client(9, additional_headers=here):
                    return True
            except InvalidStatus:
                return False

        await until(gone)


async def test_tls_and_a_renewed_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway reaches it when it trusts the authority; new connections get a new certificate, old ones stay."""
    certificate, key = issue(10).write(tmp_path)
    authority = tmp_path / "authority.pem"
    authority.write_bytes(authority_pem())
    limits = LimitSettings(tls_certificate=certificate, tls_key=key)
    async with relay(tmp_path, Directory(7, 9), limits=limits) as bed:
        assert bed.app.url.startswith("wss://127.0.0.1:")
        with pytest.raises(ssl.SSLCertVerificationError):
            await bed.client(7)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))

        async def serial(client: ClientConnection) -> int:
            return int(client.transport.get_extra_info("ssl_object").getpeercert()["serialNumber"], 16)

        async with bed.client(7) as older:
            assert await serial(older) == 10
            issue(11).write(tmp_path)
            assert bed.reload()
            async with bed.client(9) as newer:
                assert await serial(newer) == 11
                certificate.write_text("broken")
                assert not bed.reload()
                await send(older, request(7, 9, "still here"))
                assert (await receive(newer)).uid == "still here"
            async with bed.client(9) as newer:
                assert await serial(newer) == 11
            await send(older, request(7, 7, payload=bytes(3_000_000)))  # many TLS records
            assert len((await receive(older)).plain) == 3_000_000
