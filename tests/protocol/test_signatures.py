"""Signatures of twins: the vectors, every row of the table in spec 2.7, and damage of every kind."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmb_peer.protocol.errors import InvalidSignature
from rmb_peer.protocol.signatures import KEY_TYPES, SIGNATURE_BYTES, KeyType, make_signer, verify
from tests.support.vectors import VECTORS, identity_of

SIGNED = [
    pytest.param(
        bytes.fromhex(signature),
        bytes.fromhex(vector["challenge_md5"]),
        bytes.fromhex(VECTORS["keys"][vector["key"]][f"{key_type}_public"]),
        id=f"{vector['origin']}-{key_type}",
    )
    for vector in VECTORS["signed_envelopes"]
    for key_type, signature in vector["signatures"].items()
]


@pytest.mark.parametrize("key_type", KEY_TYPES)
@pytest.mark.parametrize("name", ["A", "B", "C"])
def test_accounts(name: str, key_type: KeyType) -> None:
    """Vector A.1: the public keys of both schemes."""
    assert identity_of(name, key_type).account.hex() == VECTORS["keys"][name][f"{key_type}_public"]


@pytest.mark.parametrize(("signature", "message", "account"), SIGNED)
def test_signature_vectors_verify(signature: bytes, message: bytes, account: bytes) -> None:
    """Vectors A.3 to A.5: signatures of both schemes over the MD5 digest."""
    verify(signature, message, account)


@pytest.mark.parametrize("vector", VECTORS["signed_envelopes"], ids=lambda vector: vector["origin"])
def test_ed25519_vectors_are_reproduced(vector: dict[str, Any]) -> None:
    """Vectors A.3 to A.5: ed25519 is deterministic, so that ours are the same bytes."""
    signer = identity_of(vector["key"], "ed25519").signer
    assert signer.sign(bytes.fromhex(vector["challenge_md5"])).hex() == vector["signatures"]["ed25519"]


def test_sr25519_signatures_are_randomised() -> None:
    """Two signatures of the same bytes differ and both verify (spec 2.7)."""
    signer = identity_of("A", "sr25519").signer
    first, second = signer.sign(b"m"), signer.sign(b"m")
    assert first != second
    for signature in (first, second):
        verify(signature, b"m", signer.account)


@pytest.mark.parametrize(("key_type", "byte"), [("ed25519", b"e"), ("sr25519", b"s")])
def test_type_bytes(key_type: KeyType, byte: bytes) -> None:
    """`e` and `s`, then 64 bytes (spec 2.7)."""
    signer = make_signer(b"\x01" * 32, key_type)
    signature = signer.sign(b"m")
    assert (signer.key_type, signature[:1], len(signature)) == (key_type, byte, SIGNATURE_BYTES)


ED = identity_of("A", "ed25519").signer
SR = identity_of("A", "sr25519").signer
ED_SIGNATURE, SR_SIGNATURE = ED.sign(b"m"), SR.sign(b"m")
TYPE_TEXT = "invalid signature type (expected either sr25519 or ed25519)"
ED_TEXT, SR_TEXT = "ed25519 signature verification failed", "sr25519 signature verification failed"
ROWS_OF_2_7 = {
    "length-0": (b"", "invalid signature length, expected: 65, found: 0"),
    "length-64": (ED_SIGNATURE[1:], "invalid signature length, expected: 65, found: 64"),
    "length-66": (ED_SIGNATURE + b"\0", "invalid signature length, expected: 65, found: 66"),
    "other-type-byte": (b"x" + ED_SIGNATURE[1:], TYPE_TEXT),
    "type-byte-0": (b"\0" + ED_SIGNATURE[1:], TYPE_TEXT),
    "upper-case-type-byte": (b"E" + ED_SIGNATURE[1:], TYPE_TEXT),
    "bad-sr25519": (SR_SIGNATURE[:-2] + bytes([SR_SIGNATURE[-2] ^ 1, SR_SIGNATURE[-1]]), SR_TEXT),
    "sr25519-without-its-marker-bit": (SR_SIGNATURE[:-1] + bytes([SR_SIGNATURE[-1] & 0x7F]), SR_TEXT),
    "bad-ed25519": (ED_SIGNATURE[:-1] + bytes([ED_SIGNATURE[-1] ^ 1]), ED_TEXT),
    "zero-sr25519": (b"s" + bytes(64), SR_TEXT),
    "zero-ed25519": (b"e" + bytes(64), ED_TEXT),
    "all-ones-sr25519": (b"s" + b"\xff" * 64, SR_TEXT),
    "all-ones-ed25519": (b"e" + b"\xff" * 64, ED_TEXT),
}


@pytest.mark.parametrize(("signature", "text"), ROWS_OF_2_7.values(), ids=ROWS_OF_2_7.keys())
def test_row_of_2_7(signature: bytes, text: str) -> None:
    """Each row of spec 2.7 has its text; "absent" is in test_envelope, which knows presence."""
    account = SR.account if signature[:1] == b"s" else ED.account
    with pytest.raises(InvalidSignature) as caught:
        verify(signature, b"m", account)
    assert caught.value.detail == text
    assert str(caught.value) == f"invalid envelope signature: {text}"
    assert caught.value.code == 104


@pytest.mark.parametrize(
    ("signature", "account"), [(ED_SIGNATURE, SR.account), (SR_SIGNATURE, ED.account)], ids=["e", "s"]
)
def test_the_account_of_the_other_scheme_does_not_verify(signature: bytes, account: bytes) -> None:
    """One mini-secret has two accounts, and each verifies only its own scheme."""
    with pytest.raises(InvalidSignature):
        verify(signature, b"m", account)


@pytest.mark.parametrize("signature", [ED_SIGNATURE, SR_SIGNATURE], ids=["ed25519", "sr25519"])
@pytest.mark.parametrize("account", [b"", bytes(31), bytes(32), bytes(33), b"\xff" * 32], ids=repr)
def test_an_account_that_is_no_key(signature: bytes, account: bytes) -> None:
    """An account from a broken record fails the check, in both schemes the same way."""
    with pytest.raises(InvalidSignature, match="verification failed"):
        verify(signature, b"m", account)


def test_ed25519_refuses_the_second_form_of_a_signature() -> None:
    """S + L would be a second valid encoding; it is refused, so that a signature can serve as mark of a message."""
    order = 2**252 + 27742317777372353535851937790883648493  # RFC 8032, 5.1
    s = int.from_bytes(ED_SIGNATURE[33:], "little") + order
    with pytest.raises(InvalidSignature, match=ED_TEXT):
        verify(ED_SIGNATURE[:33] + s.to_bytes(32, "little"), b"m", ED.account)


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_any_turned_bit_fails(key_type: KeyType) -> None:
    """All 520 bits of a signature matter."""
    signer = identity_of("B", key_type).signer
    whole = int.from_bytes(signer.sign(b"message"))
    for bit in range(SIGNATURE_BYTES * 8):
        with pytest.raises(InvalidSignature):
            verify((whole ^ (1 << bit)).to_bytes(SIGNATURE_BYTES), b"message", signer.account)


@given(st.binary(max_size=200), st.sampled_from(KEY_TYPES))
def test_round_trip(message: bytes, key_type: KeyType) -> None:
    """What is signed verifies, and does not verify for other bytes or for another account."""
    signer = identity_of("C", key_type).signer
    signature = signer.sign(message)
    verify(signature, message, signer.account)
    with pytest.raises(InvalidSignature):
        verify(signature, message + b"x", signer.account)
    with pytest.raises(InvalidSignature):
        verify(signature, message, identity_of("A", key_type).account)


@given(
    st.sampled_from((b"", b"e", b"s", b"x")),
    st.binary(max_size=70) | st.binary(min_size=64, max_size=64),
    st.binary(max_size=40),
)
def test_noise_never_verifies(type_byte: bytes, raw: bytes, account: bytes) -> None:
    """Arbitrary bytes are InvalidSignature, whatever the account."""
    with pytest.raises(InvalidSignature):
        verify(type_byte + raw, b"m", account)
