"""The stored form of a request that waits for answers (spec rmb 5.6, vector A.7; schemas/backlog.proto).

Disks and memory flip bits, and a record with one flipped bit mostly still parses: it would send an answer to another
list. So ours carry a checksum; records of the Rust gateway have none and are believed.
"""

import zlib

from google.protobuf.message import DecodeError

from rmb_peer.local.queues import Waiting
from rmb_peer.protocol.pb.backlog_pb2 import Backlog


def encode(waiting: Waiting) -> bytes:
    """Serialise."""
    record = Backlog(
        uid=waiting.uid,
        reference=waiting.reference,
        reply_to=waiting.reply_to,
        ttl=waiting.ttl_s,
        destinations=waiting.destinations,
    )
    data = record.SerializeToString()
    return data + Backlog(checksum=_checksum(data)).SerializeToString()  # fields of a message may follow one another


def decode(data: bytes) -> Waiting | None:
    """Read; `None` when the bytes are damaged, or none of ours."""
    try:
        record = Backlog.FromString(data)
    except DecodeError:
        return None
    checksum = record.checksum
    record.checksum = 0
    if checksum and checksum != _checksum(record.SerializeToString()):
        return None
    return Waiting(
        uid=record.uid,
        reference=record.reference if record.HasField("reference") else None,
        reply_to=record.reply_to,
        ttl_s=record.ttl,
        destinations=tuple(record.destinations),
    )


def _checksum(data: bytes) -> int:
    """Never 0: that means none."""
    return zlib.crc32(data) or 1
