"""The test vectors of the RMB protocol (tests/vectors/rmb.json), as objects of the code under test."""

import json
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from rmb_peer.protocol.envelope import Envelope
from rmb_peer.protocol.identity import Identity
from rmb_peer.protocol.signatures import KeyType

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "rmb.json").read_text(encoding="utf-8"))


def counted_bytes(start: int = 0) -> Any:
    """A source of "random" bytes that never repeats: a counter, big-endian."""
    counter = count(start)
    return lambda size: next(counter).to_bytes(size)


@cache
def identity_of(name: str, key_type: KeyType = "sr25519") -> Identity:
    """Key A, B or C of appendix A.1."""
    return Identity.from_secret(VECTORS["keys"][name]["secret"], key_type, counted_bytes())


def envelope_of(fields: dict[str, Any]) -> Envelope:
    """The envelope that a vector describes; nothing is set that the vector does not name."""
    envelope = Envelope()
    for name, value in fields.items():
        if name in ("source", "destination", "request", "response", "error", "ping", "pong"):
            part = getattr(envelope, name)
            part.SetInParent()
            for part_name, part_value in value.items():
                setattr(part, part_name, part_value)
        elif name == "plain_text":
            envelope.plain = value.encode()
        elif name in ("cipher", "once", "signature"):
            setattr(envelope, name, bytes.fromhex(value))
        elif name == "relays":
            envelope.relays.extend(value)
        else:
            setattr(envelope, name, value)
    return envelope


def signed_vector(name: str) -> dict[str, Any]:
    """One of the signed envelopes, by name."""
    found: dict[str, Any] = next(vector for vector in VECTORS["signed_envelopes"] if vector["name"] == name)
    return found
