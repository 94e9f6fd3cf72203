"""The key by which other relays recognise this one: ed25519, one per store, so that all processes on it are one relay.

The seed is made when a store is used for the first time and stays there, or comes from a file of the operator. Whoever
can read the store can act as this relay; such a one can read every mailbox, too. The secret is never logged and never
part of an error or a `repr`. This module refuses to know what is signed.
"""

import os
import re
import secrets
import stat
from pathlib import Path
from typing import Any

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from relay.keys import IDENTITY
from relay.store import Store
from rmb_peer.protocol.errors import BadSecret, LocalError
from rmb_peer.protocol.secret import mini_secret

KEY_BYTES = 32
"""Of a seed and of a public key (RFC 8032)."""

SIGNATURE_BYTES = 64
"""RFC 8032."""

KEY_FILE_BYTES_MAX = 4096
"""A guess: 24 words are under 220 bytes; more is another file, given by mistake."""

_HEX_SEED = re.compile(r"[0-9a-fA-F]{64}")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class IdentityFailed(LocalError):
    """There is no key to sign with; the text says what to change, and holds no part of a secret."""


class RelayIdentity:
    """Signs in the name of this relay. Its `repr` shows the public key only.

    Attributes:
        public_key: 32 bytes, what `/.well-known/rmb` shows in hex as `relay_key`.
    """

    __slots__ = ("_key", "public_key")

    def __init__(self, seed: bytes) -> None:
        """Derive the key pair.

        Args:
            seed: 32 secret bytes.
        """
        assert len(seed) == KEY_BYTES
        self._key = SigningKey(seed)
        self.public_key = bytes(self._key.verify_key)

    def __repr__(self) -> str:
        return f"RelayIdentity({self.public_key.hex()})"

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature of a message (RFC 8032). A message begins with the name of what it is for."""
        return self._key.sign(message).signature


def signed_by(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether a relay's key made this signature of this message; no input raises."""
    try:
        VerifyKey(public_key).verify(message, signature)
    except (BadSignatureError, ValueError):  # ValueError: not the size of a key or of a signature
        return False
    return True


async def identity_in_store(store: Store) -> RelayIdentity:
    """The key of all relays on this store; the first one that asks makes it.

    Raises:
        IdentityFailed: what the store holds is no seed.
        redis.RedisError: the store does not answer.
    """
    client: Any = store  # the types of both clients' commands differ without need
    await client.set(IDENTITY, secrets.token_hex(KEY_BYTES), nx=True)
    held = await client.get(IDENTITY)
    text = held.decode("ascii", "replace") if isinstance(held, bytes) else str(held)
    if not _HEX_SEED.fullmatch(text):
        raise IdentityFailed(
            f"the store's entry {IDENTITY} is not a seed of 64 hex digits: restore it, or delete it to get a new key"
        )
    return RelayIdentity(bytes.fromhex(text))


def identity_in_file(path: Path) -> RelayIdentity:
    """The key in a file that only its owner can read: 64 hex digits, or a mnemonic as `rmb-peer keys new` writes it.

    A file that is missing is not made: it is a folder that was not mounted more often than a first start.

    Raises:
        IdentityFailed: there is no such file, others may read or change it, or it holds no key.
    """
    text = _read_private(path)
    try:
        return RelayIdentity(mini_secret(f"0x{text}" if _HEX_SEED.fullmatch(text) else text))
    except BadSecret as error:
        raise IdentityFailed(f"the key file {path} holds no key: {error}") from None


def _read_private(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO would wait for a writer
    except OSError as error:
        raise IdentityFailed(
            f"cannot read the key file {path}: {error.strerror}; `rmb-peer keys new --out {path}` makes one"
        ) from None
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise IdentityFailed(f"the key file {path} is not a file")
        if mode & _OTHERS:
            raise IdentityFailed(f"the key file {path} is open to others (mode {stat.S_IMODE(mode):04o}): chmod 600 it")
        data = os.read(descriptor, KEY_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise IdentityFailed(f"cannot read the key file {path}: {error.strerror}") from None
    finally:
        os.close(descriptor)
    if len(data) > KEY_FILE_BYTES_MAX:
        raise IdentityFailed(f"the key file {path} is longer than {KEY_FILE_BYTES_MAX} bytes: is it the right file?")
    try:
        return data.decode("ascii").strip()
    except UnicodeDecodeError:
        raise IdentityFailed(f"the key file {path} is not text: expected words or 64 hex digits") from None
