"""One secret, one identity; nothing of the secret is ever shown."""

import pytest

from rmb_peer.protocol.errors import BadSecret
from rmb_peer.protocol.identity import Identity
from rmb_peer.protocol.signatures import KEY_TYPES, KeyType
from tests.support.vectors import VECTORS, counted_bytes, identity_of


@pytest.mark.parametrize("key_type", KEY_TYPES)
@pytest.mark.parametrize("name", ["A", "B", "C"])
def test_both_keys_of_a_secret(name: str, key_type: KeyType) -> None:
    """Vector A.1: one secret gives the account and the encryption key, whatever the signing scheme."""
    identity, vector = identity_of(name, key_type), VECTORS["keys"][name]
    assert identity.account.hex() == vector[f"{key_type}_public"]
    assert identity.public_key.hex() == vector["secp256k1_public"]


def test_repr_shows_public_parts_only() -> None:
    """An identity in a log line shows scheme and account, no secret."""
    shown = repr(identity_of("A"))
    assert VECTORS["keys"]["A"]["sr25519_public"] in shown
    assert "sr25519" in shown
    for holder in (
        identity_of("A"),
        identity_of("A").signer,
        identity_of("A").encryption,
        identity_of("A", "ed25519").signer,
    ):
        assert VECTORS["keys"]["A"]["mini_secret"][:8] not in repr(holder)


@pytest.mark.parametrize("secret", ["0x" + "00" * 32, "0x" + "ff" * 32, "0x12", "//Alice"])
def test_a_secret_without_both_keys_is_refused(secret: str) -> None:
    """A seed that signs but is no encryption key is refused as a whole (spec 3.4, 9 row 26b)."""
    with pytest.raises(BadSecret):
        Identity.from_secret(secret, "sr25519", counted_bytes())
