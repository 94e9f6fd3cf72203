"""A gateway whose store refuses every write while it starts."""

import asyncio
from pathlib import Path

import pytest

from rmb_peer import app
from rmb_peer.app import Gateway
from rmb_peer.config import GatewayConfig
from rmb_peer.local import keys
from rmb_peer.own_record import encode_own_record
from rmb_peer.protocol.twin import Twin
from tests.support.gateways import new_identity
from tests.support.services import valkey


async def test_a_gateway_that_waits_for_its_store_can_be_stopped(tmp_path: Path) -> None:
    """Its record is known, the disk or memory is full: told to stop, it ends instead of waiting for ever."""
    identity = new_identity()
    twin = Twin(1, identity.account, frozenset({"localhost"}), identity.public_key, 0)
    twins = tmp_path / "twins.toml"
    twins.write_text(
        f'[[twins]]\nid = 1\naccount = "0x{twin.account.hex()}"\nrelays = ["localhost"]\n'
        f'pk = "{identity.public_key.hex()}"\n'
    )
    async with valkey(tmp_path / "store", port=0) as (store, redis):
        await redis.set(keys.OWN_RECORD, encode_own_record(twin, f"file:{twins}"))
        await redis.config_set("maxmemory", "1")
        config = GatewayConfig(
            key_type="ed25519", redis=store.url, relay=("ws://127.0.0.1:1",), registry=f"file:{twins}", no_update=True
        )
        gateway = Gateway(config, identity)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(app, "KNOWN_RECORD_PATIENCE_S", 0.0)
            running = asyncio.create_task(gateway.run())
            async with asyncio.timeout(60):
                while gateway.twin is None:
                    await asyncio.sleep(0.01)  # polls what another task sets
        try:
            gateway.stop()
            done, _ = await asyncio.wait({running}, timeout=30)
            assert done
            running.result()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
