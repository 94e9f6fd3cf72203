"""Reading JSON objects strictly: the right type or an error that names the field (spec rmb appendix B).

Shared by both halves of the Redis API: what gateways read and what local programs read.
"""

from typing import Any

import orjson

from rmb_peer.local import base64_text
from rmb_peer.protocol.errors import BadRequest

U32_MAX = 2**32 - 1
U64_MAX = 2**64 - 1


def object_of(raw: bytes) -> dict[str, Any]:
    """The object that a JSON text is.

    Raises:
        BadRequest: it is no JSON, or no object.
    """
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadRequest("not a JSON object")
    return value


def text(fields: dict[str, Any], name: str) -> str:
    """A text that must be there.

    Raises:
        BadRequest: it is missing or no text.
    """
    value = fields.get(name)
    if not isinstance(value, str):
        raise BadRequest(f"`{name}` must be a text")
    return value


def optional_text(fields: dict[str, Any], name: str) -> str | None:
    """A text, or `None` when it is missing or null.

    Raises:
        BadRequest: it is something else.
    """
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise BadRequest(f"`{name}` must be a text or null")
    return value


def integer(fields: dict[str, Any], name: str, most: int) -> int:
    """An integer from 0 to `most` that must be there; neither `true` nor `300.0` is one.

    Raises:
        BadRequest: it is missing or something else.
    """
    value = fields.get(name)
    if type(value) is not int or not 0 <= value <= most:  # bool is an int to isinstance
        raise BadRequest(f"`{name}` must be an integer from 0 to {most}")
    return value


def payload(fields: dict[str, Any]) -> bytes:
    """The decoded `dat`.

    Raises:
        BadRequest: it is missing or no standard base64.
    """
    try:
        return base64_text.decode(text(fields, "dat"))
    except ValueError as error:
        raise BadRequest(f"`dat` is not standard base64: it {error}") from None


def error_of(fields: dict[str, Any]) -> tuple[int, str] | None:
    """Code and text of `err`, or `None` when it is missing or null (spec rmb 5.4).

    Raises:
        BadRequest: it is something else.
    """
    value = fields.get("err")
    if value is None:
        return None
    if not isinstance(value, dict):
        raise BadRequest('`err` must be null or an object {"code": number, "message": text}')
    return integer(value, "code", U32_MAX), text(value, "message")
