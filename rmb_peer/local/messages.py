"""The JSON that local programs push and pop, to values and back (spec rmb 5.2 to 5.4; schemas/*.schema.json).

Output is compact, keys in the order of the specification, absent optionals written as null. This module refuses to know
Redis, twins and keys.
"""

from typing import Any, NamedTuple

import orjson

from rmb_peer.local import base64_text, json_fields, keys
from rmb_peer.protocol.address import TWIN_ID_MAX, Address
from rmb_peer.protocol.errors import BadRequest

API_VERSION = 1
DESTINATIONS_MAX = 10_000
"""Twins that one request may name. A guess, above any network of today; sending to this many takes about a second."""

REPLY_LIST = keys.LOCAL_REPLIES

_OWN_LISTS = (keys.LOCAL_REQUESTS, keys.LOCAL_REPLIES)


class MalformedMessage(BadRequest):
    """JSON that is no message.

    Attributes:
        reply_to: the list that its sender reads, when that could be found out.
        reference: the sender's own `ref`, when it could be read.
        responds_to: for answers of services: requester and uid, when both could be read.
    """

    def __init__(
        self,
        text: str,
        *,
        reply_to: str | None = None,
        reference: str | None = None,
        responds_to: tuple[Address, str] | None = None,
    ) -> None:
        super().__init__(text)
        self.reply_to = reply_to
        self.reference = reference
        self.responds_to = responds_to


class OutgoingRequest(NamedTuple):
    """What a client pushed (spec rmb 5.2). Times in seconds; `now_s` 0 means now."""

    reference: str | None
    command: str
    expiration_s: int
    payload: bytes
    tags: str | None
    destinations: tuple[int, ...]
    reply_to: str
    schema: str | None
    now_s: int


class OutgoingResponse(NamedTuple):
    """What a service pushed (spec rmb 5.4). `error` is (code, text); the payload is ignored when it is set."""

    uid: str
    payload: bytes
    destination: Address
    schema: str | None
    now_s: int
    error: tuple[int, str] | None


def parse_request(raw: bytes) -> OutgoingRequest:
    """Read a client's request.

    Raises:
        MalformedMessage: names the field and what it should be.
    """
    fields = _fields(raw)
    try:
        destinations = fields.get("dst")
        if not isinstance(destinations, list) or not destinations:
            raise BadRequest("`dst` must be a list of at least one twin id")
        if len(destinations) > DESTINATIONS_MAX:
            raise BadRequest(f"`dst` must name at most {DESTINATIONS_MAX} twins: send several requests")
        for twin in destinations:
            if type(twin) is not int or not 1 <= twin <= TWIN_ID_MAX:
                raise BadRequest(f"`dst` must be a list of twin ids, each from 1 to {TWIN_ID_MAX}")
        json_fields.integer(fields, "ver", json_fields.U64_MAX)
        return OutgoingRequest(
            reference=json_fields.optional_text(fields, "ref"),
            command=json_fields.text(fields, "cmd"),
            expiration_s=json_fields.integer(fields, "exp", json_fields.U64_MAX),
            payload=json_fields.payload(fields),
            tags=json_fields.optional_text(fields, "tag"),
            destinations=tuple(destinations),
            reply_to=_reply_list(fields),
            schema=json_fields.optional_text(fields, "shm"),
            now_s=json_fields.integer(fields, "now", json_fields.U64_MAX),
        )
    except BadRequest as error:
        raise MalformedMessage(
            f"malformed request: {error}", reply_to=_readable_reply_list(fields), reference=_readable(fields, "ref")
        ) from None


def parse_response(raw: bytes) -> OutgoingResponse:
    """Read a service's answer.

    Raises:
        MalformedMessage: names the field and what it should be.
    """
    fields = _fields(raw)
    try:
        json_fields.integer(fields, "ver", json_fields.U64_MAX)
        error = json_fields.error_of(fields)
        return OutgoingResponse(
            uid=json_fields.optional_text(fields, "ref") or "",
            payload=b"" if error else json_fields.payload(fields),
            destination=_destination(fields),
            schema=json_fields.optional_text(fields, "shm"),
            now_s=json_fields.integer(fields, "now", json_fields.U64_MAX),
            error=error,
        )
    except BadRequest as problem:
        raise MalformedMessage(f"malformed response: {problem}", responds_to=_responds_to(fields)) from None


def incoming_request(
    *,
    uid: str,
    source: Address,
    command: str,
    expiration_s: int,
    payload: bytes,
    tags: str | None,
    schema: str | None,
    timestamp_s: int,
) -> bytes:
    """What a service pops (spec rmb 5.3)."""
    return orjson.dumps(
        {
            "ver": API_VERSION,
            "ref": uid,
            "src": str(source),
            "cmd": command,
            "exp": expiration_s,
            "dat": base64_text.encode(payload),
            "tag": tags,
            "ret": REPLY_LIST,
            "shm": schema,
            "now": timestamp_s,
        }
    )


def incoming_response(
    *,
    reference: str | None,
    payload: bytes,
    source: str,
    schema: str | None,
    timestamp_s: int,
    error: tuple[int, str] | None,
) -> bytes:
    """What a client pops from its `ret` list (spec rmb 5.4).

    Args:
        source: `<twin>` or `<twin>:<session>`; "0" for an error of a relay, "" for one of the local gateway.
        error: code and text, or `None`.
    """
    return orjson.dumps(
        {
            "ver": API_VERSION,
            "ref": reference,
            "dat": base64_text.encode(payload),
            "src": source,
            "shm": schema,
            "now": timestamp_s,
            "err": None if error is None else {"code": error[0], "message": error[1]},
        }
    )


def local_error(reference: str | None, code: int, text: str) -> bytes:
    """The error that the local gateway makes while sending: exactly the object of spec rmb 5.4."""
    return incoming_response(
        reference=reference, payload=b"", source="", schema=None, timestamp_s=0, error=(code, text)
    )


def relay_error(reference: str | None, code: int, text: str, timestamp_s: int) -> bytes:
    """A relay's refusal that came over the acknowledged link: as if the relay had sent an error envelope (twin 0)."""
    return incoming_response(
        reference=reference, payload=b"", source="0", schema=None, timestamp_s=timestamp_s, error=(code, text)
    )


def _fields(raw: bytes) -> dict[str, Any]:
    try:
        return json_fields.object_of(raw)
    except BadRequest as error:
        raise MalformedMessage(str(error)) from None


def _reply_list(fields: dict[str, Any]) -> str:
    name = json_fields.text(fields, "ret")
    if name in _OWN_LISTS or name.startswith(keys.OWN_PREFIX):
        raise BadRequest("`ret` must not name a queue of the gateway itself")
    return name


def _readable_reply_list(fields: dict[str, Any]) -> str | None:
    try:
        return _reply_list(fields)
    except BadRequest:
        return None


def _readable(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) else None


def _destination(fields: dict[str, Any]) -> Address:
    try:
        return Address.parse(json_fields.text(fields, "dst"))
    except ValueError as error:
        raise BadRequest(f"`dst` must be the `src` of the request: {error}") from None


def _responds_to(fields: dict[str, Any]) -> tuple[Address, str] | None:
    uid = _readable(fields, "ref")
    try:
        return (_destination(fields), uid) if uid else None
    except BadRequest:
        return None
