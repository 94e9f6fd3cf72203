"""Identifiers of messages, derived from the outbox entry they were made from: the same again after a restart."""

import hashlib

ONCE_BYTES = 16


def request_uid(key: bytes, entry: str) -> str:
    """The uid of the request in an outbox entry, in the form of a random UUID (version 4, RFC 9562) as others use.

    Args:
        key: the store's uid key, so that uids of two gateways differ and cannot be guessed.
        entry: outbox id.
    """
    digits = hashlib.blake2b(entry.encode(), key=key, digest_size=16, person=b"rmb uid").hexdigest()
    # By hand: making a `UUID` for this costs twice the hash. Version 4 and variant 1 (RFC 9562, 4 and 5.4).
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def once_id(key: bytes, entry: str, index: int) -> bytes:
    """The 16 bytes by which a receiver recognises a message that had to be signed and sent anew.

    Args:
        key: the store's uid key.
        entry: outbox id.
        index: position among the messages made from this entry.
    """
    text = f"{entry}/{index}".encode()
    return hashlib.blake2b(text, key=key, digest_size=ONCE_BYTES, person=b"rmb once").digest()
