"""The stored form of the journal: many events in one compressed chunk, and what a stranger's chunk cannot do.

Pure. It refuses to know where chunks are kept and what the codes mean (`journal`).
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

CHUNK_BYTES_MAX = 4 * 1024 * 1024
"""Largest chunk that is unpacked, unpacked; a guess, several times what is ever packed."""

_LEVEL = 1  # the fastest: uids do not compress, and everything else does at any level


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a message.

    Attributes:
        at_ms: Unix milliseconds.
        uid: of the message.
        code: what happened, one of `journal.CODES`.
        fields: details, each a JSON value.
    """

    at_ms: int
    uid: str
    code: str
    fields: dict[str, Any] = field(default_factory=dict)


def pack(events: Sequence[tuple[int, str, str, dict[str, Any]]]) -> bytes:
    """One chunk; each event as the tuple of the fields of `Event`."""
    return zlib.compress(orjson.dumps(events), _LEVEL)


def unpack(chunk: bytes) -> list[Event] | None:
    """The events of a chunk; `None` when it is none, or damaged."""
    inflater = zlib.decompressobj()
    try:
        rows = orjson.loads(inflater.decompress(chunk, CHUNK_BYTES_MAX))
    except (zlib.error, orjson.JSONDecodeError):
        return None
    if not isinstance(rows, list) or not all(map(_is_event, rows)):
        return None
    return [Event(*row) for row in rows]


def _is_event(row: Any) -> bool:
    match row:
        case [int(), str(), str(), dict()]:
            return True
        case _:
            return False
