"""The stand-in node, seen through substrate-interface: what other tests of the chain may rely on."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from typing import Any, TypeVar

import pytest
from substrateinterface import Keypair, KeypairType, SubstrateInterface
from substrateinterface.exceptions import SubstrateRequestException
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from rmb_peer.registry.tfchain.metadata import RememberingInterface
from tests.support.chain import (
    TFT_UNITS,
    Delay,
    Drop,
    Fail,
    Hold,
    Ignore,
    Raw,
    Result,
    StandIn,
    needs_chain_data,
    stand_in_node,
)
from tests.support.chain.node import MOVED_PALLET
from tests.support.processes import background, environment

pytestmark = needs_chain_data

T = TypeVar("T")
PHRASE = "bottom drive obey lake curtain smoke basket hold race lonely fit walk"
SR = Keypair.create_from_mnemonic(PHRASE, crypto_type=KeypairType.SR25519)
ED = Keypair.create_from_mnemonic(PHRASE, crypto_type=KeypairType.ED25519)
PK = bytes.fromhex("035b26108e8b97479c547da4860d862dc08ab2c29ada449c74d5a9a58a6c46a8c4")
TIMEOUT_S = 30
"""For the library; generous, so that a loaded machine fails no test."""


@pytest.fixture
async def node() -> AsyncIterator[StandIn]:
    """A stand-in whose two test accounts have funds."""
    async with stand_in_node() as node:
        for pair in (SR, ED):
            node.fund(pair.public_key)
        yield node


async def talk(
    node: StandIn, act: Callable[[SubstrateInterface], T], library: type[SubstrateInterface] = RememberingInterface
) -> T:
    """Run something with the library connected, in a thread, since it blocks.

    As a rule it remembers decoded metadata, which differs from the unmodified library in nothing but time.
    """

    def run() -> T:
        with closing(library(node.url, ws_options={"timeout": TIMEOUT_S})) as substrate:
            return act(substrate)

    return await asyncio.to_thread(run)


def send(substrate: SubstrateInterface, pair: Keypair, function: str, **changes: Any) -> Any:
    """Submit a call of the pallet and wait until it is final."""
    parameters = changes.pop("parameters", None)
    module = changes.pop("module", "TfgridModule")
    call = substrate.compose_call(module, function, parameters or {})
    extrinsic = substrate.create_signed_extrinsic(call, pair, **changes)
    return substrate.submit_extrinsic(extrinsic, wait_for_finalization=True)


TERMS = {"document_link": b"https://example.org/t", "document_hash": b"ab12"}


def event_names(receipt: Any) -> list[str]:
    return [f"{e.value['module_id']}.{e.value['event_id']}" for e in receipt.triggered_events]


@pytest.mark.parametrize("pair", [SR, ED], ids=["sr25519", "ed25519"])
async def test_accept_create_update_and_read(node: StandIn, pair: Keypair) -> None:
    """Both key types go the whole way; records, events and fees are those of the specification."""

    def story(substrate: SubstrateInterface) -> None:
        accepted = send(substrate, pair, "user_accept_tc", parameters=TERMS)
        assert accepted.is_success
        assert event_names(accepted)[-1] == "System.ExtrinsicSuccess"
        created = send(substrate, pair, "create_twin", parameters={"relay": None, "pk": None}, era={"period": 64})
        assert created.is_success
        assert created.total_fee_amount == 10_109  # 10 108 for an immortal one (spec tfchain 6): an era has two bytes
        updated = send(substrate, pair, "update_twin", parameters={"relay": b"relay.example.com", "pk": PK})
        assert event_names(updated) == [
            "Balances.Withdraw", "TfgridModule.TwinUpdated", "Balances.Deposit",
            "TransactionPayment.TransactionFeePaid", "System.ExtrinsicSuccess",
        ]  # fmt: skip
        assert substrate.query("TfgridModule", "TwinIdByAccountID", [pair.ss58_address]).value == 1
        twin = substrate.query("TfgridModule", "Twins", [1])
        assert (twin.value["id"], twin.value["account_id"]) == (1, pair.ss58_address)
        assert bytes(twin.value_object["relay"].value_object.value_object) == b"relay.example.com"
        assert bytes(twin.value_object["pk"].value_object.value_object) == PK
        assert substrate.query("System", "Account", [pair.ss58_address]).value["nonce"] == 3
        terms = substrate.query("TfgridModule", "UsersTermsAndConditions", [pair.ss58_address]).value
        assert [term["document_link"] for term in terms] == ["https://example.org/t"]
        assert [key.value for key, _ in substrate.query_map("TfgridModule", "Twins")] == [1]

    await talk(node, story, library=SubstrateInterface)
    twin = node.twins[1]
    assert (twin.account, twin.relay, twin.pk) == (pair.public_key, b"relay.example.com", PK)
    account = node.account(pair.public_key)
    assert account is not None
    assert account.free < 100 * TFT_UNITS


async def test_storage_is_that_of_the_vectors(node: StandIn) -> None:
    """Keys and values are byte for byte those of spec tfchain 2."""
    alice = bytes.fromhex("d43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d")
    node.put_twin(alice, relay="relay.example.com", pk=b"\2" + b"\x11" * 32)
    prefix = "0x19a2526838feefd7695a3b5715b415b1"
    key = prefix + "311378229266fc86f673a3f4cf398e69d82c12285b5d4551f88e8f6e7eb52b8101000000"
    by_account = prefix + "aca6514962aa3f0d58aff3524045f9e0de1e86a9a8c739864cf3cc5ec2bea59f" + alice.hex()
    async with connect(node.url) as client:
        assert await ask(client, "state_getStorage", key) == (
            "0x01000000" + alice.hex() + "014472656c61792e6578616d706c652e636f6d00018402" + "11" * 32
        )
        assert await ask(client, "state_getStorage", by_account) == "0x01000000"
        answer = await ask(client, "state_queryStorageAt", [key, by_account, prefix])
        assert [change[0] for change in answer[0]["changes"]] == [key, by_account, prefix]
        assert answer[0]["changes"][2][1] is None


ERRORS: dict[str, tuple[list[tuple[str, dict[str, Any]]], str]] = {
    "create-without-terms": ([("create_twin", {"relay": None, "pk": None})], "UserDidNotSignTermsAndConditions"),
    "create-twice": (
        [("user_accept_tc", TERMS), *[("create_twin", {"relay": None, "pk": None})] * 2],
        "TwinWithPubkeyExists",
    ),
    "create-bad-relay": ([("user_accept_tc", TERMS), ("create_twin", {"relay": b"a.b.c", "pk": None})],
                         "InvalidRelayAddress"),
    "update-without-twin": ([("update_twin", {"relay": None, "pk": None})], "TwinNotExists"),
    "link-empty": ([("user_accept_tc", TERMS | {"document_link": b""})], "DocumentLinkInputTooShort"),
    "link-percent": ([("user_accept_tc", TERMS | {"document_link": b"a%20"})], "InvalidDocumentLinkInput"),
    "hash-empty": ([("user_accept_tc", TERMS | {"document_hash": b""})], "DocumentHashInputTooShort"),
    "hash-dot": ([("user_accept_tc", TERMS | {"document_hash": b"a.b"})], "InvalidDocumentHashInput"),
}  # fmt: skip


async def test_dispatch_errors_arrive_by_their_names(node: StandIn) -> None:
    """Each row of the table of errors (spec tfchain 3): the fee is taken, nothing changes, the name is right."""

    def story(substrate: SubstrateInterface) -> None:
        for row, (calls, name) in ERRORS.items():
            pair = Keypair.create_from_seed(row.encode().ljust(32, b".").hex())
            node.fund(pair.public_key)
            receipt = None
            for function, parameters in calls:
                receipt = send(substrate, pair, function, parameters=parameters)
            assert receipt is not None
            assert not receipt.is_success
            assert receipt.error_message["name"] == name, row
            account = node.account(pair.public_key)
            assert account is not None
            assert account.nonce == len(calls)

    await talk(node, story)


RELAYS = {
    "relay.example.com": True, "localhost": True, "127.0.0.1": True, "UPPER.COM": True, "_": True, "-a": True,
    "relay.example.com_": True, "a" * 1024: True, "xx.a.b": True, "ab.c.de": True, "r1.ex.com_a.b.com": True,
    "a_.b": True, "r1.example.com_r2.example.com": True, "": False, "127.0.0.1:8080": False, "a/b": False,
    "é.com": False, ".example.com": False, "example.com.": False, "exa..mple": False, "a.example.com": False,
    "x.a.b": False, "_.a": False,
}  # fmt: skip


@pytest.mark.parametrize(("relay", "accepted"), RELAYS.items(), ids=[text[:20] or "empty" for text in RELAYS])
def test_relay_table(relay: str, accepted: bool) -> None:
    """Every row of spec tfchain 4."""
    from tests.support.chain.pallet import relay_is_accepted

    assert relay_is_accepted(relay.encode()) is accepted


async def test_pool_refusals(node: StandIn) -> None:
    """Bad signature, used nonce, no funds, too long: refused before a block, with a node's codes."""

    def refusal(substrate: SubstrateInterface, pair: Keypair, relay: bytes | None = None, **changes: Any) -> Any:
        with pytest.raises(SubstrateRequestException) as caught:
            send(substrate, pair, "update_twin", parameters={"relay": relay, "pk": None}, **changes)
        return caught.value.args[0]

    def story(substrate: SubstrateInterface) -> None:
        bad = refusal(substrate, SR, signature=b"\1" + bytes(64))
        assert (bad["code"], bad["data"]) == (1010, "Transaction has a bad signature")
        assert refusal(substrate, ED, signature=b"\0" + bytes(64))["data"] == "Transaction has a bad signature"
        poor = Keypair.create_from_seed("07" * 32)
        assert refusal(substrate, poor)["data"].startswith("Inability to pay")
        node.fund(poor.public_key, 10_600)
        assert refusal(substrate, poor)["data"].startswith("Inability to pay"), "the deposit must remain"
        assert refusal(substrate, SR, relay=b"a" * 1025)["code"] == 1002
        send(substrate, SR, "update_twin", parameters={"relay": None, "pk": None})
        assert refusal(substrate, SR, nonce=0)["data"] == "Transaction is outdated"
        late = refusal(substrate, SR, era={"period": 64, "current": 40}, signature=b"\1" + bytes(64))
        assert late["data"] == "Transaction has an ancient birth block"

    await talk(node, story)
    assert node.best.number == 1


