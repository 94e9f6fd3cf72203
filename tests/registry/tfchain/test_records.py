"""Storage keys, SCALE and records of twins without any node: the specification's vectors, and noise."""

from typing import Any

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from rmb_peer.protocol.encryption import EncryptionKey
from rmb_peer.protocol.errors import CannotEncrypt
from rmb_peer.protocol.identity import Identity
from rmb_peer.protocol.signatures import KEY_TYPES, KeyType
from rmb_peer.protocol.ss58 import encode_account
from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.tfchain import storage
from rmb_peer.registry.tfchain.errors import RelayTextRefused
from rmb_peer.registry.tfchain.records import (
    chain_relays,
    decode_free_units,
    decode_twin,
    decode_twin_id,
    relay_text,
)
from rmb_peer.registry.tfchain.scale import BadScale, Reader
from tests.support.chain.pallet import StoredTwin, relay_is_accepted
from tests.support.chain_client import vectors

ACCOUNT = bytes(range(32))
PK = bytes([2]) + bytes(32)


def test_names_hash_to_the_constants() -> None:
    """The constants of `storage` are twox128 of the names."""
    for name, expected in vectors()["twox128"].items():
        halves = (xxhash.xxh64_intdigest(name.encode(), seed).to_bytes(8, "little") for seed in (0, 1))
        assert b"".join(halves).hex() == expected
    names = vectors()["twox128"]
    assert storage.EVENTS_KEY.hex() == names["System"] + names["Events"]
    assert storage.account_key(ACCOUNT).hex().startswith(names["System"] + names["Account"])
    assert storage.terms_key(ACCOUNT).hex().startswith(names["TfgridModule"] + names["UsersTermsAndConditions"])


@pytest.mark.parametrize(("what", "key"), vectors()["keys"].items())
def test_storage_keys(what: str, key: str) -> None:
    """Whole keys are those of the specification."""
    item, _, argument = what.partition(" ")
    match item:
        case "Twins":
            made = storage.twin_key(int(argument))
        case "TwinIdByAccountID":
            made = storage.twin_id_key(bytes.fromhex(argument))
        case _:
            made = storage.LAST_TWIN_ID_KEY
    assert made.hex() == key


@pytest.mark.parametrize("vector", vectors()["twins"], ids=lambda vector: vector["relay"])
def test_twins_are_decoded(vector: dict[str, Any]) -> None:
    """Every vector, with and without relays and key."""
    twin = decode_twin(bytes.fromhex(str(vector["scale"])))
    assert (twin.id, twin.account.hex(), twin.version) == (vector["id"], vector["account"], 0)
    assert twin.relays == frozenset((vector["relay"] or "").split("_")) - {""}
    assert (twin.public_key and twin.public_key.hex()) == vector["pk"]


def test_entities_are_skipped() -> None:
    """A twin with entities is read past them."""
    plain = bytes.fromhex(vectors()["twins"][1]["scale"])
    head, tail = plain[:-36], plain[-35:]
    assert plain[-36] == 0
    entity = (5).to_bytes(4, "little") + bytes([4 << 2]) + b"abcd"
    assert decode_twin(head + bytes([2 << 2]) + 2 * entity + tail) == decode_twin(plain)


stored = st.builds(
    StoredTwin,
    id=st.integers(1, 2**32 - 1),
    account=st.binary(min_size=32, max_size=32),
    relay=st.none() | st.text("ab.-_", max_size=1024).map(str.encode),
    pk=st.none() | st.binary(max_size=128),
)


@given(stored)
def test_whatever_the_chain_stores_is_read(twin: StoredTwin) -> None:
    """Lengths in every compact form; the relays are the parts of the text."""
    read = decode_twin(twin.encode())
    assert (read.id, read.account) == (twin.id, twin.account)
    assert read.relays == frozenset((twin.relay or b"").decode().split("_")) - {""}


@given(st.binary(max_size=200), st.integers(0, 200), st.integers(0, 255))
def test_noise_is_no_twin_or_one(noise: bytes, at: int, byte: int) -> None:
    """Noise, and records with a byte changed or cut off, give a twin or `BadScale`, nothing else."""
    good = bytes.fromhex(vectors()["twins"][3]["scale"])
    changed = good[: at % len(good)] + bytes([byte]) + good[at % len(good) + 1 :]
    for data in (noise, changed, good[: at % len(good)]):
        for decode in (decode_twin, decode_twin_id, decode_free_units):
            try:
                decode(data)
            except BadScale:
                continue
    with pytest.raises(BadScale, match="left over"):
        decode_twin(good + b"\0")


