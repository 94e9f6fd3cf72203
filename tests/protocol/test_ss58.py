"""Accounts as people see them: the vectors, other networks' prefixes, and typing mistakes."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmb_peer.protocol.ss58 import decode_account, encode_account
from tests.support.vectors import VECTORS

TEXT_A = VECTORS["keys"]["A"]["ss58_prefix_42"]
ACCOUNT_A = bytes.fromhex(VECTORS["keys"]["A"]["sr25519_public"])
ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def base58(raw: bytes) -> str:
    """The usual base58, leading zero bytes as `1`."""
    number, text = int.from_bytes(raw), ""
    while number:
        number, digit = divmod(number, 58)
        text = ALPHABET[digit] + text
    return "1" * (len(raw) - len(raw.lstrip(b"\0"))) + text


def ss58(prefix: bytes, account: bytes) -> str:
    body = prefix + account
    return base58(body + hashlib.blake2b(b"SS58PRE" + body, digest_size=64).digest()[:2])


@pytest.mark.parametrize("name", ["A", "B", "C"])
def test_vectors(name: str) -> None:
    """Vector A.1 (C is asserted upstream): both directions."""
    vector = VECTORS["keys"][name]
    assert encode_account(bytes.fromhex(vector["sr25519_public"])) == vector["ss58_prefix_42"]
    assert decode_account(vector["ss58_prefix_42"]).hex() == vector["sr25519_public"]


@pytest.mark.parametrize("text", [ACCOUNT_A.hex(), "0x" + ACCOUNT_A.hex(), ACCOUNT_A.hex().upper()])
def test_hex_form(text: str) -> None:
    """64 hex digits with or without `0x` are an account, too."""
    assert decode_account(text) == ACCOUNT_A


@pytest.mark.parametrize("prefix", [0, 2, 42, 63])
@pytest.mark.parametrize("account", [ACCOUNT_A, bytes(32), b"\0" * 31 + b"\1", b"\xff" * 32], ids=["A", "0", "1", "ff"])
def test_any_one_byte_prefix(prefix: int, account: bytes) -> None:
    """A wallet set to another network shows the same account; prefix 0 (Polkadot) starts with a `1`."""
    assert decode_account(ss58(bytes([prefix]), account)) == account


@pytest.mark.parametrize("prefix", [b"\x40", b"\x80", b"\xff", b"\x50\x01", b""], ids=repr)
def test_prefixes_that_are_not_one_byte(prefix: bytes) -> None:
    """From 64 on the first byte announces a two-byte prefix, from 128 on it is reserved: no account of ours."""
    with pytest.raises(ValueError, match="account"):
        decode_account(ss58(prefix, ACCOUNT_A))


@pytest.mark.parametrize(
    "text",
    [
        "", "0x", "1", "1" * 35, "1" + TEXT_A, TEXT_A + "1", TEXT_A[:-1], TEXT_A[:-1] + "Y", TEXT_A.lower(),
        " " + TEXT_A, TEXT_A + "\n", "0" * 48, "l" * 48, "O" * 48, "z" * 60, "z" * 61, "z" * 100_000,
        ACCOUNT_A.hex()[:-1], ACCOUNT_A.hex() + "0", "0x" + "g" * 64, "\u0661" * 64, "\ud800" * 48,
        ss58(b"\x2a", ACCOUNT_A[:-1]),
    ],
    ids=lambda text: repr(text[:20]),
)  # fmt: skip
def test_no_accounts(text: str) -> None:
    """Typing mistakes are refused with what was expected."""
    with pytest.raises(ValueError, match="account") as caught:
        decode_account(text)
    assert type(caught.value) is ValueError


@given(st.integers(0, len(TEXT_A) - 1), st.sampled_from(ALPHABET))
def test_a_wrong_character_is_noticed(at: int, character: str) -> None:
    """One mistyped character never gives another account (two checksum bytes; true for this text)."""
    text = TEXT_A[:at] + character + TEXT_A[at + 1 :]
    if text == TEXT_A:
        return
    with pytest.raises(ValueError, match="account"):
        decode_account(text)


@given(st.binary(min_size=32, max_size=32))
def test_round_trip(account: bytes) -> None:
    """Every account has a text that gives it back."""
    assert decode_account(encode_account(account)) == account
    assert encode_account(account) == ss58(b"\x2a", account)


@given(st.text(st.characters(), max_size=70) | st.text(ALPHABET, max_size=60))
def test_noise_never_crashes(text: str) -> None:
    """Any text is 32 bytes or a ValueError of ours."""
    try:
        assert len(decode_account(text)) == 32
    except ValueError as error:
        assert type(error) is ValueError
