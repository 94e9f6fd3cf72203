"""What others notice when the relay stops: notice, then sessions one by one; and the port for operators."""

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from relay.draining import stop_one_by_one
from relay.operating import Operating
from tests.support.relay import Directory, receive, relay, request, send, until


async def get(address: str, path: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(f"http://{address}{path}") as answer:
        return answer.status


async def test_the_port_for_operators(tmp_path: Path) -> None:
    """What it offers is nowhere else; what gateways need is not there."""
    operating = Operating(admin_host="127.0.0.1")
    async with relay(tmp_path, Directory(), operating=operating) as bed:
        for path in ("/metrics", "/healthz", "/readyz"):
            assert await get(bed.app.address, path) == 404
            assert await get(bed.app.admin_address, path) == 200
        assert await get(bed.app.admin_address, "/.well-known/rmb") == 404
        assert await get(bed.app.address, "/.well-known/rmb") == 200


async def test_notice_is_given_first(tmp_path: Path) -> None:
    """Not ready, while messages still flow and new sessions are taken; then clients hear when to come back."""
    operating = Operating(drain_notice_s=600.0, admin_host="127.0.0.1")
    async with relay(tmp_path, Directory(7, 9), operating=operating) as bed:
        app = bed.app
        assert await get(app.admin_address, "/readyz") == 200
        async with bed.client(7) as first:
            giving_notice = asyncio.Event()
            patience = asyncio.Event()

            async def sleep(seconds: float) -> None:
                assert seconds == 600.0
                giving_notice.set()
                await patience.wait()

            app._sleep = sleep
            stopping = asyncio.create_task(app.__aexit__(None, None, None))
            await giving_notice.wait()
            assert await get(app.admin_address, "/readyz") == 503
            async with bed.client(9) as second:
                await send(first, request(7, 9, "while stopping"))
                assert (await receive(second)).uid == "while stopping"
            patience.set()
            with pytest.raises(ConnectionClosed) as closed:
                await receive(first)
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (
                1001,
                "relay is shutting down; retry after 2 s",
            )
        await stopping


async def test_those_who_are_not_told_yet_are_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the first and the last that is told to go, messages flow, and nobody new comes in."""
    gate = asyncio.Event()

    async def sleep(seconds: float) -> None:
        await gate.wait()

    monkeypatch.setattr("relay.server.stop_one_by_one", partial(stop_one_by_one, sleep=sleep, shuffle=lambda _: None))
    async with relay(tmp_path, Directory(7, 8, 9), operating=Operating(drain_s=3600.0)) as bed:
        clients = {}
        async with AsyncExitStack() as stack:
            for twin in (7, 8, 9):
                clients[twin] = await stack.enter_async_context(bed.client(twin))
            stopping = asyncio.create_task(bed.app.__aexit__(None, None, None))
            await until(lambda: bed.app.metrics.sessions() == 2)
            left = [twin for twin, client in clients.items() if client.state is State.OPEN]
            gone = await until(lambda: [twin for twin, client in clients.items() if client.state is not State.OPEN])
            one, other = (twin for twin in left if twin not in gone)
            await send(clients[one], request(one, other, "still"))
            assert (await receive(clients[other])).uid == "still"
            with pytest.raises(OSError, match="Connect call failed"):
                await bed.client(gone[0])
            gate.set()
            await stopping