def test_announced_lengths_are_limited() -> None:
    """A length beyond what the chain can store is refused before anything is taken."""
    assert Reader(b"\x01\x10" + bytes(1024)).text(1024) == bytes(1024)
    for data in (b"\x05\x10" + bytes(1025), b"\x03\xff\xff\xff\xff", b"\xff" + b"\xff" * 67):
        with pytest.raises(BadScale, match="at most 1024"):
            Reader(data).text(1024)


def test_twin_zero_is_nobody() -> None:
    """The oldest runtimes say 0 where newer ones say nothing."""
    assert decode_twin_id(None) is None
    assert decode_twin_id(bytes(4)) is None
    assert decode_twin_id(b"\7\0\0\0") == 7
    with pytest.raises(BadScale):
        decode_twin(bytes(4) + bytes.fromhex(vectors()["twins"][0]["scale"])[4:])


def _with_pk(pk: bytes | None) -> Twin:
    return decode_twin(StoredTwin(1, ACCOUNT, None, pk).encode())


def test_keys_written_as_hex_are_understood() -> None:
    """Old clients stored the text of the key, with or without 0x."""
    for pk in (PK, PK.hex().encode(), b"0x" + PK.hex().encode()):
        assert _with_pk(pk).public_key == PK
    assert _with_pk(b"").public_key is None


@pytest.mark.parametrize("pk", [b"zz" * 33, b"\5" * 33, b"key", bytes(128)])
def test_a_broken_key_never_means_plain_payloads(pk: bytes) -> None:
    """A key that is none stays one, and encrypting with it fails."""
    key = _with_pk(pk).public_key
    assert key == pk
    with pytest.raises(CannotEncrypt):
        EncryptionKey(bytes(31) + b"\1", lambda count: bytes(count)).seal(b"x", key)


@pytest.mark.parametrize("text", vectors()["relay_texts"]["accepted"] + vectors()["relay_texts"]["refused"])
def test_every_relay_text_of_the_specification_is_read_back(text: str) -> None:
    """What the chain accepts is read without empty parts; what it refuses we never write."""
    relays = decode_twin(StoredTwin(1, ACCOUNT, text.encode(), None).encode()).relays
    assert relays == frozenset(text.lower().split("_")) - {""}
    try:
        written = relay_text(relays)
    except RelayTextRefused:
        return
    assert written is None or relay_is_accepted(written.encode())


def test_relay_texts_are_sorted_and_without_the_quirk() -> None:
    """Sorted, joined by `_`; a one-letter label does not come first while there is another name."""
    assert relay_text(frozenset()) is None
    assert relay_text(frozenset({"bb.test", "aa.test"})) == "aa.test_bb.test"
    assert relay_text(frozenset({"a.test", "bb.test", "cc.test"})) == "bb.test_a.test_cc.test"
    for alone in ("a.test", "a.b"):
        with pytest.raises(RelayTextRefused, match="one letter cannot stand first"):
            relay_text(frozenset({alone}))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("relay.test:8080", "without port"),
        ("[::1]", "expected a host"),
        ("a_b", "expected a host"),
        ("..", "dot at an end"),
        ("a" * 1025, "at most 1024"),
    ],
)
def test_relays_that_the_chain_cannot_hold(name: str, says: str) -> None:
    """The refusal says why, before a fee is paid."""
    with pytest.raises(RelayTextRefused, match=says):
        relay_text(frozenset({name}))


def test_ports_are_left_out_on_the_chain() -> None:
    """As the Rust gateway does; addresses of version 6 are refused."""
    assert chain_relays(frozenset({"localhost:8080", "relay.test"})) == {"localhost", "relay.test"}
    with pytest.raises(RelayTextRefused):
        chain_relays(frozenset({"[::1]:8080"}))


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_the_account_of_a_mnemonic(key_type: KeyType) -> None:
    """Account, address and encryption key of the well-known phrase, for both key types."""
    known = vectors()["identity"]
    identity = Identity.from_secret(known["mnemonic"], key_type, lambda count: bytes(count))
    assert [identity.account.hex(), encode_account(identity.account)] == known[key_type]
    assert identity.public_key.hex() == known["pk"]
    assert _with_pk(bytes.fromhex(known["pk"])).public_key == identity.public_key
