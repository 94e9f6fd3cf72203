"""From the one secret a user holds to the 32 bytes that every key is made of (spec rmb 3.1, 3.2).

Error texts never contain any part of the secret.
"""

import hashlib
import re

from rmb_peer.protocol.errors import BadSecret

MINI_SECRET_BYTES = 32
_PBKDF2_ROUNDS = 2048  # substrate-bip39
_WORD_COUNTS = (12, 15, 18, 21, 24)  # BIP-39


def mini_secret(secret: str) -> bytes:
    """Derive the mini-secret from a BIP-39 English mnemonic or a `0x` seed.

    Unlike standard BIP-39, Substrate feeds the *entropy* to PBKDF2, not the sentence.

    Args:
        secret: 12, 15, 18, 21 or 24 words, or `0x` and 64 hex digits. Derivation paths are refused, as in the Rust
            gateway: the encryption key has no derived form.

    Returns:
        32 bytes.

    Raises:
        BadSecret: says what is wrong with it, without repeating it.
    """
    text = secret.strip()
    if text.startswith("0x"):
        if not re.fullmatch(r"0x[0-9a-fA-F]{64}", text):
            raise BadSecret("the seed must be 0x followed by 64 hex digits (32 bytes), without a derivation path")
        return bytes.fromhex(text[2:])
    return hashlib.pbkdf2_hmac("sha512", _entropy(text), b"mnemonic", _PBKDF2_ROUNDS, 64)[:MINI_SECRET_BYTES]


def mnemonic_of(entropy: bytes) -> str:
    """The English words for 16 to 32 bytes of entropy, for making a new identity."""
    from mnemonic import Mnemonic

    return Mnemonic("english").to_mnemonic(entropy)


def _entropy(text: str) -> bytes:
    from mnemonic import Mnemonic

    words = text.split()
    if "/" in text:
        raise BadSecret("derivation paths and passwords (//, ///) are not supported: give the plain mnemonic")
    if len(words) not in _WORD_COUNTS:
        raise BadSecret(f"a mnemonic has 12, 15, 18, 21 or 24 words, this one has {len(words)}")
    book = Mnemonic("english")
    known = set(book.wordlist)
    for position, word in enumerate(words, 1):
        if word not in known:
            raise BadSecret(f"word {position} of the mnemonic is not in the BIP-39 English list")
    try:
        return bytes(book.to_entropy(words))
    except ValueError:
        raise BadSecret("the mnemonic's checksum does not match: a word is wrong or out of place") from None
