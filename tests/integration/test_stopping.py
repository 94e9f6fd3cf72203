"""A gateway process that is told to stop while a relay has not acknowledged everything yet (rmb.2)."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from rmb_peer.local import keys
from rmb_peer.protocol.identity import Identity
from rmb_peer.protocol.link.endings import IS_SAFE
from tests.support.gateways import new_identity, request_json
from tests.support.linked_relay import LinkedRelay, linked_relay
from tests.support.programs import GatewayProgram, new_secret
from tests.support.services import valkey

OTHER = 2


@asynccontextmanager
async def gateway_and_relay(folder: Path) -> AsyncIterator[tuple[GatewayProgram, LinkedRelay, Any]]:
    """A gateway, known from a file, a relay that says nothing about what it gets, and a client of the store."""
    secret = new_secret()
    known = Identity.from_secret(secret, "sr25519", os.urandom), new_identity()
    records = [
        f'[[twins]]\nid = {number}\naccount = "0x{identity.account.hex()}"\nrelays = ["localhost"]\n'
        f'pk = "{identity.public_key.hex()}"\n'
        for number, identity in enumerate(known, 1)
    ]
    (folder / "twins.toml").write_text("".join(records))
    async with linked_relay() as relay, valkey(folder / "store", port=0) as (store, client):
        relay.ends = lambda envelope: None
        registry = ("--registry", f"file:{folder / 'twins.toml'}", "--no-update")
        gateway = GatewayProgram([relay.url], store.url, secret, *registry)
        await gateway.start()
        try:
            await gateway.connected()
            redis: Any = client
            await redis.lpush(keys.LOCAL_REQUESTS, request_json(OTHER, exp=300))
            await relay.until(lambda: relay.held)
            yield gateway, relay, redis
        finally:
            await gateway.stop()


async def test_stopping_waits_for_the_relay(tmp_path: Path) -> None:
    """What is acknowledged in time is forgotten, and the end is an orderly one."""
    async with gateway_and_relay(tmp_path) as (gateway, relay, redis):
        os.kill(gateway.pid, signal.SIGTERM)
        await gateway.event("stopping")
        relay.held[0].end(IS_SAFE)
        assert await gateway.ended() == 0
        assert await redis.xlen(keys.OUTBOX) == 0
        assert gateway.events[-1]["event"] == "stopped"


async def test_what_is_not_acknowledged_goes_out_at_the_next_start(tmp_path: Path) -> None:
    """After five seconds the gateway ends all the same; the message stays, and is sent again as the same one."""
    async with gateway_and_relay(tmp_path) as (gateway, relay, redis):
        assert await gateway.stop() == 0
        assert any(line["event"].startswith("stopped before everything had ended") for line in gateway.events)
        assert await redis.xlen(keys.OUTBOX) == 1
        relay.ends = lambda envelope: IS_SAFE
        await gateway.start()
        await relay.until(lambda: len(relay.received) == 2)
        first, again = relay.received
        assert (first.uid, first.once) == (again.uid, again.once)
        async with asyncio.timeout(60):
            while await redis.xlen(keys.OUTBOX):
                await asyncio.sleep(0.01)  # polls a real process
