"""End-to-end sealing of payloads between two twins (spec rmb 3.4, 3.5).

The key of a pair of twins is static: computed once, kept in a bounded cache. This module refuses to know twins: it
works on public keys.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rmb_peer.protocol.errors import BadSecret, CannotDecrypt, CannotEncrypt

NONCE_BYTES = 12
TAG_BYTES = 16
OVERHEAD_BYTES = NONCE_BYTES + TAG_BYTES
PUBLIC_KEY_BYTES = 33
"""Compressed SEC1 point."""

SHARED_KEYS_MAX = 8192
"""Pairs whose AES object is kept. A guess: about 1 kB each, and more partners than a busy gateway has at a time."""

_CURVE = ec.SECP256K1()
_NO_POINT = "k256: the twin's published key is not a secp256k1 point"


class EncryptionKey:
    """The secp256k1 key of one twin, and the shared keys made from it.

    Attributes:
        public_key: what the twin publishes, 33 bytes.
    """

    def __init__(
        self, mini: bytes, random_bytes: Callable[[int], bytes], shared_keys_max: int = SHARED_KEYS_MAX
    ) -> None:
        """Take the mini-secret as private scalar, without hashing.

        Args:
            mini: 32 bytes.
            random_bytes: source of nonces; the operating system's in production.
            shared_keys_max: pairs to remember; the least recently used is forgotten first.

        Raises:
            BadSecret: the value is not in 1..n-1.
        """
        try:
            self._key = ec.derive_private_key(int.from_bytes(mini), _CURVE)
        except ValueError:
            raise BadSecret("failed to initialize encryption key: the seed is not a valid secp256k1 scalar") from None
        self.public_key = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        self._random_bytes = random_bytes
        self._shared_keys_max = shared_keys_max
        self._ciphers: OrderedDict[bytes, AESGCM] = OrderedDict()

    def shared_key(self, other_public_key: bytes) -> bytes:
        """SHA-256 of the X coordinate of the agreed point: 32 bytes, the same for both sides.

        Raises:
            ValueError: `other_public_key` is no point of the curve.
        """
        other = ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, other_public_key)
        return hashlib.sha256(self._key.exchange(ec.ECDH(), other)).digest()

    def new_nonce(self) -> bytes:
        """For one message, sealed by `cipher_to_seal`."""
        return self._random_bytes(NONCE_BYTES)

    def cipher_to_seal(self, other_public_key: bytes) -> AESGCM:
        """The cipher of a pair of twins; by itself for large payloads (`large_envelope`).

        Raises:
            CannotEncrypt: the published key is no key.
        """
        try:
            return self._cipher(other_public_key)
        except ValueError:
            raise CannotEncrypt(_NO_POINT) from None

    def cipher_to_open(self, other_public_key: bytes) -> AESGCM:
        """The same cipher, for what the other twin sealed.

        Raises:
            CannotDecrypt: the published key is no key.
        """
        try:
            return self._cipher(other_public_key)
        except ValueError:
            raise CannotDecrypt(_NO_POINT) from None

    def seal(self, plain: bytes, other_public_key: bytes) -> bytes:
        """Encrypt for the holder of `other_public_key`.

        Returns:
            nonce (12) || ciphertext || tag (16).

        Raises:
            CannotEncrypt: the published key is no key.
        """
        cipher = self.cipher_to_seal(other_public_key)
        nonce = self.new_nonce()
        return nonce + cipher.encrypt(nonce, plain, None)

    def open(self, sealed: bytes, other_public_key: bytes) -> bytes:
        """Decrypt what the holder of `other_public_key` sealed for us.

        Raises:
            CannotDecrypt: with the text of spec rmb 3.6.
        """
        cipher = self.cipher_to_open(other_public_key)
        if len(sealed) < OVERHEAD_BYTES:
            raise CannotDecrypt("invalid cipher data")
        try:
            return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None)
        except InvalidTag:
            raise CannotDecrypt("invalid cipher data") from None

    def _cipher(self, other_public_key: bytes) -> AESGCM:
        cipher = self._ciphers.get(other_public_key)
        if cipher is None:
            cipher = self._ciphers[other_public_key] = AESGCM(self.shared_key(other_public_key))
            if len(self._ciphers) > self._shared_keys_max:
                self._ciphers.popitem(last=False)
        else:
            self._ciphers.move_to_end(other_public_key)
        return cipher
