"""Large messages of local programs in two pieces: the same meaning as at one go, or not taken apart at all."""

import json
import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmb_peer.local import base64_text, large_json
from rmb_peer.local.large_json import OTHER_FIELDS_BYTES_MAX, PIECE_BYTES, PIECE_TEXT_BYTES, cut_dat, encoded, with_dat
from rmb_peer.local.messages import incoming_request, incoming_response, parse_request
from rmb_peer.protocol.address import Address
from tests.support.gateways import request_json


def decoded(raw: bytes) -> bytes:
    message = cut_dat(raw)
    assert message is not None
    payload = bytearray()
    for _ in message.decoded(payload):
        pass
    assert message.payload_bytes == len(payload)
    return bytes(payload)


@pytest.mark.parametrize("size", [0, 1, 2, 3, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES])
@pytest.mark.parametrize("padded", [True, False])
def test_a_payload_is_decoded_piece_by_piece(size: int, padded: bool) -> None:
    """Every length, with padding and without, around the borders of pieces."""
    payload = os.urandom(size)
    text = base64_text.encode(payload)
    assert decoded(b'{ "dat" : "%s"}' % (text if padded else text.rstrip("=")).encode()) == payload


def test_the_light_one_is_the_message_without_payload() -> None:
    """All other fields are read as ever."""
    raw = request_json(5, 6, ref='a "dat" is here', cmd="x.y", dat=base64_text.encode(b"z" * 1000))
    message = cut_dat(raw)
    assert message is not None
    light, whole = parse_request(message.light), parse_request(raw)
    assert whole.payload == b"z" * 1000
    assert light == whole._replace(payload=b"")


@pytest.mark.parametrize(
    "raw",
    [
        b'{"dat":null}',
        b'{"dat":"a',
        b'{"ref":"x"}',
        b'{"dat":"YQ==","dat":"Yg=="}',
        b'{"err":{"dat":"YQ=="},"dat":"Yg=="}',
        b'{"dat":"YQ\\u003d="}',
        b'{"d\\u0061t":"YQ==","x":{"dat":"Yg=="}}',
        b'{"dat":"AA\\/A"}',
        b'{"ref":"%s","dat":"YQ=="}' % (b"x" * OTHER_FIELDS_BYTES_MAX),
        b'{"dat":"YQ==","ref":"%s"}' % (b"x" * OTHER_FIELDS_BYTES_MAX),
    ],
)
def test_what_is_unusual_is_left_alone(raw: bytes) -> None:
    """No text, no end, a second one, escapes, much beside it: read at one go."""
    assert cut_dat(raw) is None


@pytest.mark.parametrize(
    "text",
    [b"YQ=", b"Y", b"YQ==YQ==", b"Y Q=", b"YR==", b"\xff\xff\xff\xff", b"AA==" + b"A" * PIECE_TEXT_BYTES,
     b"A" * (PIECE_TEXT_BYTES - 4) + b"AA==" + b"AAAA", b"A" * (PIECE_TEXT_BYTES - 1) + b"!" + b"AAAA"],
)  # fmt: skip
def test_what_is_no_base64_is_refused(text: bytes) -> None:
    """Padding within, foreign characters, bits left over, in whichever piece."""
    with pytest.raises(ValueError, match=r"^(has|contains) "):
        decoded(b'{"dat":"%s"}' % text)


@settings(deadline=None)
@given(st.binary(max_size=300), st.text(max_size=20), st.text(max_size=20))
def test_what_is_written_in_pieces_is_what_is_written_at_one_go(payload: bytes, tags: str, schema: str) -> None:
    """Byte for byte, whatever is in the other fields."""
    fields: dict[str, Any] = {
        "uid": "u",
        "source": Address(3, tags),
        "command": "c",
        "expiration_s": 9,
        "timestamp_s": 8,
    }
    args: dict[str, Any] = {**fields, "tags": tags, "schema": schema}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large_json, "PIECE_BYTES", 30)
        pieces = list(encoded(payload))
        assert with_dat(incoming_request(payload=b"", **args), pieces) == incoming_request(payload=payload, **args)
        answer: dict[str, Any] = {"reference": tags, "source": "4", "schema": schema, "timestamp_s": 1, "error": None}
        assert with_dat(incoming_response(payload=b"", **answer), pieces) == incoming_response(
            payload=payload, **answer
        )


@given(st.binary(max_size=40))
def test_noise_is_no_problem(noise: bytes) -> None:
    """Whatever stands around it; and what is taken apart can be put together again."""
    raw = noise + b'"dat":"' + noise
    message = cut_dat(raw)
    if message is not None:
        assert len(message.light) + len(message.text) == len(raw)


def test_a_message_with_text_around_it_survives() -> None:
    """A reference that looks like a field is a text, whose quotes are escaped."""
    raw = json.dumps({"ref": '"dat":"', "dat": "YWJj"}, separators=(",", ":")).encode()
    assert decoded(raw) == b"abc"
