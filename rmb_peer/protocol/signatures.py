"""Signatures of twins: one type byte, then 64 bytes (spec rmb 2.7, 3.3).

The account id of a twin *is* its public key; which scheme it belongs to is said only by the type byte of a signature.
"""

from collections.abc import Callable
from functools import cache
from typing import Literal, Protocol, get_args

from rmb_peer.protocol.errors import InvalidSignature
from rmb_peer.protocol.secret import MINI_SECRET_BYTES

KeyType = Literal["sr25519", "ed25519"]
KEY_TYPES: tuple[KeyType, ...] = get_args(KeyType)

SIGNATURE_BYTES = 65
ACCOUNT_BYTES = 32
_ED25519 = 0x65  # "e"
_SR25519 = 0x73  # "s"


class Signer(Protocol):
    """Signs in the name of one twin."""

    key_type: KeyType
    account: bytes

    def sign(self, message: bytes) -> bytes:
        """Return the 65-byte signature of `message`."""
        ...


class Sr25519Signer:
    """Schnorr over Ristretto with Substrate's signing context; every signature of the same bytes differs."""

    key_type: KeyType = "sr25519"

    def __init__(self, mini: bytes) -> None:
        import sr25519

        self._sign = sr25519.sign
        self._pair = sr25519.pair_from_seed(mini)
        self.account = bytes(self._pair[0])

    def sign(self, message: bytes) -> bytes:
        """Return the 65-byte signature of `message`."""
        return b"s" + bytes(self._sign(self._pair, message))


class Ed25519Signer:
    """RFC 8032; deterministic."""

    key_type: KeyType = "ed25519"

    def __init__(self, mini: bytes) -> None:
        from nacl.signing import SigningKey

        self._key = SigningKey(mini)
        self.account = bytes(self._key.verify_key)

    def sign(self, message: bytes) -> bytes:
        """Return the 65-byte signature of `message`."""
        return b"e" + self._key.sign(message).signature


def make_signer(mini: bytes, key_type: KeyType) -> Signer:
    """The signer for a mini-secret.

    Args:
        mini: 32 bytes, see `secret.mini_secret`.
        key_type: "sr25519" or "ed25519".
    """
    assert len(mini) == MINI_SECRET_BYTES
    return Sr25519Signer(mini) if key_type == "sr25519" else Ed25519Signer(mini)


def verify(signature: bytes, message: bytes, account: bytes) -> None:
    """Check a 65-byte signature.

    Args:
        signature: type byte and raw signature.
        message: what was signed.
        account: the twin's 32-byte account id, used as public key of whichever scheme the type byte names.

    Raises:
        InvalidSignature: with the text of spec rmb 2.7.
    """
    if len(signature) != SIGNATURE_BYTES:
        raise InvalidSignature(f"invalid signature length, expected: {SIGNATURE_BYTES}, found: {len(signature)}")
    if signature[0] == _SR25519:
        if not _verify_sr25519(signature[1:], message, account):
            raise InvalidSignature("sr25519 signature verification failed")
    elif signature[0] == _ED25519:
        if not _verify_ed25519(signature[1:], message, account):
            raise InvalidSignature("ed25519 signature verification failed")
    else:
        raise InvalidSignature("invalid signature type (expected either sr25519 or ed25519)")


@cache
def _sr25519_verifier() -> Callable[[bytes, bytes, bytes], bool]:
    """Loaded when the first such signature comes; asking the import system for each costs half a microsecond."""
    import sr25519

    return sr25519.verify  # type: ignore[no-any-return]


def _verify_sr25519(raw: bytes, message: bytes, account: bytes) -> bool:
    try:
        return bool(_sr25519_verifier()(raw, message, account))
    except ValueError:  # structurally no signature, or the account is no key of this scheme
        return False


def _verify_ed25519(raw: bytes, message: bytes, account: bytes) -> bool:
    from nacl.exceptions import BadSignatureError
    from nacl.signing import VerifyKey

    try:
        VerifyKey(account).verify(message, raw)
    except (BadSignatureError, ValueError):  # ValueError: the account does not have the size of a key
        return False
    return True
