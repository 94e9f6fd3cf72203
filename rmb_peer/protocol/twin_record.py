"""The signed record of a twin, as a relay-hosted registry stores it.

The twin signs its own id, version, relays and public key, so that the host can neither change a record nor serve one
twin's record under another's id; and because versions only grow, an older record is recognised by whoever saw a newer.
The host allocates ids: it is shown an account by a signed *claim*, answers with an id, and the twin then signs the
record.

What is signed is a list of fields, each preceded by its length as 4 bytes big-endian: nothing can run together.
"""

from dataclasses import dataclass
from typing import Any

from rmb_peer.protocol.address import TWIN_ID_MAX
from rmb_peer.protocol.encryption import PUBLIC_KEY_BYTES
from rmb_peer.protocol.errors import BadRequest
from rmb_peer.protocol.names import relay_set
from rmb_peer.protocol.signatures import ACCOUNT_BYTES, SIGNATURE_BYTES, Signer, verify
from rmb_peer.protocol.twin import Twin

VERSION_MAX = 2**53 - 1
"""Largest integer that every JSON reader keeps exact (RFC 8259, section 6)."""

_RECORD_LABEL = b"rmb-registry-record-1"
_CLAIM_LABEL = b"rmb-registry-claim-1"


@dataclass(frozen=True, slots=True)
class SignedTwin:
    """A twin and its own signature over it.

    Attributes:
        twin: the record; its version is at least 1.
        signature: 65 bytes, see `signatures`.
    """

    twin: Twin
    signature: bytes

    def verify(self) -> None:
        """Check that the twin itself signed this.

        Raises:
            InvalidSignature: it did not.
        """
        verify(self.signature, _record_bytes(self.twin), self.twin.account)

    def to_json(self) -> dict[str, Any]:
        """The object that the REST interface carries (schemas/registry_record.schema.json)."""
        twin = self.twin
        return {
            "id": twin.id,
            "account": twin.account.hex(),
            "relays": sorted(twin.relays),
            "pk": None if twin.public_key is None else twin.public_key.hex(),
            "version": twin.version,
            "signature": self.signature.hex(),
        }

    @classmethod
    def from_json(cls, value: Any) -> "SignedTwin":
        """Read that object. The signature is not checked here.

        Raises:
            BadRequest: a field is missing or has the wrong form; the text names it.
        """
        if not isinstance(value, dict):
            raise BadRequest("a twin record must be a JSON object")
        relays = value.get("relays")
        if not isinstance(relays, list) or not all(isinstance(relay, str) for relay in relays):
            raise BadRequest("`relays` must be a list of texts")
        public_key = None if value.get("pk") is None else _hex(value, "pk", PUBLIC_KEY_BYTES)
        if public_key is not None and public_key[0] not in (2, 3):
            raise BadRequest("`pk` must be a compressed secp256k1 point: it starts with 02 or 03")
        twin = Twin(
            id=_integer(value, "id", TWIN_ID_MAX),
            account=_hex(value, "account", ACCOUNT_BYTES),
            relays=relay_set(relays),
            public_key=public_key,
            version=_integer(value, "version", VERSION_MAX),
        )
        return cls(twin, _hex(value, "signature", SIGNATURE_BYTES))


def sign_twin(twin: Twin, signer: Signer) -> SignedTwin:
    """Sign a record with the key of the twin it describes."""
    assert twin.account == signer.account
    return SignedTwin(twin, signer.sign(_record_bytes(twin)))


def sign_claim(signer: Signer, audience: str) -> bytes:
    """Prove to one registry that we hold the key of an account, to be given an id for it.

    Args:
        signer: key of the account.
        audience: the registry's name, `host` or `host:port`, so that the proof is of no use elsewhere.
    """
    return signer.sign(_join(_CLAIM_LABEL, signer.account, audience.encode()))


def verify_claim(signature: bytes, account: bytes, audience: str) -> None:
    """Check what `sign_claim` made.

    Raises:
        InvalidSignature: it was not made by this account for this audience.
    """
    verify(signature, _join(_CLAIM_LABEL, account, audience.encode()), account)


def _record_bytes(twin: Twin) -> bytes:
    relays = [relay.encode() for relay in sorted(twin.relays)]
    key = [b""] if twin.public_key is None else [b"pk", twin.public_key]
    return _join(_RECORD_LABEL, b"%d" % twin.id, twin.account, b"%d" % twin.version, *key, b"%d" % len(relays), *relays)


def _join(*fields: bytes) -> bytes:
    return b"".join(len(field).to_bytes(4) + field for field in fields)


def _integer(value: dict[str, Any], name: str, most: int) -> int:
    number = value.get(name)
    if type(number) is not int or not 1 <= number <= most:
        raise BadRequest(f"`{name}` must be an integer from 1 to {most}")
    return number


def _hex(value: dict[str, Any], name: str, size: int) -> bytes:
    text = value.get(name)
    if not isinstance(text, str) or len(text) != 2 * size:
        raise BadRequest(f"`{name}` must be {2 * size} hex digits")
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != size:  # `fromhex` skips white space
        raise BadRequest(f"`{name}` must be {2 * size} hex digits")
    return raw
