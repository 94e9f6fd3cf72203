"""Values to payloads and back. Pure.

Bytes travel as they are; everything else as JSON, which is what peers in Go and TypeScript read (spec rmb 9, 10).
"""

from dataclasses import dataclass
from typing import Any

import orjson

from rmb_peer.local.program_side import JSON_SCHEMA, guess_schema
from rmb_peer.protocol.envelope import MESSAGE_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Payload:
    """Bytes with their content type, for whoever wants to choose it.

    Attributes:
        data: the bytes.
        schema: content type; by default JSON when they are JSON, else bytes.
    """

    data: bytes
    schema: str | None = None


def encode(value: object) -> Payload:
    """The payload for a value.

    Args:
        value: a `Payload`, bytes, or anything that JSON can hold.

    Raises:
        ValueError: it is something else, or larger than a message may be.
    """
    if isinstance(value, Payload):
        (value.schema or "").encode()  # a UnicodeEncodeError is a ValueError
        payload = Payload(value.data, value.schema or guess_schema(value.data))
    elif isinstance(value, (bytes, bytearray, memoryview)):
        payload = Payload(bytes(value), guess_schema(bytes(value)))
    else:
        try:
            payload = Payload(orjson.dumps(value), JSON_SCHEMA)
        except TypeError as error:
            raise ValueError(f"a payload is bytes, or what JSON can hold: {error}") from None
    if len(payload.data) > MESSAGE_BYTES_MAX:
        raise ValueError(f"a payload of {len(payload.data)} bytes is too large: at most {MESSAGE_BYTES_MAX} travel")
    return payload


def decode_json(data: bytes) -> Any:
    """The JSON value of a payload; an empty one is null.

    Raises:
        ValueError: it is no JSON.
    """
    if not data:
        return None
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"the payload is not JSON: {error}") from None
