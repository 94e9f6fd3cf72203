"""A relay in this process whose registry is the stand-in node of tfchain."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from websockets.asyncio.client import connect

from relay.app import RelayApp
from relay.config import RelayConfig
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.token import make_token
from tests.support.chain import needs_chain_data, stand_in_node
from tests.support.hosted_registry import signer
from tests.support.relay import ALONE, receive, receive_error, request, send

pytestmark = needs_chain_data

PATIENCE_S = 60.0


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something in this process."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


async def test_twins_of_the_chain_sign_in_and_move_away(tmp_path: Path) -> None:
    """Records come from the chain; a change reaches the relay by its event, without a question; so does one while the
    node was away."""
    async with stand_in_node() as node:
        a, b = [node.put_twin(signer(name).account, relay="relay.test") for name in "ab"]
        config = RelayConfig(
            domains=("relay.test",),
            substrate=(node.url,),
            listen_host="127.0.0.1",
            listen_port=0,
            data_folder=tmp_path,
            federation=ALONE,
        )
        async with RelayApp(config) as app:
            await until(lambda: app.metrics.chain_block == node.best.number)
            token = make_token(signer("a"), Address(a.id), int(time.time()))
            async with connect(f"{app.url}/?{token}", compression=None, open_timeout=PATIENCE_S) as client:
                await send(client, request(a.id, a.id, "to myself"))
                assert (await receive(client)).uid == "to myself"
                await send(client, request(a.id, b.id, "kept", tags="fail-fast"))
                assert await receive_error(client) == "destination offline"
                node.put_twin(b.account, relay="one.test")
                await until(lambda: app.metrics.chain_updated == 1)
                questions = node.faults.asked.count("state_queryStorageAt")
                await send(client, request(a.id, b.id))
                assert "one.test" in await receive_error(client)
                assert node.faults.asked.count("state_queryStorageAt") == questions
                await node.go_away()
                node.put_twin(b.account, relay="two.test")
                await until(lambda: app.metrics.chain_reconnecting)
                await node.listen()
                await until(lambda: app.metrics.chain_block == node.best.number)
                await send(client, request(a.id, b.id))
                assert "two.test" in await receive_error(client)
                assert app.metrics.chain_reconnects > 0
                assert not app.metrics.chain_reconnecting


async def test_a_relay_starts_without_its_chain(tmp_path: Path) -> None:
    """It waits for the chain in the background, and serves when the chain is there."""
    async with stand_in_node() as node:
        a = node.put_twin(signer("a").account, relay="relay.test")
        await node.go_away()
        config = RelayConfig(
            domains=("relay.test",), registry=node.url, listen_host="127.0.0.1", listen_port=0, data_folder=tmp_path
        )
        async with RelayApp(config) as app:
            await until(lambda: app.metrics.chain_reconnects > 0)
            await node.listen()
            await until(lambda: app.metrics.chain_block == node.best.number)
            token = make_token(signer("a"), Address(a.id), int(time.time()))
            async with connect(f"{app.url}/?{token}", compression=None, open_timeout=PATIENCE_S) as client:
                await send(client, request(a.id, a.id, "here"))
                assert (await receive(client)).uid == "here"
