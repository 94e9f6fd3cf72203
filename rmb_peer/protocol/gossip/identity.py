"""What a message's identity says, and the bytes that its author signs (spec gossip 3, 19; weaknesses W6, W35).

The round is outside the signature: it is the only field that changes on the way.
"""

import hashlib

from rmb_peer.protocol.gossip.messages import Gossip, Scope, Stamp, TopicId

CONTENT_ID_BYTES = 32
SIGNING_LABEL = b"rmb-gossip-1\0"
"""Separates these signatures from all others that a twin makes."""


def content_id(content: bytes) -> bytes:
    """Upstream's identity: a hash of the payload and of nothing else. It uses BLAKE3; any hash behaves the same."""
    return hashlib.blake2b(content, digest_size=CONTENT_ID_BYTES).digest()


def signed_bytes(topic: TopicId, message: Gossip) -> bytes:
    """What the author signs: topic, scope, stamp with fixed widths, then the payload.

    Args:
        topic: 32 bytes.
        message: with a stamp for its identity.
    """
    assert isinstance(message.id, Stamp)
    author, incarnation, number = message.id
    scope = Scope.NEIGHBORS if message.round is None else Scope.SWARM
    numbers = author.to_bytes(8) + incarnation.to_bytes(8) + number.to_bytes(8)
    return SIGNING_LABEL + topic + bytes([scope]) + numbers + message.content
