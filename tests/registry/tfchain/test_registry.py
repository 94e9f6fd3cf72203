"""The chain as a registry, against the stand-in node: wiring, errors and patience (the rules are the real chain's)."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from rmb_peer.protocol.signatures import KEY_TYPES, KeyType
from rmb_peer.registry.base import RegistryRefused, RegistryUnavailable
from rmb_peer.registry.cached import CachedRegistry
from rmb_peer.registry.tfchain.connection import ChainConnection
from rmb_peer.registry.tfchain.errors import (
    ChainUnavailable,
    NoAccount,
    NotEnoughBalance,
    NoTwinToUpdate,
    OutcomeUnknown,
    RelayTextRefused,
    TermsNotAccepted,
    TwinExists,
    WrongChain,
)
from rmb_peer.registry.tfchain.registry import TfchainRegistry
from tests.support.chain import Drop, Fail, Hold, Ignore, Raw, Result, StandIn, needs_chain_data, stand_in_node
from tests.support.chain import keys as chain_keys
from tests.support.chain_client import TERMS, chain_registry, have_twin, new_identity

pytestmark = needs_chain_data

LOCALHOST = frozenset({"localhost"})
ERA_PERIOD_64 = 5
"""The lowest four bits of a mortal era say how long it is: 64 blocks are 5."""


@pytest.fixture
async def node() -> AsyncIterator[StandIn]:
    """A stand-in node."""
    async with stand_in_node() as node:
        yield node


@pytest.fixture
async def registry(node: StandIn) -> AsyncIterator[TfchainRegistry]:
    """A registry on it."""
    async with chain_registry(node.url) as registry:
        yield registry


@pytest.mark.parametrize("key_type", KEY_TYPES)
async def test_create_and_update(node: StandIn, registry: TfchainRegistry, key_type: KeyType) -> None:
    """Terms and twin in one mortal transaction, an update of both fields, and nothing sent for an equal record."""
    me = new_identity(key_type)
    node.fund(me.account)
    made = await registry.create(me.signer, LOCALHOST, me.public_key, TERMS)
    assert (made.id, made.account, made.relays, made.public_key) == (1, me.account, LOCALHOST, me.public_key)
    raw = node.best.extrinsics[-1]  # the first is the block's time
    signature_at = raw.index(me.account) + 32
    assert raw[signature_at] == KEY_TYPES[::-1].index(key_type)  # MultiSignature: 0 ed25519, 1 sr25519
    assert raw[signature_at + 65] & 15 == ERA_PERIOD_64
    relays = frozenset({"b.test", "a1.test"})
    changed = await registry.put(me.signer, relays, None)
    assert (changed.id, changed.relays, changed.public_key) == (1, relays, None)
    assert node.twins[1].relay == b"a1.test_b.test"
    blocks = node.best.number
    assert await registry.put(me.signer, relays, None) == changed
    assert node.best.number == blocks
    assert await registry.get(1) == await registry.get_by_account(me.account) == changed
    with pytest.raises(TwinExists, match="has twin 1 already"):
        await registry.create(me.signer, LOCALHOST, None)


async def test_what_an_account_lacks_is_said(node: StandIn, registry: TfchainRegistry) -> None:
    """No account, no balance, no terms, no twin: each by its own error, the first two without a fee."""
    me = new_identity()
    with pytest.raises(NoTwinToUpdate):
        await registry.update(me.signer, LOCALHOST, None)
    with pytest.raises(NoAccount, match="does not exist on this chain: send it some TFT first"):
        await registry.put(me.signer, LOCALHOST, None)
    node.fund(me.account, 5000)
    with pytest.raises(NotEnoughBalance, match=r"has 0\.0005000 TFT"):
        await registry.put(me.signer, LOCALHOST, None)
    assert node.best.number == 0
    node.fund(me.account)
    with pytest.raises(TermsNotAccepted):
        await registry.put(me.signer, LOCALHOST, None)
    assert not node.twins
    made = await registry.create(me.signer, frozenset(), None, TERMS)
    assert (made.relays, node.twins[1].relay) == (frozenset(), None)


async def test_relay_texts(node: StandIn, registry: TfchainRegistry) -> None:
    """What the chain would refuse is refused here, before anything is asked."""
    me = new_identity()
    have_twin(node, me)
    blocks = node.best.number
    for relays in ({"relay.test:8080"}, {"a.test"}, {"[::1]"}):
        with pytest.raises(RelayTextRefused):
            await registry.put(me.signer, frozenset(relays), None)
    assert node.best.number == blocks
    assert (await registry.put(me.signer, frozenset({"a.test", "bb.test"}), None)).relays == {"a.test", "bb.test"}
    assert node.twins[1].relay == b"bb.test_a.test"


async def test_many_twins_in_one_question(node: StandIn, registry: TfchainRegistry) -> None:
    """What is asked for at the same time is read at once; absent ids and impossible ones are None."""
    people = [new_identity("ed25519") for _ in range(5)]
    ids = [have_twin(node, person) for person in people]
    assert await registry.get(1) is not None
    node.faults.asked.clear()
    hold = node.faults.on("state_queryStorageAt", Hold(), times=1)
    first = asyncio.create_task(registry.get(77))
    await hold.reached.wait()
    rest = asyncio.gather(*(registry.get(number) for number in (*ids, 99, 0, 2**32)))
    await asyncio.sleep(0)
    hold.release.set()
    assert await first is None
    found = await rest
    assert [twin.account for twin in found[:5] if twin] == [person.account for person in people]
    assert found[5:] == [None] * 3
    assert node.faults.asked == ["state_queryStorageAt"] * 2


async def test_one_bad_record_blinds_nobody(node: StandIn, registry: TfchainRegistry) -> None:
    """A record that cannot be read fails by itself, without leaving the node; so does one under another's id."""
    me = new_identity()
    good = have_twin(node, me)
    node.write_state(chain_keys.twin(7), b"garbage")
    node.write_state(chain_keys.twin(8), node.best.state[chain_keys.twin(good)])
    seven, eight, one = await asyncio.gather(*map(registry.get, (7, 8, good)), return_exceptions=True)
    assert "record of twin 7 cannot be read" in str(seven)
    assert "asked for twin 8, the node served the record of twin 1" in str(eight)
    assert getattr(one, "account", None) == me.account
    stranger = new_identity()
    node.write_state(chain_keys.twin_of_account(stranger.account), good.to_bytes(4, "little"))
    with pytest.raises(RegistryUnavailable, match="belongs to another account"):
        await registry.get_by_account(stranger.account)


