"""Storage keys: which entry of the state a name and a map key lead to (spec tfchain 2, "Keys")."""

import hashlib
from functools import cache

import xxhash

from tests.support.chain.codec import u32


@cache
def item(pallet: str, name: str) -> bytes:
    """The key of a plain item, and the prefix of a map."""
    return _twox128(pallet) + _twox128(name)


def _twox128(name: str) -> bytes:
    raw = name.encode()
    return b"".join(xxhash.xxh64_intdigest(raw, seed).to_bytes(8, "little") for seed in (0, 1))


def entry(pallet: str, name: str, key: bytes) -> bytes:
    """The key of one entry of a Blake2_128Concat map."""
    return item(pallet, name) + hashlib.blake2b(key, digest_size=16).digest() + key


def account(who: bytes) -> bytes:
    """Nonce and balance of an account."""
    return entry("System", "Account", who)


def twin(number: int) -> bytes:
    """The record of a twin."""
    return entry("TfgridModule", "Twins", u32(number))


def twin_of_account(who: bytes) -> bytes:
    """The twin id of an account."""
    return entry("TfgridModule", "TwinIdByAccountID", who)


def terms_of_account(who: bytes) -> bytes:
    """The terms that an account has accepted."""
    return entry("TfgridModule", "UsersTermsAndConditions", who)


TWIN_COUNT = item("TfgridModule", "TwinID")
EVENTS = item("System", "Events")
NUMBER = item("System", "Number")
NOW = item("Timestamp", "Now")
TWINS = item("TfgridModule", "Twins")
