"""The JSON of the Redis API: what is read, what is written, held to schemas/ (C 13, 14; spec rmb 5.2 to 5.4)."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmb_peer.local import base64_text, messages
from rmb_peer.local.messages import MalformedMessage, OutgoingRequest, OutgoingResponse
from rmb_peer.protocol.address import Address
from tests.support.gateways import request_json, response_json
from tests.support.schemas import validator

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
U64 = st.integers(0, 2**64 - 1)
COMMANDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=255).filter(
    lambda text: text.split(".")[0] not in ("system", "backlog")
)
OPTIONAL_TEXTS = st.none() | TEXTS


def test_every_optional_key_may_be_missing_or_null() -> None:
    """`ref`, `tag` and `shm` of a request, `ref`, `shm` and `err` of a response (C 13, 14)."""
    for value in (None, ...):
        request = messages.parse_request(request_json(7, ref=value, tag=value, shm=value))
        assert (request.reference, request.tags, request.schema) == (None, None, None)
        response = messages.parse_response(response_json({"ref": value, "src": "7"}, shm=value, err=value))
        assert (response.uid, response.schema, response.error) == ("", None, None)


def test_empty_texts_are_not_null() -> None:
    """`ref: ""` is given back as `""` (C 13)."""
    request = messages.parse_request(request_json(7, ref="", tag="", shm=""))
    assert (request.reference, request.tags, request.schema) == ("", "", "")


def test_unknown_keys_are_ignored() -> None:
    """The Go SDK sends `con`; it counts for nothing (spec rmb 5.2)."""
    assert messages.parse_request(request_json(7, con="abc", extra=[1])).destinations == (7,)


def test_a_response_with_an_error_ignores_its_payload() -> None:
    """`dat` may be anything then (spec rmb 5.4)."""
    response = messages.parse_response(
        response_json({"ref": "u", "src": "7:x"}, dat=5, err={"code": 9, "message": "no"})
    )
    assert response == OutgoingResponse("u", b"", Address(7, "x"), "application/json", response.now_s, (9, "no"))


@pytest.mark.parametrize(
    "err", [{}, {"code": 1}, {"message": "x"}, {"code": -1, "message": "x"}, {"code": 2**32, "message": "x"}]
)
def test_both_parts_of_an_error_are_required(err: dict[str, Any]) -> None:
    """Code is a u32, message a text (C 14)."""
    with pytest.raises(MalformedMessage):
        messages.parse_response(response_json({"ref": "u", "src": "7"}, err=err))


@given(
    reference=OPTIONAL_TEXTS,
    command=COMMANDS,
    expiration_s=U64,
    payload=st.binary(),
    tags=OPTIONAL_TEXTS,
    destinations=st.lists(st.integers(1, 2**32 - 1), min_size=1),
    reply_to=TEXTS.filter(lambda text: not text.startswith(("rmb:", "msgbus.system."))),
    schema=OPTIONAL_TEXTS,
    now_s=U64,
)
def test_requests_are_read_as_they_are_meant(**fields: Any) -> None:
    """Whatever a program may push arrives unchanged, and follows the schema."""
    expected = OutgoingRequest(**{**fields, "destinations": tuple(fields["destinations"])})
    raw = request_json(
        *fields["destinations"],
        ret=fields["reply_to"],
        ref=fields["reference"],
        cmd=fields["command"],
        exp=fields["expiration_s"],
        dat=base64_text.encode(fields["payload"]),
        tag=fields["tags"],
        shm=fields["schema"],
        now=fields["now_s"],
    )
    validator("local_request").validate(json.loads(raw))
    assert messages.parse_request(raw) == expected


@given(
    uid=TEXTS,
    twin=st.integers(1, 2**32 - 1),
    session=OPTIONAL_TEXTS,
    command=COMMANDS,
    expiration_s=U64,
    payload=st.binary(),
    tags=OPTIONAL_TEXTS,
    schema=OPTIONAL_TEXTS,
    timestamp_s=U64,
)
def test_incoming_requests_follow_the_schema(twin: int, session: str | None, **fields: Any) -> None:
    """Keys in the order of spec 5.3, types of the schema, and the responder's echo reads back."""
    raw = messages.incoming_request(source=Address(twin, session), **fields)
    value = json.loads(raw)
    validator("incoming_request").validate(value)
    assert list(value) == ["ver", "ref", "src", "cmd", "exp", "dat", "tag", "ret", "shm", "now"]
    answer = response_json(value)
    validator("outgoing_response").validate(json.loads(answer))
    response = messages.parse_response(answer)
    assert (response.uid, response.destination) == (fields["uid"], Address(twin, session))


@given(
    reference=OPTIONAL_TEXTS,
    payload=st.binary(),
    source=st.sampled_from(["", "0", "7", "7:", "7:x"]),
    schema=OPTIONAL_TEXTS,
    timestamp_s=U64,
    error=st.none() | st.tuples(st.integers(0, 2**32 - 1), TEXTS),
)
def test_incoming_responses_follow_the_schema(**fields: Any) -> None:
    """Keys in the order of spec 5.4, types of the schema."""
    value = json.loads(messages.incoming_response(**fields))
    validator("incoming_response").validate(value)
    assert list(value) == ["ver", "ref", "dat", "src", "shm", "now", "err"]


@given(
    st.binary() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda v: json.dumps(v).encode())
)
def test_noise_is_refused_never_crashes(raw: bytes) -> None:
    """Bytes that are no message raise MalformedMessage and nothing else."""
    for parse in (messages.parse_request, messages.parse_response):
        with pytest.raises(MalformedMessage):
            parse(raw)


FIELDS = st.dictionaries(
    st.sampled_from(["ver", "ref", "cmd", "exp", "dat", "tag", "dst", "ret", "shm", "now", "err"]),
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
    | st.lists(st.integers()),
)


@given(FIELDS)
def test_wrong_types_are_refused_with_a_name(fields: dict[str, Any]) -> None:
    """An object with wrong fields is a message or an error that names one of them."""
    raw = json.dumps(fields).encode()
    for parse in (messages.parse_request, messages.parse_response):
        try:
            parse(raw)
        except MalformedMessage as error:
            assert "`" in str(error)


def test_the_number_of_destinations_is_limited() -> None:
    """At the limit a request is read, one above it is refused with what to do instead."""
    most = messages.DESTINATIONS_MAX
    assert len(messages.parse_request(request_json(*[1] * most)).destinations) == most
    with pytest.raises(MalformedMessage, match="at most 10000 twins: send several requests"):
        messages.parse_request(request_json(*[1] * (most + 1)))
    assert validator("local_request").is_valid(json.loads(request_json(*[1] * most)))
    assert not validator("local_request").is_valid(json.loads(request_json(*[1] * (most + 1))))
