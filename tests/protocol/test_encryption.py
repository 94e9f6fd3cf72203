"""Sealing: the vectors of appendix A.2, what does not open, and a cache that does not grow."""

import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from rmb_peer.protocol import encryption
from rmb_peer.protocol.encryption import OVERHEAD_BYTES, SHARED_KEYS_MAX, EncryptionKey
from rmb_peer.protocol.errors import BadSecret, CannotDecrypt, CannotEncrypt
from tests.support.vectors import VECTORS, counted_bytes, identity_of

A, B = identity_of("A").encryption, identity_of("B").encryption
VECTOR = VECTORS["encryption"]
CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141  # SEC 2, 2.4.1

NO_POINTS = {
    "empty": b"",
    "infinity": b"\x00",
    "not-on-the-curve": b"\x02" + b"\xff" * 32,
    "unknown-prefix": b"\x05" + b"\x01" * 32,
    "too-short": b"\x02" + b"\x01" * 31,
    "too-long": b"\x02" + b"\x01" * 33,
}


@pytest.mark.parametrize("name", ["A", "B", "C"])
def test_public_keys(name: str) -> None:
    """Vector A.1: the mini-secret is the private scalar as it is."""
    assert identity_of(name).public_key.hex() == VECTORS["keys"][name]["secp256k1_public"]


def test_shared_key() -> None:
    """Vector A.2: SHA-256 of the bare X coordinate, the same from both sides."""
    assert A.shared_key(B.public_key).hex() == B.shared_key(A.public_key).hex() == VECTOR["shared_key"]
    assert hashlib.sha256(bytes.fromhex(VECTOR["x_coordinate"])).hexdigest() == VECTOR["shared_key"]


def test_shared_key_is_not_the_usual_hash() -> None:
    """Vector A.2: hashing the compressed point, as libsecp256k1 does, gives the known wrong value instead."""
    x = bytes.fromhex(VECTOR["x_coordinate"])
    assert VECTOR["wrong_shared_key_from_compressed_point"] in {
        hashlib.sha256(prefix + x).hexdigest() for prefix in (b"\x02", b"\x03")
    }
    assert A.shared_key(B.public_key).hex() != VECTOR["wrong_shared_key_from_compressed_point"]


@pytest.mark.parametrize("seal", VECTOR["seals"], ids=["hello-world", "empty"])
def test_sealed_bytes(seal: dict[str, Any]) -> None:
    """Vector A.2: nonce, ciphertext, tag; 28 bytes more than the text."""
    asked: list[int] = []

    def nonce(size: int) -> bytes:
        asked.append(size)
        return bytes.fromhex(seal["nonce"])

    key = EncryptionKey(bytes.fromhex(VECTORS["keys"]["A"]["mini_secret"]), nonce)
    sealed = key.seal(seal["plain_text"].encode(), B.public_key)
    assert sealed.hex() == seal["sealed"]
    assert asked == [12]
    assert len(sealed) == len(seal["plain_text"]) + OVERHEAD_BYTES == len(seal["plain_text"]) + 28
    assert B.open(sealed, A.public_key) == seal["plain_text"].encode()


def test_every_seal_takes_a_new_nonce() -> None:
    """The same text sealed twice differs, because the random source is asked each time."""
    assert A.seal(b"x", B.public_key) != A.seal(b"x", B.public_key)


@given(st.binary(max_size=200))
def test_round_trip(plain: bytes) -> None:
    """What one side seals the other opens."""
    assert B.open(A.seal(plain, B.public_key), A.public_key) == plain


SEALED = bytes.fromhex(VECTOR["seals"][0]["sealed"])


@given(st.integers(0, len(SEALED) * 8 - 1))
def test_a_turned_bit_does_not_open(bit: int) -> None:
    """Nonce, ciphertext and tag are all protected."""
    damaged = (int.from_bytes(SEALED) ^ (1 << bit)).to_bytes(len(SEALED))
    with pytest.raises(CannotDecrypt, match=r"^e2e error: invalid cipher data$"):
        B.open(damaged, A.public_key)


@pytest.mark.parametrize("size", [0, 1, 11, 12, 27])
def test_short_data_does_not_open(size: int) -> None:
    """Less than nonce and tag is `invalid cipher data` (spec 3.5, 3.6)."""
    with pytest.raises(CannotDecrypt, match=r"^e2e error: invalid cipher data$"):
        B.open(SEALED[:size], A.public_key)


