"""Everything one secret gives: the signing key and the encryption key of a twin (spec rmb 3)."""

from collections.abc import Callable
from dataclasses import dataclass, field

from rmb_peer.protocol.encryption import EncryptionKey
from rmb_peer.protocol.secret import mini_secret
from rmb_peer.protocol.signatures import KeyType, Signer, make_signer


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """The keys of one twin. Its `repr` shows public parts only.

    Attributes:
        signer: signs envelopes, tokens and registry records.
        encryption: seals and opens payloads.
        mini: what both are made of, secret; for processes of ours that act in the twin's name.
    """

    signer: Signer
    encryption: EncryptionKey
    mini: bytes = field(compare=False)

    def __repr__(self) -> str:
        return f"Identity({self.signer.key_type}, account={self.account.hex()})"

    @property
    def account(self) -> bytes:
        """32-byte account id, which is the public signing key."""
        return self.signer.account

    @property
    def public_key(self) -> bytes:
        """33-byte public encryption key."""
        return self.encryption.public_key

    @classmethod
    def from_secret(cls, secret: str, key_type: KeyType, random_bytes: Callable[[int], bytes]) -> "Identity":
        """Derive the keys of a mnemonic or `0x` seed.

        Raises:
            BadSecret: the secret cannot be used.
        """
        return cls.from_mini(mini_secret(secret), key_type, random_bytes)

    @classmethod
    def from_mini(cls, mini: bytes, key_type: KeyType, random_bytes: Callable[[int], bytes]) -> "Identity":
        """The same from the mini-secret (`secret.mini_secret`).

        Raises:
            BadSecret: it is no secp256k1 scalar.
        """
        return cls(signer=make_signer(mini, key_type), encryption=EncryptionKey(mini, random_bytes), mini=mini)
