"""Storage keys of the chain: which entry of its state holds what (spec tfchain 2, "Keys"). Pure.

A key begins with the hashes of two names, which are constants. Building keys here takes microseconds; the library asks
the node for head, header and runtime version for each (spec tfchain 8).
"""

import hashlib

_TFGRID = bytes.fromhex("19a2526838feefd7695a3b5715b415b1")
_SYSTEM = bytes.fromhex("26aa394eea5630e07c48ae0c9558cef7")
_TWINS = _TFGRID + bytes.fromhex("311378229266fc86f673a3f4cf398e69")
_TWIN_ID_BY_ACCOUNT = _TFGRID + bytes.fromhex("aca6514962aa3f0d58aff3524045f9e0")
_TERMS = _TFGRID + bytes.fromhex("e334c6916111ab31334321a2719c4da5")
_ACCOUNT = _SYSTEM + bytes.fromhex("b99d880ec681799c0cf30e8886371da9")

LAST_TWIN_ID_KEY = _TFGRID + bytes.fromhex("f0a47c737494e2f765486518570dbe24")
"""`TwinID`: the last id that was handed out."""

EVENTS_KEY = _SYSTEM + bytes.fromhex("80d41e5e16056765bc8461851072c9d7")
"""`System.Events`: all events of a block."""


def twin_key(twin_id: int) -> bytes:
    """`Twins(id)`: the record of a twin."""
    return _blake2_128_concat(_TWINS, twin_id.to_bytes(4, "little"))


def twin_id_key(account: bytes) -> bytes:
    """`TwinIdByAccountID(account)`."""
    return _blake2_128_concat(_TWIN_ID_BY_ACCOUNT, account)


def terms_key(account: bytes) -> bytes:
    """`UsersTermsAndConditions(account)`: there when the account has accepted terms."""
    return _blake2_128_concat(_TERMS, account)


def account_key(account: bytes) -> bytes:
    """`System.Account(account)`: nonce and balance."""
    return _blake2_128_concat(_ACCOUNT, account)


def _blake2_128_concat(prefix: bytes, key: bytes) -> bytes:
    return prefix + hashlib.blake2b(key, digest_size=16).digest() + key
