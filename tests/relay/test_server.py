"""The one port: who is answered what (spec rmb 6.1, 6.11)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from relay.client_address import LOOPBACK
from relay.config import RateLimit
from relay.limit_settings import LimitSettings
from relay.token_bucket import Rate
from rmb_peer import __version__
from rmb_peer.protocol.envelope import MESSAGE_BYTES_MAX
from tests.support.proxy import proxy
from tests.support.relay import (
    DOMAIN,
    Directory,
    TestBed,
    metric,
    raw_http,
    receive,
    receive_error,
    relay,
    request,
    send,
    until,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TestBed]:
    async with relay(tmp_path_factory.mktemp("server"), Directory(7, 9), registry="none") as bed:
        yield bed


async def get(bed: TestBed, path: str, method: str = "GET") -> tuple[int, dict[str, str], str]:
    async with aiohttp.ClientSession() as session, session.request(method, bed.http + path) as answer:
        return answer.status, dict(answer.headers), await answer.text()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/nothing"),
        ("PUT", "/"),
        ("DELETE", "/metrics"),
        ("POST", "/metrics"),
        ("POST", "/healthz"),
        ("GET", "/metrics/"),
        ("GET", "/registry/v1/twins/1"),
        ("OPTIONS", "/"),
    ],
)
async def test_anything_else_is_not_found(bed: TestBed, method: str, path: str) -> None:
    """404 with a text and no content type, whatever the method."""
    status, headers, text = await get(bed, path, method)
    assert (status, text) == (404, "page not found")
    assert "Content-Type" not in headers


async def test_health(bed: TestBed) -> None:
    """200 while the store answers."""
    status, headers, text = await get(bed, "/healthz")
    assert (status, text) == (200, '{"status":"ok"}')
    assert headers["Content-Type"] == "application/json"


async def test_bad_health(tmp_path: Path) -> None:
    """503 with a reason while it does not; 200 again afterwards."""
    async with relay(tmp_path, Directory(), through=proxy) as bed:
        bed.proxy.cut()
        status, _, text = await get(bed, "/healthz")
        assert status == 503
        assert text.startswith('{"status":"failing","reason":"the store does not answer (')
        bed.proxy.down = False
        assert (await get(bed, "/healthz"))[0] == 200


async def test_what_clients_can_find_out(bed: TestBed) -> None:
    """Protocols, names, limits, registry and version."""
    async with aiohttp.ClientSession() as session, session.get(f"{bed.http}/.well-known/rmb") as answer:
        assert await answer.json() == {
            "protocols": ["rmb.1", "rmb.2"],
            "domains": [DOMAIN],
            "limits": {
                "message_bytes_max": MESSAGE_BYTES_MAX,
                "rate": None,
                "sessions_max": 500_000,
                "rate_messages": {"per_s": 50_000, "burst": 500_000},
                "rate_bytes": {"per_s": 128 * 2**20, "burst": 1280 * 2**20},
                "slow_s_max": 10.0,
                "sessions_per_twin": 256,
                "connections_per_address": 1000,
                "handshake_s": 10.0,
                "body_s": 30.0,
                "silent_connections_max": 4096,
                "admission": "open",
            },
            "retention": {
                "age_s": 604_800,
                "count": 10_000,
                "bytes": 134_217_728,
                "twin_count": 100_000,
                "twin_bytes": 536_870_912,
                "twin_mailboxes": 1000,
                "stored_bytes": 4_294_967_296,
                "when_full": "refuse",
            },
            "registry": None,
            "relay_key": bed.app.identity.public_key.hex(),
            "federation": {
                "name": DOMAIN,
                "unsigned": "refused",
                "link": True,
                "clock_s_max": 60,
                "rate": {"count": 30_000, "window_s": 60},
            },
            "software": f"rmb-relay {__version__}",
        }


async def test_limits_are_told(tmp_path: Path) -> None:
    """Configured limits are what clients read; a registry elsewhere is named."""
    limits = LimitSettings(rate_messages=Rate(7, 8), rate_bytes=None, sessions_per_twin=2, trusted_proxies=LOOPBACK)
    options = {"rate_limit": RateLimit(5, 1000), "message_bytes_max": 500, "sessions_max": 3, "limits": limits}
    registry = "https://registry.test"
    async with relay(tmp_path, Directory(), registry=registry, **options) as bed:  # type: ignore[arg-type]
        async with aiohttp.ClientSession() as session, session.get(f"{bed.http}/.well-known/rmb") as answer:
            told = await answer.json()
        assert told["limits"] == {
            "message_bytes_max": 500,
            "rate": {"count": 5, "bytes": 1000, "window_s": 60},
            "sessions_max": 3,
            **LimitSettings().told(),
            "rate_messages": {"per_s": 7, "burst": 8},
            "rate_bytes": None,
            "sessions_per_twin": 2,
        }
        assert told["registry"] == registry


async def test_headers_do_not_tell_the_parts(bed: TestBed) -> None:
    """The version of the relay is public, the versions of its libraries are not."""
    _, headers, _ = await get(bed, "/healthz")
    assert headers["Server"] == f"rmb-relay/{__version__}"


async def test_connections_are_reused(bed: TestBed) -> None:
    """HTTP/1.1 keep-alive: several requests on one connection."""
    host, _, port = bed.app.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    for _ in range(3):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        await reader.readexactly(len('{"status":"ok"}'))
    writer.close()


@pytest.mark.parametrize("data", [b"\x00\x01\x02\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET  HTTP/1.1\r\n\r\n"])
async def test_noise_is_a_bad_request(bed: TestBed, data: bytes) -> None:
    """What is no HTTP is answered 400, and the relay lives on."""
    status, _, _ = await raw_http(bed.app.address, data)
    assert status == 400
    assert (await get(bed, "/healthz"))[0] == 200


async def test_metrics(bed: TestBed) -> None:
    """Every name of 6.11 that means something here, exactly, and the process's own; values follow what happens."""
    async with bed.client(7) as client, bed.client(9) as other:
        before = (await get(bed, "/metrics"))[2]
        data = await send(client, request(7, 9))
        await receive(other)
        await send(client, request(7, 4711))
        await receive_error(client)
        await until(lambda: bed.app.metrics.confirmations >= 2)
        status, headers, after = await get(bed, "/metrics")
    assert status == 200
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"

    def grown(name: str) -> float:
        return metric(after, name) - metric(before, name)

    assert metric(after, 'relay_worker_connections{worker="0"}') == 2
    assert grown("relay_message_rx") == grown("relay_message_tx") == 2
    assert grown("relay_message_rx_bytes") == grown("relay_message_tx_bytes") > len(data)
    assert grown("relay_confirmations_total") == 2
    assert metric(after, 'relay_refusals_total{reason="unknown_twin"}') == 1
    assert metric(after, "process_open_fds") > 0
    for reason in ("closed", "back_pressure_timeout", "cancelled"):
        assert metric(after, f'relay_session_evictions_total{{reason="{reason}"}}') == 0
    for name in ("relay_append_failures_total", "relay_poison_total", "relay_replies_dropped_total"):
        assert metric(after, name) == 0
    assert metric(after, "rmb_cache_hits_total") > metric(before, "rmb_cache_hits_total")
    await until(lambda: bed.app.metrics.sessions() == 0)
    assert metric((await get(bed, "/metrics"))[2], 'relay_session_evictions_total{reason="closed"}') == 2
