"""The exact bytes that an envelope's signature covers (spec rmb 2.6).

They are the fields' contents one after another, without lengths or separators, then MD5 over them. Both choices are
weak (spec rmb 10.2) and fixed by every existing implementation; see DESIGN.md for what we do around them.

Not covered: the signature itself, the kind, which payload member is used, unknown fields, and `once`.
"""

import hashlib

from rmb_peer.protocol.pb.envelope_pb2 import Address as AddressMessage
from rmb_peer.protocol.pb.envelope_pb2 import Envelope


def challenge_text(envelope: Envelope) -> bytes:
    """The concatenation, in the order of the table in spec rmb 2.6.

    An absent address contributes `0`, as the Rust gateway does; that matters for unsigned messages only.
    """
    parts = [envelope.uid.encode()]
    if envelope.HasField("tags"):
        parts.append(envelope.tags.encode())
    parts += (b"%d%d" % (envelope.timestamp, envelope.expiration), _address(envelope.source))
    parts.append(_address(envelope.destination))
    kind = envelope.WhichOneof("message")
    if kind == "request":
        parts.append(envelope.request.command.encode())
    elif kind == "error":
        parts.append(b"%d" % envelope.error.code)
        parts.append(envelope.error.message.encode())
    if envelope.HasField("schema"):
        parts.append(envelope.schema.encode())
    if envelope.HasField("federation"):
        parts.append(envelope.federation.encode())
    payload = envelope.WhichOneof("payload")
    if payload == "cipher":
        parts.append(envelope.cipher)
    elif payload == "plain":
        parts.append(envelope.plain)
    parts += (relay.encode() for relay in envelope.relays)
    return b"".join(parts)


def challenge(envelope: Envelope) -> bytes:
    """The 16 bytes that are given to the signature scheme."""
    return hashlib.md5(challenge_text(envelope), usedforsecurity=False).digest()


def _address(address: AddressMessage) -> bytes:
    if address.HasField("connection"):
        return b"%d%s" % (address.twin, address.connection.encode())
    return b"%d" % address.twin
