"""The request for a twin id at a relay-hosted registry: proof that we hold an account's key, made out to one registry.

It refuses to know how the request travels, and which names a registry goes by.
"""

from dataclasses import dataclass
from typing import Any

from rmb_peer.protocol.errors import BadRequest
from rmb_peer.protocol.names import RELAY_CHARS_MAX
from rmb_peer.protocol.signatures import ACCOUNT_BYTES, SIGNATURE_BYTES, Signer
from rmb_peer.protocol.twin_record import sign_claim, verify_claim


@dataclass(frozen=True, slots=True)
class Claim:
    """What an account says to be given an id.

    Attributes:
        account: 32 bytes.
        audience: name of the registry it is meant for, `host` or `host:port`.
        signature: 65 bytes, see `twin_record.sign_claim`.
    """

    account: bytes
    audience: str
    signature: bytes

    @classmethod
    def make(cls, signer: Signer, audience: str) -> "Claim":
        """Sign a claim."""
        return cls(signer.account, audience, sign_claim(signer, audience))

    def verify(self) -> None:
        """Check that the account itself made this claim for this audience.

        Raises:
            InvalidSignature: it did not.
        """
        verify_claim(self.signature, self.account, self.audience)

    def to_json(self) -> dict[str, str]:
        """The object that is posted."""
        return {"account": self.account.hex(), "audience": self.audience, "signature": self.signature.hex()}

    @classmethod
    def from_json(cls, value: Any) -> "Claim":
        """Read that object. The signature is not checked here.

        Raises:
            BadRequest: a field is missing or has the wrong form; the text names it.
        """
        if not isinstance(value, dict):
            raise BadRequest("a claim must be a JSON object with `account`, `audience` and `signature`")
        audience = value.get("audience")
        if not isinstance(audience, str) or not 0 < len(audience) <= RELAY_CHARS_MAX:
            raise BadRequest("`audience` must be the name of this registry: host or host:port")
        return cls(_hex(value, "account", ACCOUNT_BYTES), audience, _hex(value, "signature", SIGNATURE_BYTES))


def _hex(value: dict[str, Any], name: str, size: int) -> bytes:
    text = value.get(name)
    try:
        raw = bytes.fromhex(text) if isinstance(text, str) and len(text) == 2 * size else b""
    except ValueError:
        raw = b""
    if len(raw) != size:  # `fromhex` skips white space
        raise BadRequest(f"`{name}` must be {2 * size} hex digits")
    return raw