async def test_a_signature_is_for_one_chain_and_one_version(node: StandIn) -> None:
    """Genesis hash and versions are part of what is signed."""

    def extrinsic(substrate: SubstrateInterface) -> str:
        call = substrate.compose_call("TfgridModule", "update_twin", {"relay": None, "pk": None})
        return str(substrate.create_signed_extrinsic(call, SR).data)

    raw = await talk(node, extrinsic)
    async with stand_in_node(name="another") as other:
        other.fund(SR.public_key)
        async with connect(other.url) as client:
            assert (await refused(client, "author_submitExtrinsic", raw))["data"] == "Transaction has a bad signature"
    node.upgrade(pallet_index=MOVED_PALLET)
    async with connect(node.url) as client:
        assert (await refused(client, "author_submitExtrinsic", raw))["code"] == 1010


async def test_batch_is_all_or_nothing(node: StandIn) -> None:
    """`Utility.batch_all` of accept and create is one extrinsic; when one part fails nothing remains."""

    def story(substrate: SubstrateInterface) -> None:
        accept = substrate.compose_call("TfgridModule", "user_accept_tc", TERMS)
        for pair, relay in ((SR, b"relay.example.com"), (ED, b"no relay")):
            create = substrate.compose_call("TfgridModule", "create_twin", {"relay": relay, "pk": None})
            receipt = send(substrate, pair, "batch_all", module="Utility", parameters={"calls": [accept, create]})
            assert receipt.is_success is (pair is SR)
        assert substrate.query("TfgridModule", "UsersTermsAndConditions", [ED.ss58_address]).value is None

    await talk(node, story)
    assert [twin.account for twin in node.twins.values()] == [SR.public_key]