async def test_pages(node: StandIn, registry: TfchainRegistry) -> None:
    """All twins in the order of ids, 256 at a time, as of one block; gaps and bad records are left out."""
    assert [page async for page in registry.pages()] == []
    for number in range(300):
        node.put_twin(bytes([5]) * 30 + number.to_bytes(2), relay=f"r{number % 3}.test", announce=False)
    node.write_state(chain_keys.twin(2), b"garbage")
    node.write_state(chain_keys.twin(3), None)
    pages = [page async for page in registry.pages()]
    assert [(page.done, page.total, len(page.twins)) for page in pages] == [(256, 300, 254), (300, 300, 44)]
    assert [twin.id for page in pages for twin in page.twins] == [1, *range(4, 301)]


async def test_nodes_without_batches(node: StandIn, registry: TfchainRegistry) -> None:
    """A node that lacks the method is asked key by key."""
    me = new_identity()
    number = have_twin(node, me)
    node.faults.on("state_queryStorageAt", Fail(-32601, "Method not found"))
    assert (await registry.get_by_account(me.account)) == (await registry.get(number)) is not None


@pytest.mark.parametrize(
    "fault",
    [
        Drop("before"), Drop("after"), Drop("midway"), Raw("nonsense"), Raw("[1]"), Raw(b"\xff\xfe"), Raw("{}}"),
        Result(None), Result([]), Result([{"changes": [["0x00", "0x00"]]}]), Result("0x"), Result([{"changes": 5}]),
    ],
    ids=str,
)  # fmt: skip
async def test_a_node_that_fails_is_replaced(node: StandIn, fault: Drop | Raw | Result) -> None:
    """Whatever it does with a question, the next node answers it."""
    me = new_identity()
    have_twin(node, me)
    async with stand_in_node(runtime=node.runtime) as other, chain_registry(node.url, other.url) as registry:
        other.ledger = node.ledger
        node.faults.on("state_queryStorageAt", fault)
        twin = registry.get(1)
        if not isinstance(fault, Result):
            other.faults.clear()
        found = await twin
        assert found is not None
        assert found.account == me.account
        assert other.faults.asked.count("state_queryStorageAt") == 1


async def test_a_silent_node_is_replaced(node: StandIn) -> None:
    """A node that takes a question and never answers costs its time limit, once."""
    have_twin(node, new_identity())
    async with stand_in_node() as other, chain_registry(node.url, other.url, read_s_max=2.0) as registry:
        other.ledger = node.ledger
        assert await registry.get(1) is not None
        node.faults.on("state_queryStorageAt", Ignore())
        assert await registry.get(1) is not None
        assert other.faults.asked.count("state_queryStorageAt") == 1


async def test_no_node_at_all() -> None:
    """Reads fail with the list of what was tried."""
    async with chain_registry("ws://127.0.0.1:1", "ws://127.0.0.1:2") as registry:
        with pytest.raises(ChainUnavailable, match=r"ws://127.0.0.1:1: .*; ws://127.0.0.1:2: .*--substrate"):
            await registry.get(1)
        with pytest.raises(ChainUnavailable):
            await registry.put(new_identity().signer, LOCALHOST, None)


