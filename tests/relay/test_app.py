"""The relay as a whole, in this process: wiring of the registry, names, start and stop."""

import asyncio
import logging
import secrets
import socket
import time
from pathlib import Path

import aiohttp
import pytest
from websockets.asyncio.client import connect

from relay.app import RelayApp, StartFailed
from relay.config import RelayConfig, default_domains
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.names import relay_of_url
from rmb_peer.protocol.token import make_token
from rmb_peer.protocol.twin_record import sign_twin
from rmb_peer.registry.opening import open_registry, registry_of_relay
from tests.support.hosted_registry import signer
from tests.support.relay import ALONE, LogLines, receive, receive_error, request, send


def config(folder: Path, **options: object) -> RelayConfig:
    return RelayConfig(listen_host="127.0.0.1", listen_port=0, data_folder=folder, **options)  # type: ignore[arg-type]


async def test_the_hosted_registry_end_to_end(tmp_path: Path) -> None:
    """Twins find the registry through the relay, register there, sign in with it, and talk; unknown twins do not."""
    async with RelayApp(config(tmp_path)) as app:
        registry = open_registry(await registry_of_relay(app.url))
        try:
            name = app.address
            twins = {key: await registry.put(signer(key), frozenset({name}), None) for key in ("a", "b")}
        finally:
            await registry.close()

        def client(key: str) -> connect:
            owner = Address(twins[key].id)
            return connect(f"{app.url}/?{make_token(signer(key), owner, int(time.time()))}", compression=None)

        async with client("a") as a:
            await send(a, request(twins["a"].id, twins["b"].id, "waits"))
            await send(a, request(twins["a"].id, twins["b"].id, "not", tags="fail-fast"))
            assert await receive_error(a) == "destination offline"
            async with client("b") as b:
                assert (await receive(b)).uid == "waits"
                await send(b, request(twins["b"].id, twins["a"].id, "back"))
                assert (await receive(a)).uid == "back"
            await send(a, request(twins["a"].id, 4711))
            assert await receive_error(a) == "unknown twin destination"


async def test_a_change_of_a_record_is_seen_at_once(tmp_path: Path) -> None:
    """The relay follows its registry: a twin that moves away is foreign without waiting for a cache."""
    async with RelayApp(config(tmp_path, federation=ALONE)) as app:
        registry = open_registry(await registry_of_relay(app.url))
        try:
            a = await registry.put(signer("a"), frozenset({app.address}), None)
            b = await registry.put(signer("b"), frozenset({app.address}), None)
            token = make_token(signer("a"), Address(a.id), int(time.time()))
            async with connect(f"{app.url}/?{token}", compression=None) as client:
                await send(client, request(a.id, b.id, tags="fail-fast"))
                assert await receive_error(client) == "destination offline"
                await registry.put(signer("b"), frozenset({"elsewhere.test"}), None)
                async with asyncio.timeout(60):
                    text = "destination offline"
                    while text == "destination offline":
                        await send(client, request(a.id, b.id, tags="fail-fast"))
                        text = await receive_error(client)
                assert "uses other relays (elsewhere.test)" in text
        finally:
            await registry.close()


async def test_a_registry_elsewhere(tmp_path: Path) -> None:
    """Any registry that can be opened by URL, here a file, tells the relay who is who."""
    path = tmp_path / "twins.json"
    account = signer("a").account.hex()
    path.write_text(f'{{"twins": [{{"id": 7, "account": "{account}", "relays": ["relay.test"]}}]}}')
    async with RelayApp(config(tmp_path / "data", registry=f"file:{path}", domains=("relay.test",))) as app:
        token = make_token(signer("a"), Address(7), int(time.time()))
        async with connect(f"{app.url}/?{token}", compression=None) as client:
            await send(client, request(7, 8))
            assert await receive_error(client) == "unknown twin destination"
        url = app.url.replace("ws", "http", 1) + "/registry/v1/twins/7"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            assert answer.status == 404


async def test_no_registry_means_nobody(tmp_path: Path) -> None:
    """It is said at the start, and every sign-in is refused."""
    with LogLines("rmb.relay") as lines:
        async with RelayApp(config(tmp_path, registry="none")) as app, aiohttp.ClientSession() as session:
            token = make_token(signer("a"), Address(7), int(time.time()))
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(f"{app.url}/?{token}")
            assert refused.value.status == 401
    assert lines.named("no registry: no twin is known, so nobody can sign in")[0]["level"] == logging.WARNING


def test_default_domains() -> None:
    """Names of this machine: loopback with the port, the host name with and without it."""
    host = socket.gethostname().lower()
    assert {"localhost:8080", "127.0.0.1:8080", "[::1]:8080"} <= default_domains(8080)
    assert default_domains(8080) - {"localhost:8080", "127.0.0.1:8080", "[::1]:8080"} <= {host, f"{host}:8080"}
    for port in (80, 8080):
        for url in (f"ws://localhost:{port}", f"ws://127.0.0.1:{port}", f"ws://[::1]:{port}"):
            assert relay_of_url(url) in default_domains(port)


async def test_the_start_is_told(tmp_path: Path) -> None:
    """One line with the real address and the names, which scripts read when the port was 0."""
    with LogLines("rmb.relay") as lines:
        async with RelayApp(config(tmp_path, registry="none")) as app:
            port = int(app.address.rpartition(":")[2])
            assert app.url == f"ws://{app.address}"
    (line,) = lines.named("listening")
    assert line["level"] == logging.INFO
    assert line["address"] == f"127.0.0.1:{port}"
    assert line["domains"] == sorted(default_domains(port))


async def test_a_failed_start_leaves_nothing_behind(tmp_path: Path) -> None:
    """After a start that failed late, port and data folder can be used again at once."""
    before = set(asyncio.all_tasks())
    with pytest.raises(Exception, match="is not a registry"):
        async with RelayApp(config(tmp_path, registry="gopher://x")):
            raise AssertionError("it must not start")
    assert set(asyncio.all_tasks()) == before
    async with RelayApp(config(tmp_path, registry="none")) as app:
        port = int(app.address.rpartition(":")[2])
        again = RelayConfig(listen_host="127.0.0.1", listen_port=port, data_folder=tmp_path / "other")
        with pytest.raises(StartFailed, match="Address already in use"):
            await RelayApp(again).__aenter__()


async def test_stopping_twice_is_harmless(tmp_path: Path) -> None:
    """And no task outlives the relay."""
    before = set(asyncio.all_tasks())
    app = RelayApp(config(tmp_path))
    async with app:
        pass
    await app.__aexit__(None, None, None)
    assert set(asyncio.all_tasks()) == before


async def test_a_record_must_be_signed_by_its_twin(tmp_path: Path) -> None:
    """The registry routes are those of the registry, not a shadow of them: a forged record is refused."""
    async with RelayApp(config(tmp_path)) as app, aiohttp.ClientSession() as session:
        url = app.url.replace("ws", "http", 1) + "/registry/v1/twins/1"
        registry = open_registry(await registry_of_relay(app.url))
        twin = await registry.put(signer("a"), frozenset(), None)
        await registry.close()
        forged = sign_twin(twin, signer("a")).to_json() | {"version": 2, "signature": secrets.token_hex(65)}
        async with session.put(url, json=forged) as answer:
            assert 400 <= answer.status < 500
            assert answer.content_type == "application/json"
