"""The exact bytes that an envelope's signature covers (spec rmb 2.6).

They are the fields' contents one after another, without lengths or separators, then MD5 over them. Both choices are
weak (spec rmb 10.2) and fixed by every existing implementation; see DESIGN.md for what we do around them.

Not covered: the signature itself, the kind, which payload member is used, unknown fields, and `once`.
"""

import hashlib

from rmb_peer.protocol.pb.envelope_pb2 import Envelope


def challenge_text(envelope: Envelope) -> bytes:
    """The concatenation, in the order of the table in spec rmb 2.6.

    An absent address contributes `0`, as the Rust gateway does; that matters for unsigned messages only.
    """
    return b"".join(_parts(envelope))


def challenge(envelope: Envelope) -> bytes:
    """The 16 bytes that are given to the signature scheme."""
    before, payload, after = _parts(envelope)
    digest = hashlib.md5(before, usedforsecurity=False)
    digest.update(payload)  # by itself: it may be 16 MiB, which are not copied for this
    if after:
        digest.update(after)
    return digest.digest()


def _parts(envelope: Envelope) -> tuple[bytes, bytes, bytes]:
    """What comes before the payload, the payload, and what follows it.

    An absent text reads as an empty one, and both contribute nothing; so presence need not be asked for.
    """
    source, destination = envelope.source, envelope.destination
    before = (
        f"{envelope.uid}{envelope.tags}{envelope.timestamp}{envelope.expiration}"
        f"{source.twin}{source.connection}{destination.twin}{destination.connection}"
    )
    kind = envelope.WhichOneof("message")
    if kind == "request":
        before += envelope.request.command
    elif kind == "error":
        before += f"{envelope.error.code}{envelope.error.message}"
    before += envelope.schema + envelope.federation
    # One payload at most is present; the other one reads as empty.
    relays = envelope.relays
    return before.encode(), envelope.cipher or envelope.plain, "".join(relays).encode() if relays else b""