async def test_another_chain_is_refused(node: StandIn) -> None:
    """By its first block, when nodes before served another; waiting would not help."""
    async with stand_in_node(name="another") as other, chain_registry(node.url, other.url) as registry:
        assert await registry.get(1) is None
        node.faults.on("*", Drop())
        with pytest.raises(ChainUnavailable, match="another chain than the node before"):
            await registry.get(1)
    async with stand_in_node() as garbled, chain_registry(garbled.url) as registry:
        garbled.faults.on("state_getMetadata", Result("0x1234"))
        with pytest.raises(ChainUnavailable, match="cannot be used") as told:
            await registry.get(1)
        assert not isinstance(told.value, WrongChain)


async def test_an_upgrade_moves_the_pallet(node: StandIn, registry: TfchainRegistry) -> None:
    """Numbers come from the metadata of the moment, so writing goes on after an upgrade."""
    me = new_identity("ed25519")
    have_twin(node, me)
    assert await registry.get(1) is not None
    node.upgrade()
    node.produce()
    assert (await registry.put(me.signer, frozenset({"new.test"}), me.public_key)).relays == {"new.test"}
    a = new_identity("ed25519")
    node.fund(a.account)
    with pytest.raises(TermsNotAccepted):  # found by name, whatever the numbers are
        await registry.put(a.signer, LOCALHOST, None)


@pytest.mark.parametrize("fault", [Drop("after"), Drop("midway")], ids=str)
async def test_an_unknown_outcome_is_said(node: StandIn, registry: TfchainRegistry, fault: Drop) -> None:
    """A node lost after sending: no second transaction, and a text that says what to do. Asking again settles it."""
    me = new_identity("ed25519")
    have_twin(node, me)
    node.faults.on("author_submitAndWatchExtrinsic", fault)
    with pytest.raises(OutcomeUnknown, match="may still take effect"):
        await registry.put(me.signer, frozenset({"new.test"}), me.public_key)
    node.faults.clear()
    blocks = node.best.number
    assert (await registry.put(me.signer, frozenset({"new.test"}), me.public_key)).relays == {"new.test"}
    assert node.best.number == blocks


@pytest.mark.parametrize("status", ["invalid", "dropped", {"usurped": "0x00"}, {"finalityTimeout": "0x00"}], ids=str)
async def test_a_transaction_that_the_node_gives_up(
    node: StandIn, registry: TfchainRegistry, status: str | dict[str, str]
) -> None:
    """An error at once, instead of waiting for what never comes."""
    me = new_identity("ed25519")
    have_twin(node, me)
    node.instant = False
    node.faults.on("author_extrinsicUpdate", Result(status), times=1)
    with pytest.raises(RegistryRefused, match="gave the transaction up"):
        await registry.put(me.signer, frozenset({"new.test"}), me.public_key)


async def test_inclusion_is_enough_when_finality_does_not_come(node: StandIn) -> None:
    """A chain that includes and never finalises: the result is read from the block, after the time limit."""
    me = new_identity("ed25519")
    have_twin(node, me)
    node.finality_lag = 1000
    async with chain_registry(node.url, write_s_max=5.0) as registry:
        assert (await registry.put(me.signer, frozenset({"new.test"}), None)).relays == {"new.test"}


async def test_writing_does_not_hold_up_reading(node: StandIn, registry: TfchainRegistry) -> None:
    """While a transaction waits for its block, twins are read."""
    me = new_identity("ed25519")
    have_twin(node, me)
    node.instant = False
    writing = asyncio.create_task(registry.put(me.signer, frozenset({"new.test"}), None))
    while not node.pool:
        await asyncio.sleep(0.01)
    assert (await registry.get(1)) is not None
    assert not writing.done()
    node.produce()
    assert (await writing).relays == {"new.test"}


async def test_cached_twins_are_there_while_the_chain_hangs(node: StandIn) -> None:
    """Fresh ones at once, older ones after a moment; nobody waits for the node's time limit."""
    now = 0.0
    number = have_twin(node, new_identity())
    async with chain_registry(node.url) as chain:
        cache = CachedRegistry(chain, clock=lambda: now, hurry_s=0.05)
        twin = await cache.get(number)
        hold = node.faults.on("state_queryStorageAt", Hold())
        assert await cache.get(number) == twin
        now = 1000.0
        assert await cache.get(number) == twin
        assert cache.peek(number) == twin
        assert hold.reached.is_set()
        await cache.close()


async def test_closing_ends_questions(node: StandIn) -> None:
    """Who waits is told; closing twice is harmless; nothing can be asked afterwards."""
    registry = TfchainRegistry([node.url], connect=lambda urls: ChainConnection(urls, grace_s=60))
    assert await registry.get(1) is None
    hold = node.faults.on("state_queryStorageAt", Hold())
    asking = asyncio.create_task(registry.get(1))
    await hold.reached.wait()
    await registry.close()
    with pytest.raises(RegistryUnavailable, match="was closed"):
        await asking
    with pytest.raises(RegistryUnavailable, match="was closed"):
        await registry.get(1)
    await registry.close()
