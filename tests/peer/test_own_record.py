"""Our own record at start: what is written, what is left alone, what is kept for a start without registry."""

import logging

import pytest

from rmb_peer.own_record import NoTwin, Wish, decide, decode_own_record, encode_own_record, settle_own_record
from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.memory import MemoryRegistry
from tests.support.chain_client import new_identity

A, B, C = "a1.test", "b1.test", "c1.test"
PK, OTHER = b"\2" + bytes(32), b"\3" + bytes(32)


def _decide(recorded: set[str], wanted: set[str], *, key: bytes | None = PK, overwrite: bool = False) -> object:
    record = Twin(1, bytes(32), frozenset(recorded), key)
    decision = decide(record, Wish(frozenset(wanted), costs_a_fee=True, overwrite_relays=overwrite), PK)
    return decision.relays, decision.write, decision.kept


@pytest.mark.parametrize(
    ("recorded", "wanted", "key", "overwrite", "relays", "write", "kept"),
    [
        ({A}, {A}, PK, False, {A}, False, False),
        ({A, B}, {B, A}, PK, False, {A, B}, False, False),
        ({A}, {B}, PK, False, {B}, True, False),
        (set(), {A}, PK, False, {A}, True, False),
        ({A}, {A}, OTHER, False, {A}, True, False),
        ({A}, {A}, None, False, {A}, True, False),
        ({A, B}, {A, B, C}, PK, False, {A, B, C}, True, False),
        ({A, B}, {A}, PK, False, {A, B}, False, True),
        ({A, B}, {C}, PK, False, {A, B}, False, True),
        ({A, B}, {C}, OTHER, False, {A, B}, True, True),
        ({A, B}, {A}, PK, True, {A}, True, False),
    ],
)
def test_decisions(
    recorded: set[str], wanted: set[str], key: bytes | None, overwrite: bool, relays: set[str], write: bool, kept: bool
) -> None:
    """Relays are sets; one relay gives way; several are only added to, unless told otherwise; a key is always set."""
    assert _decide(recorded, wanted, key=key, overwrite=overwrite) == (relays, write, kept)


async def test_a_twin_that_costs_is_never_made() -> None:
    """The error names the command that makes one."""
    registry, me = MemoryRegistry(), new_identity("ed25519")
    with pytest.raises(NoTwin, match=r"no twin found on this network with given key: .*rmb-peer twin create"):
        await settle_own_record(registry, me, Wish(frozenset({A}), costs_a_fee=True))
    with pytest.raises(NoTwin, match="without --no-update"):
        await settle_own_record(registry, me, Wish(frozenset({A}), no_update=True))
    assert (await settle_own_record(registry, me, Wish(frozenset({A})))).relays == {A}


async def test_a_record_of_several_is_kept_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """The warning names the flag that replaces them; the flag does; --no-update does nothing."""
    registry, me = MemoryRegistry(), new_identity("ed25519")
    await registry.put(me.signer, frozenset({A, B}), me.public_key)
    with caplog.at_level(logging.WARNING, "rmb.gateway"):
        twin = await settle_own_record(registry, me, Wish(frozenset({C}), costs_a_fee=True))
    assert twin.relays == {A, B}
    assert "--overwrite-relays" in caplog.text
    for wish, relays in (
        (Wish(frozenset({C}), costs_a_fee=True, overwrite_relays=True, no_update=True), {A, B}),
        (Wish(frozenset({C}), costs_a_fee=True, overwrite_relays=True), {C}),
    ):
        assert (await settle_own_record(registry, me, wish)).relays == relays


def test_a_kept_record_comes_back() -> None:
    """For the same account and registry; anything else, noise included, is as if there were none."""
    twin = Twin(7, bytes(range(32)), frozenset({A, "b:81"}), PK, 3)
    raw = encode_own_record(twin, "ws://x")
    assert decode_own_record(raw, "ws://x", twin.account) == twin
    plain = Twin(7, twin.account, frozenset(), None)
    assert decode_own_record(encode_own_record(plain, "r"), "r", twin.account) == plain
    changed = (raw[:-1], raw.replace(b"a1.test", b"!"), raw.replace(b"7", b"[]", 1))
    for other in (None, b"", b"{}", b"[]", b"\xff", *changed):
        assert decode_own_record(other, "ws://x", twin.account) is None
    assert decode_own_record(raw, "ws://y", twin.account) is None
    assert decode_own_record(raw, "ws://x", bytes(32)) is None
