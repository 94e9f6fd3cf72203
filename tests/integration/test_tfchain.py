"""A real gateway process whose twin is on the stand-in chain, which goes away."""

from pathlib import Path

import pytest

from rmb_peer.embedded.valkey import EmbeddedValkey
from tests.support.chain import needs_chain_data, stand_in_node
from tests.support.chain_client import vectors
from tests.support.programs import GatewayProgram

pytestmark = [needs_chain_data, pytest.mark.timeout(300)]  # processes that load the library, on a busy machine

PHRASE = vectors()["identity"]["mnemonic"]
PK = bytes.fromhex(vectors()["identity"]["pk"])
ACCOUNTS = {kind: bytes.fromhex(vectors()["identity"][kind][0]) for kind in ("sr25519", "ed25519")}


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