async def test_upgrade_moves_the_pallet(node: StandIn) -> None:
    """After an upgrade the same library finds calls and events under new numbers; old blocks keep their meaning."""

    def story(substrate: SubstrateInterface) -> None:
        send(substrate, SR, "user_accept_tc", parameters=TERMS)
        old = send(substrate, SR, "create_twin", parameters={"relay": None, "pk": None})
        node.upgrade()
        node.produce()
        substrate.init_runtime()
        assert substrate.runtime_version == 150
        assert substrate.get_metadata_call_function("TfgridModule", "update_twin") is not None
        new = send(substrate, SR, "update_twin", parameters={"relay": b"after.example.com", "pk": None})
        assert "TfgridModule.TwinUpdated" in event_names(new)
        refused = send(substrate, SR, "update_twin", parameters={"relay": b"a.b", "pk": None})
        assert refused.error_message["name"] == "InvalidRelayAddress"
        substrate.init_runtime(block_hash=old.block_hash)
        assert "TfgridModule.TwinStored" in event_names(old)

    await talk(node, story)
    number = node.runtime.pallets["TfgridModule"].index
    assert number == MOVED_PALLET
    assert bytes([number, 12]) in (node.best.parent or node.best).own[_events_key()]


def _events_key() -> bytes:
    from tests.support.chain import keys

    return keys.EVENTS


