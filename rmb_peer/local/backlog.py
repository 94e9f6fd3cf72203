"""The stored form of a request that waits for answers (spec rmb 5.6, vector A.7; schemas/backlog.proto)."""

from google.protobuf.message import DecodeError

from rmb_peer.local.queues import Waiting
from rmb_peer.protocol.pb.backlog_pb2 import Backlog


def encode(waiting: Waiting) -> bytes:
    """Serialise."""
    return Backlog(
        uid=waiting.uid,
        reference=waiting.reference,
        reply_to=waiting.reply_to,
        ttl=waiting.ttl_s,
        destinations=sorted(waiting.destinations),
    ).SerializeToString()


def decode(data: bytes) -> Waiting | None:
    """Read; `None` when the bytes are none of ours, so that a foreign value under the key counts as no backlog."""
    try:
        record = Backlog.FromString(data)
    except DecodeError:
        return None
    return Waiting(
        uid=record.uid,
        reference=record.reference if record.HasField("reference") else None,
        reply_to=record.reply_to,
        ttl_s=record.ttl,
        destinations=frozenset(record.destinations),
    )
