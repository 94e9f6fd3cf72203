"""Real processes with their twins on the stand-in chain: a relay and two gateways, and a gateway without its chain."""

import base64
from pathlib import Path

import pytest

from rmb_peer.embedded.valkey import EmbeddedValkey
from tests.support.chain import needs_chain_data, stand_in_node
from tests.support.chain_client import vectors
from tests.support.programs import GatewayProgram, RelayProgram, payload, running, site

pytestmark = [needs_chain_data, pytest.mark.timeout(300)]  # processes that load the library, on a busy machine

PHRASE = vectors()["identity"]["mnemonic"]
PK = bytes.fromhex(vectors()["identity"]["pk"])
ACCOUNTS = {kind: bytes.fromhex(vectors()["identity"][kind][0]) for kind in ("sr25519", "ed25519")}


async def test_a_message_crosses(tmp_path: Path) -> None:
    """Gateways of both key types write their records at start, over a list whose first node is dead, and talk."""
    async with stand_in_node() as node:
        for account in ACCOUNTS.values():
            node.fund(account)
            node.put_twin(account, relay="old.test")
        chain = ("--substrate", "ws://127.0.0.1:1", "--substrate", node.url)
        relay = RelayProgram(tmp_path / "relay", "--domain", "localhost", *chain[-2:])
        async with running(relay):
            a_flags, b_flags = (*chain, "-k", "sr25519"), (*chain, "-k", "ed25519")
            async with (
                site(tmp_path / "a", [relay.url], *a_flags, secret=PHRASE) as a,
                site(tmp_path / "b", [relay.url], *b_flags, secret=PHRASE) as b,
            ):
                assert [(twin.relay, twin.pk) for twin in node.twins.values()] == [(b"localhost", PK)] * 2
                await a.push(b.twin, dat=base64.b64encode(b"ping").decode(), exp=120)
                request = await b.pop("msgbus.test.echo", timeout_s=60)
                assert (request["src"], payload(request)) == (str(a.twin), b"ping")
                await b.respond(request, b"pong")
                assert payload(await a.pop(timeout_s=60)) == b"pong"


async def test_start_without_twin_and_without_chain(tmp_path: Path) -> None:
    """No twin ends the program; a known record carries it through a chain that is away; nothing is written twice."""
    account = ACCOUNTS["ed25519"]
    store = await EmbeddedValkey.start(tmp_path / "store", port=0)
    gateway: GatewayProgram | None = None
    try:
        async with stand_in_node() as node:
            flags = ("--substrate", node.url, "-k", "ed25519")
            gateway = GatewayProgram(["ws://localhost:1"], store.url, PHRASE, *flags)
            with pytest.raises(AssertionError, match="no twin found on this network with given key"):
                await gateway.start()
            assert await gateway.ended() == 1
            node.fund(account)
            node.put_twin(account, relay="aa.test_bb.test", pk=PK)
            blocks = node.best.number
            await gateway.start()
            await gateway.event(
                "our record lists relays that this gateway does not use, and is left so: "
                "--overwrite-relays replaces them"
            )
            assert await gateway.stop() == 0
            assert node.best.number == blocks
        await gateway.start()
        await gateway.event("the registry of twins does not answer: going on with our record as it was last seen")
        assert gateway.twin == 1
        assert await gateway.stop() == 0
    finally:
        if gateway is not None:
            await gateway.stop()
        await store.stop()