async def test_heads_and_events_of_skipped_blocks(node: StandIn) -> None:
    """Heads come with the hash of their parent; unannounced blocks are there for those who ask."""
    async with connect(node.url) as client:
        name = await ask(client, "chain_subscribeNewHeads")
        assert (await notified(client, name))["number"] == "0x0"
        node.produce(3, announce=False)
        node.produce()
        head = await notified(client, name)
        assert head["number"] == "0x4"
        assert head["parentHash"] == await ask(client, "chain_getBlockHash", 3)
        assert await ask(client, "chain_getHeader", head["parentHash"]) == node.ledger.chain[3].header()
        assert await ask(client, "chain_unsubscribeNewHeads", name) is True
        assert await ask(client, "chain_getBlockHash", 5) is None


async def test_header_hash_is_that_of_its_bytes(node: StandIn) -> None:
    """Whoever encodes and hashes a header gets the hash of the block (spec tfchain 9)."""
    import hashlib

    block = node.produce(70)
    header = block.header()
    raw = bytes.fromhex(header["parentHash"][2:]) + (70 << 2 | 1).to_bytes(2, "little")
    raw += bytes.fromhex(header["stateRoot"][2:]) + bytes.fromhex(header["extrinsicsRoot"][2:]) + b"\0"
    assert hashlib.blake2b(raw, digest_size=32).digest() == block.hash


async def test_reorganised_blocks(node: StandIn) -> None:
    """The branch wins, its end is announced, the reverted update is gone, and its watcher is told."""
    node.finality_lag = 100
    node.put_twin(SR.public_key, relay="one.example.com")
    before = node.best
    node.put_twin(SR.public_key, relay="two.example.com")
    reverted = node.best
    async with connect(node.url) as client:
        name = await ask(client, "chain_subscribeNewHeads")
        await notified(client, name)
        tip = node.reorganise(1)
        head = await notified(client, name)
        assert (head["number"], head["parentHash"]) == (
            hex(tip.number),
            "0x" + tip.parent.hash.hex() if tip.parent else "",
        )
        assert await ask(client, "chain_getBlockHash", reverted.number) != "0x" + reverted.hash.hex()
        assert await ask(client, "chain_getHeader", "0x" + reverted.hash.hex()) == reverted.header()
    assert node.ledger.hash_of(before.number) == before.hash
    assert node.twins[1].relay == b"one.example.com"


async def test_reverted_extrinsic_can_come_again(node: StandIn) -> None:
    """A watcher hears inBlock, retracted, inBlock, finalized."""
    node.finality_lag = 2
    async with connect(node.url) as client:

        def extrinsic(substrate: SubstrateInterface) -> str:
            call = substrate.compose_call("TfgridModule", "user_accept_tc", TERMS)
            return str(substrate.create_signed_extrinsic(call, SR).data)

        name = await ask(client, "author_submitAndWatchExtrinsic", await talk(node, extrinsic))
        node.reorganise(1, keep=True)
        node.produce(3)
        statuses = [await notified(client, name) for _ in range(5)]
        assert statuses[0] == "ready"
        assert [next(iter(status)) for status in statuses[1:]] == ["inBlock", "retracted", "inBlock", "finalized"]


async def test_a_nonce_from_the_future_waits_for_its_turn(node: StandIn) -> None:
    """Such an extrinsic stays in the pool until the one before it has come."""

    def story(substrate: SubstrateInterface) -> None:
        call = substrate.compose_call("TfgridModule", "user_accept_tc", TERMS)
        substrate.submit_extrinsic(substrate.create_signed_extrinsic(call, SR, nonce=1))
        assert len(node.pool) == 1
        send(substrate, SR, "create_twin", parameters={"relay": None, "pk": None})
        assert not node.pool

    await talk(node, story)
    assert len(node.best.extrinsics) == 3


async def test_state_of_old_blocks_is_discarded() -> None:
    """A node that prunes answers with code 4003 (spec tfchain 8)."""
    async with stand_in_node(state_blocks=4) as node, connect(node.url) as client:
        node.produce(10)
        key = "0x" + _events_key().hex()
        assert await ask(client, "state_getStorage", key, "0x" + node.ledger.chain[7].hash.hex())
        assert (await refused(client, "state_getStorage", key, "0x" + node.ledger.chain[6].hash.hex()))["code"] == 4003