def test_another_key_does_not_open() -> None:
    """A third twin opens nothing."""
    with pytest.raises(CannotDecrypt, match="invalid cipher data"):
        identity_of("C").encryption.open(SEALED, A.public_key)


@given(st.binary(max_size=80), st.binary(max_size=70))
def test_noise_never_crashes(sealed: bytes, public_key: bytes) -> None:
    """Arbitrary data under an arbitrary published key is CannotDecrypt."""
    with pytest.raises(CannotDecrypt):
        B.open(sealed, public_key)


@pytest.mark.parametrize("public_key", NO_POINTS.values(), ids=NO_POINTS.keys())
def test_a_published_key_that_is_no_point(public_key: bytes) -> None:
    """Both directions fail with the `k256` text; only sealing is our own program's error (spec 3.6)."""
    with pytest.raises(CannotEncrypt, match=r"^e2e error: k256: .* not a secp256k1 point$"):
        A.seal(b"x", public_key)
    with pytest.raises(CannotDecrypt, match=r"^e2e error: k256: .* not a secp256k1 point$"):
        A.open(SEALED, public_key)


@pytest.mark.parametrize("scalar", [0, CURVE_ORDER, CURVE_ORDER + 1, 2**256 - 1])
def test_a_seed_that_is_no_scalar_is_refused(scalar: int) -> None:
    """Only 1..n-1 are private keys; others are refused, not reduced (spec 3.4, 9 row 26b)."""
    with pytest.raises(BadSecret, match="not a valid secp256k1 scalar"):
        EncryptionKey(scalar.to_bytes(32), counted_bytes())


def test_the_largest_scalar_is_a_key() -> None:
    """n-1 is accepted."""
    assert len(EncryptionKey((CURVE_ORDER - 1).to_bytes(32), counted_bytes()).public_key) == 33


def public_keys(how_many: int) -> list[bytes]:
    return [EncryptionKey(scalar.to_bytes(32), counted_bytes()).public_key for scalar in range(1, how_many + 1)]


def test_shared_keys_are_computed_once_per_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """The agreement, by far the slowest step, runs once for any number of messages in both directions."""
    key = EncryptionKey((7).to_bytes(32), counted_bytes())
    calls: list[bytes] = []
    real = key.shared_key

    def counted(other: bytes) -> bytes:
        calls.append(other)
        return real(other)

    monkeypatch.setattr(key, "shared_key", counted)
    for _ in range(3):
        key.seal(b"x", B.public_key)
        key.open(B.seal(b"y", key.public_key), B.public_key)
    assert calls == [B.public_key]


def test_shared_key_cache_is_bounded() -> None:
    """At the limit the least recently used pair is forgotten, and is still served when it comes back."""
    key = EncryptionKey((99).to_bytes(32), counted_bytes(), shared_keys_max=3)
    first, second, third, fourth = public_keys(4)
    for other in (first, second, third):
        key.seal(b"x", other)
    key.seal(b"x", first)  # now `second` is the oldest
    assert list(key._ciphers) == [second, third, first]
    key.seal(b"x", fourth)
    assert list(key._ciphers) == [third, first, fourth]
    assert EncryptionKey((2).to_bytes(32), counted_bytes()).open(key.seal(b"back", second), key.public_key) == b"back"
    assert len(key._ciphers) == 3


def test_a_bad_key_takes_no_place_in_the_cache() -> None:
    """Keys that are no points cannot push out good ones."""
    key = EncryptionKey((99).to_bytes(32), counted_bytes(), shared_keys_max=1)
    key.seal(b"x", B.public_key)
    with pytest.raises(CannotEncrypt):
        key.seal(b"x", b"\x02" + b"\xff" * 32)
    assert list(key._ciphers) == [B.public_key]


def test_the_cache_has_a_limit_unless_told_otherwise() -> None:
    """The default limit is the documented one."""
    assert EncryptionKey((1).to_bytes(32), counted_bytes())._shared_keys_max == SHARED_KEYS_MAX == 8192


def test_x_coordinate_vector() -> None:
    """Vector A.2: the agreement returns the bare X coordinate, which is what gets hashed."""
    private = ec.derive_private_key(int(VECTORS["keys"]["A"]["mini_secret"], 16), encryption._CURVE)
    other = ec.EllipticCurvePublicKey.from_encoded_point(encryption._CURVE, B.public_key)
    assert private.exchange(ec.ECDH(), other).hex() == VECTOR["x_coordinate"]
