"""The JSON of the Redis API as local programs see it (spec rmb 5.2 to 5.4): clients ask, services answer.

The gateway's half of the same conversation is `messages.py`; this half works beside any gateway that speaks the API. It
is pure, and refuses to know Redis, the clock and where a payload comes from.
"""

from dataclasses import dataclass
from typing import Any

import orjson

from rmb_peer.local import base64_text, json_fields
from rmb_peer.local.keys import LOCAL_REPLIES
from rmb_peer.protocol.errors import BadRequest

API_VERSION = 1
JSON_SCHEMA = "application/json"
BYTES_SCHEMA = "application/octet-stream"

ENTRY_BYTES_MAX = 32 * 2**20
"""Largest entry read from a list: a 16 MiB frame is the most that gateways exchange (spec rmb 2.2), and base64 adds a
third."""

REFERENCE_CHARS_MAX = 1024
"""A guess: uids have 36 characters; longer ones are noise that would end up in log lines and environments."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client pops from its `ret` list (spec rmb 5.4).

    Attributes:
        source: `<twin>` or `<twin>:<session>`; "0" is a relay, "" the local gateway.
        payload: decoded.
        schema: content type of the payload.
        error: code and text, or `None` when it is no error.
        reference: the `ref` of the request.
    """

    source: str
    payload: bytes
    schema: str | None
    error: tuple[int, str] | None
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class ReturnTo:
    """What an answer must echo so that it finds the asker (spec rmb 5.4)."""

    reference: str
    source: str
    reply_list: str


@dataclass(frozen=True, slots=True)
class Request:
    """What a service pops from `msgbus.<command>` (spec rmb 5.3). Times in seconds."""

    return_to: ReturnTo
    command: str
    payload: bytes
    tags: str | None
    schema: str | None
    timestamp_s: int
    expiration_s: int

    def expired(self, now_s: int) -> bool:
        """Whether its lifetime is over, so that nobody waits for the answer any more."""
        return self.timestamp_s + self.expiration_s <= now_s


class UnreadableRequest(BadRequest):
    """An entry of a service's list that is no request.

    Attributes:
        return_to: who can be told, when that much could be read.
    """

    def __init__(self, text: str, return_to: ReturnTo | None = None) -> None:
        super().__init__(text)
        self.return_to = return_to


class UnreadableAnswer(BadRequest):
    """An entry of a `ret` list that is no answer.

    Attributes:
        reference: the `ref` of the request, when that much could be read.
    """

    def __init__(self, text: str, reference: str | None = None) -> None:
        super().__init__(text)
        self.reference = reference


def guess_schema(payload: bytes) -> str:
    """The content type to declare: JSON when the payload is JSON, else bytes.

    An empty payload counts as JSON: the Go peers drop every request that is not declared as JSON (spec rmb 9, 10).
    """
    try:
        orjson.loads(payload or b"null")
    except orjson.JSONDecodeError:
        return BYTES_SCHEMA
    return JSON_SCHEMA


def request_json(
    *,
    reference: str,
    command: str,
    expiration_s: int,
    payload: bytes,
    tags: str | None,
    destinations: list[int],
    reply_list: str,
    schema: str | None,
) -> bytes:
    """What a client pushes to `msgbus.system.local` (spec rmb 5.2). Its `now` is 0: the gateway's clock counts."""
    return orjson.dumps(
        {
            "ver": API_VERSION,
            "ref": reference,
            "cmd": command,
            "exp": expiration_s,
            "dat": base64_text.encode(payload),
            "tag": tags,
            "dst": destinations,
            "ret": reply_list,
            "shm": schema,
            "now": 0,
        }
    )


def answer_json(
    return_to: ReturnTo, *, payload: bytes, schema: str | None, now_s: int, error: tuple[int, str] | None = None
) -> bytes:
    """What a service pushes to the request's `ret` (spec rmb 5.4, outgoing response)."""
    return orjson.dumps(
        {
            "ver": API_VERSION,
            "ref": return_to.reference,
            "dat": base64_text.encode(payload),
            "dst": return_to.source,
            "shm": schema,
            "now": now_s,
            "err": None if error is None else {"code": error[0], "message": error[1]},
        }
    )


def read_answer(entry: bytes) -> Answer:
    """Read what the gateway pushed for a client.

    Raises:
        UnreadableAnswer: names the field that is not as spec rmb 5.4 says.
    """
    reference: str | None = None
    try:
        fields = _object(entry)
        reference = json_fields.optional_text(fields, "ref")
        return Answer(
            source=json_fields.text(fields, "src"),
            payload=json_fields.payload(fields),
            schema=json_fields.optional_text(fields, "shm"),
            error=json_fields.error_of(fields),
            reference=reference,
        )
    except BadRequest as error:
        raise UnreadableAnswer(str(error), reference) from None


def read_request(entry: bytes) -> Request:
    """Read what the gateway pushed for a service.

    Raises:
        UnreadableRequest: names the field that is not as spec rmb 5.3 says.
    """
    return_to: ReturnTo | None = None
    try:
        fields = _object(entry)
        reference = json_fields.text(fields, "ref")
        if len(reference) > REFERENCE_CHARS_MAX:
            raise BadRequest(f"`ref` is longer than {REFERENCE_CHARS_MAX} characters")
        return_to = ReturnTo(
            reference, json_fields.text(fields, "src"), json_fields.optional_text(fields, "ret") or LOCAL_REPLIES
        )
        return Request(
            return_to=return_to,
            command=json_fields.text(fields, "cmd"),
            payload=json_fields.payload(fields),
            tags=json_fields.optional_text(fields, "tag"),
            schema=json_fields.optional_text(fields, "shm"),
            timestamp_s=json_fields.integer(fields, "now", json_fields.U64_MAX),
            expiration_s=json_fields.integer(fields, "exp", json_fields.U64_MAX),
        )
    except BadRequest as error:
        raise UnreadableRequest(str(error), return_to) from None


def _object(entry: bytes) -> dict[str, Any]:
    if len(entry) > ENTRY_BYTES_MAX:
        raise BadRequest(f"longer than {ENTRY_BYTES_MAX} bytes")
    return json_fields.object_of(entry)