async def test_faults_of_answers(node: StandIn) -> None:
    """Errors, garbage, wrong values, silence, delay: each hits its method, as often as was said."""
    async with connect(node.url) as client:
        node.faults.on("system_chain", Fail(-32000, "no"), times=1)
        assert (await refused(client, "system_chain"))["message"] == "no"
        node.faults.on("system_chain", Raw("{]"), times=1)
        await client.send(json.dumps({"id": 1, "method": "system_chain", "params": []}))
        assert await client.recv() == "{]"
        node.faults.on("system_chain", Result([1]), times=1)
        assert await ask(client, "system_chain") == [1]
        node.faults.on("system_chain", Delay(0.01), times=1)
        assert "stand-in" in await ask(client, "system_chain")
        node.faults.on("chain_newHead", Ignore())
        name = await ask(client, "chain_subscribeNewHeads")
        node.produce(2)
        node.faults.clear()
        node.produce()
        assert (await notified(client, name))["number"] == "0x3"
    assert node.faults.asked.count("system_chain") == 4


async def test_held_answer(node: StandIn) -> None:
    """An answer can be held while others go on, and be let go."""
    async with connect(node.url) as client:
        hold = node.faults.on("system_chain", Hold(), times=1)
        await client.send(json.dumps({"id": "held", "method": "system_chain"}))
        await asyncio.wait_for(hold.reached.wait(), TIMEOUT_S)
        assert await ask(client, "system_version") == "1"
        hold.release.set()
        assert json.loads(await client.recv())["id"] == "held"


@pytest.mark.parametrize("when", ["before", "after", "midway"])
async def test_dropped_connections(node: StandIn, when: Any) -> None:
    """The connection breaks at the chosen point; the library reports it, and a new connection works."""
    node.faults.on("chain_getBlockHash", Drop(when), times=1)

    def story(substrate: SubstrateInterface) -> None:
        substrate.get_block_hash(0)

    with pytest.raises((OSError, Exception)) as caught:
        await talk(node, story)
    assert "Closed" in type(caught.value).__name__ or isinstance(caught.value, OSError)
    assert await talk(node, lambda substrate: substrate.get_block_hash(0)) == "0x" + node.ledger.chain[0].hash.hex()


async def test_away_and_back(node: StandIn) -> None:
    """A node can go away and come back at the same URL, with its chain."""
    node.produce(2)
    url = node.url
    async with connect(url) as client:
        await node.go_away()
        with pytest.raises(ConnectionClosed):
            await client.recv()
    with pytest.raises(OSError):
        await connect(url)
    await node.listen()
    assert node.url == url
    async with connect(url) as client:
        assert await ask(client, "chain_getBlockHash") == "0x" + node.best.hash.hex()


async def test_noise_is_answered_with_errors(node: StandIn) -> None:
    """Requests that make no sense get JSON-RPC errors and end nothing."""
    async with connect(node.url) as client:
        for text, code in (("{", -32700), ("[]", -32600), ('{"method": "x", "id": 1}', -32601)):
            await client.send(text)
            assert json.loads(await client.recv())["error"]["code"] == code
        for method, parameter in (("state_getStorage", "xx"), ("chain_getHeader", 7), ("author_submitExtrinsic", "0x")):
            assert (await refused(client, method, parameter))["code"] in (-32602, 1002)


async def test_as_a_process() -> None:
    """`python -m tests.support.chain` prints its URL, funds accounts, makes blocks on demand, and ends on SIGTERM."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.chain", "--fund", SR.ss58_address, env=environment(),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with background(process):
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 2 * TIMEOUT_S)
        async with connect(line.decode().strip()) as client:
            await ask(client, "dev_newBlock", {"count": 2})
            assert (await ask(client, "chain_getHeader"))["number"] == "0x2"
            assert await ask(client, "system_accountNextIndex", SR.ss58_address) == 0
        process.terminate()
        assert await asyncio.wait_for(process.wait(), TIMEOUT_S) == 0


async def ask(client: Any, method: str, *parameters: Any) -> Any:
    """The result of a request."""
    answer = await _answer(client, method, parameters)
    assert "error" not in answer, answer
    return answer["result"]


async def refused(client: Any, method: str, *parameters: Any) -> Any:
    """The error of a request."""
    return (await _answer(client, method, parameters))["error"]


async def _answer(client: Any, method: str, parameters: Any) -> Any:
    await client.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}))
    return json.loads(await asyncio.wait_for(client.recv(), TIMEOUT_S))


async def notified(client: Any, name: str) -> Any:
    """The next notification of a subscription."""
    message = json.loads(await asyncio.wait_for(client.recv(), TIMEOUT_S))
    assert message["params"]["subscription"] == name
    return message["params"]["result"]
