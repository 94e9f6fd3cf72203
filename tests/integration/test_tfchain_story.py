"""The whole story on tfchain: twins made by commands; a relay and gateways, as processes, find them on the chain.

They run against the real runtime, where `RMB_TFCHAIN_WASM` names one. One runs against the stand-in node besides; what
single commands do there is tested with less effort elsewhere.
"""

import asyncio
import base64
import json
import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from rmb_peer.cli import main
from rmb_peer.protocol.identity import Identity
from rmb_peer.protocol.signatures import KEY_TYPES, KeyType
from tests.support.chain import data, real, stand_in_node
from tests.support.chain.development import fund, new_blocks
from tests.support.processes import Ended, run_here
from tests.support.programs import RelayProgram, new_secret, payload, running, site

pytestmark = pytest.mark.timeout(900)  # the real runtime is installed first, on a machine that may be busy

COMMAND_S_MAX = 120.0
PATIENCE_S = 60.0
TERMS = ("--accept-terms", "https://example.org/terms", "d41d8cd98f00b204e9800998ecf8427e")


@pytest.fixture(params=["stand-in", "real"])
async def chain(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """The URL of a fresh chain."""
    missing = real.why_not() if request.param == "real" else data.why_not()
    if missing:
        pytest.skip(missing)
    if request.param == "real":
        async with real.real_chain(tmp_path) as url:
            yield url
    else:
        async with stand_in_node() as node:
            yield node.url


class Somebody:
    """An account with funds, whose twin is handled with the commands of `rmb-peer twin`."""

    def __init__(self, chain: str, key_type: KeyType) -> None:
        self.chain = chain
        self.key_type = key_type
        self.secret = new_secret()
        self.identity = Identity.from_secret(self.secret, key_type, os.urandom)

    async def command(self, action: str, *flags: str) -> Ended:
        """`rmb-peer twin ACTION` in this one's name."""
        keys = ("--key-type", self.key_type) if action in ("create", "update") else ()
        secret = {"RMB_MNEMONIC": self.secret}
        async with asyncio.timeout(COMMAND_S_MAX):
            return await run_here(main, "twin", action, *flags, *keys, "--substrate", self.chain, "--json", env=secret)

    async def record(self, action: str, *flags: str) -> dict[str, Any]:
        """The record that a command prints."""
        ended = await self.command(action, *flags)
        assert ended.code == 0, ended.err
        found = json.loads(ended.out)
        assert isinstance(found, dict)
        return found

    async def join(self, *relays: str) -> dict[str, Any]:
        """Get funds, then a twin."""
        await fund(self.chain, self.identity.account)
        named = [word for relay in relays for word in ("--relay", relay)]
        return await self.record("create", *TERMS, *named)


@pytest.mark.parametrize("chain", ["real"], indirect=True)
@pytest.mark.parametrize("key_type", KEY_TYPES)
async def test_a_twin_is_made_and_changed(chain: str, key_type: KeyType) -> None:
    """Create with terms, look up, change: the chain holds what was asked for, with either type of key."""
    somebody = Somebody(chain, key_type)
    poor = await somebody.command("create", *TERMS, "--relay", "wss://relay.example.org")
    assert poor.code == 1, poor
    made = await somebody.join("wss://one.example.org", "wss://two.example.org")
    assert made["account_hex"].removeprefix("0x") == somebody.identity.account.hex()
    assert made["public_key"] == somebody.identity.public_key.hex()
    assert made["relays"] == ["one.example.org", "two.example.org"]
    assert await somebody.record("show", str(made["id"])) == made
    again = await somebody.command("create", *TERMS, "--relay", "wss://one.example.org")
    assert again.code == 1
    assert "already" in again.err
    changed = await somebody.record("update", "--relay", "wss://three.example.org", "--plain")
    assert changed == made | {"relays": ["three.example.org"], "public_key": None}
    assert await somebody.record("show", "--account", somebody.identity.account.hex()) == changed
    refused = await somebody.command("update", "--relay", "wss://a.example.org")
    assert refused.code == 1
    assert "one letter" in refused.err


@pytest.mark.parametrize("chain", ["real"], indirect=True)
async def test_terms_come_first(chain: str) -> None:
    """Without accepted terms the chain makes no twin, and the command says what to do."""
    somebody = Somebody(chain, "sr25519")
    await fund(chain, somebody.identity.account)
    ended = await somebody.command("create", "--relay", "wss://relay.example.org")
    assert ended.code == 1
    assert "--accept-terms" in ended.err


async def test_gateways_meet_over_a_relay(chain: str, tmp_path: Path) -> None:
    """Two gateways find each other on the chain, whatever their keys; a change on chain reaches the relay at once."""
    people = [Somebody(chain, key_type) for key_type in KEY_TYPES]
    # Their gateways find another relay in the record, and put the true one there.
    for somebody in people:
        await somebody.join("wss://old.example.org")
    relay = RelayProgram(tmp_path / "relay", "--substrate", chain, "--domain", "localhost", "--no-federation")
    async with running(relay), AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(_gateway(somebody, relay, tmp_path / somebody.key_type))
            for somebody in people
        ]
        for one, other in ((first, second), (second, first)):
            other.serve("echo", lambda data: b"<" + data + b">")
            await one.push(other.twin, cmd="echo", dat=base64.b64encode(b'"hello"').decode(), exp=120)
            reply = await one.pop(timeout_s=PATIENCE_S)
            assert not reply.get("err"), reply
            assert payload(reply) == b'<"hello">'
        await second.gateway.stop()
        await people[1].record("update", "--relay", "wss://elsewhere.example.org")
        await new_blocks(chain)
        await _metric(relay, "events_listener_twin_updated_total", lambda value: value >= 1)
        await first.push(second.twin, cmd="echo", exp=120)
        reply = await first.pop(timeout_s=PATIENCE_S)
        assert "elsewhere.example.org" in reply["err"]["message"], reply
        assert await _metric(relay, "rmb_cache_entries", lambda value: value > 0) == 2


def _gateway(somebody: Somebody, relay: RelayProgram, folder: Path) -> Any:
    """A connected gateway in somebody's name, as an asynchronous context of a `Site`; its first node is dead."""
    nobody = "ws://127.0.0.1:1"
    flags = ("--substrate", nobody, "--substrate", somebody.chain, "--key-type", somebody.key_type)
    place: Any = site(folder, [relay.url], *flags, secret=somebody.secret)
    return place


async def _metric(relay: RelayProgram, name: str, condition: Callable[[float], bool]) -> float:
    """The value of a metric of the relay, once it is as it should be."""
    async with asyncio.timeout(PATIENCE_S), aiohttp.ClientSession() as client:
        while True:
            async with client.get(f"http://127.0.0.1:{relay.port}/metrics") as answer:
                found = re.search(rf"^{name} (\S+)$", await answer.text(), re.MULTILINE)
            assert found is not None, name
            if condition(float(found[1])):
                return float(found[1])
            await asyncio.sleep(0.1)
