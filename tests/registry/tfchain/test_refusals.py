"""What the chain's errors become, and what the texts tell people to do."""

import pytest

from rmb_peer.protocol.errors import BadRequest
from rmb_peer.registry.base import RegistryRefused, RegistryUnavailable
from rmb_peer.registry.tfchain.errors import (
    ChainUnavailable,
    NodeFailed,
    NodeOfWrongChain,
    NodeRefused,
    NotEnoughBalance,
    NoTwinToUpdate,
    RelayTextRefused,
    TermsNotAccepted,
    TransactionRefused,
    TwinExists,
    TwinOfAnotherAccount,
    WrongChain,
    unavailable,
)
from rmb_peer.registry.tfchain.refusals import refused_by_pool, refused_in_block
from rmb_peer.registry.tfchain.terms import Terms
from rmb_peer.registry.tfchain.urls import check_node_urls, shown_url


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("UserDidNotSignTermsAndConditions", TermsNotAccepted, "--accept-terms LINK HASH"),
        ("TwinWithPubkeyExists", TwinExists, "rmb-peer twin update"),
        ("TwinNotExists", NoTwinToUpdate, "rmb-peer twin create"),
        ("UnauthorizedToUpdateTwin", TwinOfAnotherAccount, "check the mnemonic and --key-type"),
        ("InvalidRelayAddress", RelayTextRefused, "'a.b'"),
        ("SomethingNew", TransactionRefused, "SomethingNew"),
    ],
)
def test_errors_in_a_block(name: str, kind: type[RegistryRefused], says: str) -> None:
    """By name, since numbers move; each says what would help."""
    error = refused_in_block(name, "a.b")
    assert type(error) is kind
    assert says in error.detail


@pytest.mark.parametrize(
    ("code", "text", "units", "kind", "says"),
    [
        (1010, "Invalid Transaction: Inability to pay some fees", 10**9, NotEnoughBalance, "send it some TFT"),
        (1010, '{"invalid":{"payment":null}}', 0, NotEnoughBalance, "0.0000000 TFT"),
        (1010, "Invalid Transaction", 12_000, NotEnoughBalance, "0.0012000 TFT"),
        (1010, '{"invalid":{"stale":null}}', 10**9, ChainUnavailable, "try again in a minute"),
        (1010, "Invalid Transaction: Transaction is outdated", 10**9, ChainUnavailable, "under way"),
        (1013, "Transaction Already Imported", 10**9, ChainUnavailable, "under way"),
        (1014, "Priority is too low", 10**9, ChainUnavailable, "under way"),
        (1010, '{"invalid":{"badProof":null}}', 10**9, TransactionRefused, "badProof"),
        (1002, "Verification Error: trap", 10**9, TransactionRefused, "trap"),
    ],
)
def test_errors_of_the_pool(
    code: int, text: str, units: int, kind: type[RegistryRefused | RegistryUnavailable], says: str
) -> None:
    """By code, with the node's own words shown."""
    error = refused_by_pool(NodeRefused(code, text), units)
    assert type(error) is kind
    assert says in error.detail


def test_all_nodes_together() -> None:
    """Only when every node serves another chain does waiting not help. Paths, which may hold keys, are not shown."""
    away, wrong = NodeFailed("connection refused"), NodeOfWrongChain("its runtime has no TfgridModule")
    mixed = unavailable([("ws://a:1/key", away), ("wss://b?key", wrong)])
    assert type(mixed) is ChainUnavailable
    assert "ws://a:1: connection refused; wss://b: its runtime" in mixed.detail
    assert "key" not in mixed.detail
    assert type(unavailable([("ws://b", wrong), ("ws://c", wrong)])) is WrongChain


@pytest.mark.parametrize(
    "url", ["", "http://a", "ws://", "a:9944", "ws://u:secret@a", "ws://a:0", "ws://a:99999", "ws://a b", "ws://a#x"]
)
def test_urls_that_are_no_nodes(url: str) -> None:
    """Refused with the form that is expected, and without showing passwords."""
    with pytest.raises(BadRequest, match="expected ws://host") as told:
        check_node_urls((url,))
    assert "secret" not in str(told.value)


def test_lists_of_nodes() -> None:
    """1 to 16 URLs; repeats count once; query and path stay out of texts."""
    assert check_node_urls(("ws://a", "wss://b:1/x?y", "ws://a")) == ("ws://a", "wss://b:1/x?y")
    assert check_node_urls(tuple(f"ws://a{number}" for number in range(16)))
    for count in (0, 17):
        with pytest.raises(BadRequest, match="1 to 16"):
            check_node_urls(tuple(f"ws://a{number}" for number in range(count)))
    assert shown_url("wss://b:1/x?y") == "wss://b:1"


@pytest.mark.parametrize(
    ("link", "digest", "says"),
    [
        ("", "ab", "link"),
        ("https://x/%20", "ab", "without %"),
        ("x" * 2049, "ab", "at most 2048"),
        ("https://x", "", "hash"),
        ("https://x", "a" * 51, "at most 50"),
        ("https://x", "a b", "hash"),
    ],
)
def test_terms_that_the_chain_cannot_store(link: str, digest: str, says: str) -> None:
    """Found before a fee is paid."""
    with pytest.raises(BadRequest, match=says):
        Terms(link, digest).check()
    assert Terms("x" * 2048, "a" * 50).check()
