"""The programs' half of the Redis API fits the gateway's half, and survives noise."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmb_peer.local.messages import incoming_request, incoming_response, parse_request, parse_response
from rmb_peer.local.program_side import (
    ENTRY_BYTES_MAX,
    REFERENCE_CHARS_MAX,
    ReturnTo,
    UnreadableRequest,
    answer_json,
    guess_schema,
    read_answer,
    read_request,
    request_json,
)
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.errors import BadRequest
from tests.support.schemas import faults

OPTIONAL = st.none() | st.text()
ADDRESSES = st.builds(Address, st.integers(1, 2**32 - 1), OPTIONAL)


@given(st.text(max_size=50), st.text(), st.integers(0, 2**40), st.binary(), OPTIONAL, OPTIONAL)
def test_the_gateway_reads_our_requests(
    reference: str, command: str, expiration_s: int, payload: bytes, tags: str | None, schema: str | None
) -> None:
    """Every field of a request arrives as it was given."""
    raw = request_json(
        reference=reference, command=command, expiration_s=expiration_s, payload=payload, tags=tags,
        destinations=[7, 8], reply_list="mine", schema=schema,
    )  # fmt: skip
    read = parse_request(raw)
    assert (read.reference, read.command, read.expiration_s, read.payload) == (
        reference, command, expiration_s, payload,
    )  # fmt: skip
    assert (read.tags, read.destinations, read.reply_to, read.schema, read.now_s) == (tags, (7, 8), "mine", schema, 0)


@given(ADDRESSES, st.binary(), OPTIONAL, st.none() | st.tuples(st.integers(0, 2**32 - 1), st.text()))
def test_the_gateway_reads_our_answers(
    source: Address, payload: bytes, schema: str | None, error: tuple[int, str] | None
) -> None:
    """An answer goes to whoever asked, with payload and schema, or with an error."""
    raw = answer_json(ReturnTo("u-1", str(source), "list"), payload=payload, schema=schema, now_s=9, error=error)
    assert faults("outgoing_response", json.loads(raw)) == []
    read = parse_response(raw)
    assert (read.uid, read.destination, read.schema, read.now_s, read.error) == ("u-1", source, schema, 9, error)
    assert error or read.payload == payload


@given(ADDRESSES, st.text(), st.binary(), OPTIONAL, OPTIONAL)
def test_we_read_what_the_gateway_pushes_for_services(
    source: Address, command: str, payload: bytes, tags: str | None, schema: str | None
) -> None:
    """Every field of an incoming request is read."""
    read = read_request(
        incoming_request(
            uid="u-1", source=source, command=command, expiration_s=5, payload=payload, tags=tags, schema=schema,
            timestamp_s=100,
        )
    )  # fmt: skip
    assert read.return_to == ReturnTo("u-1", str(source), "msgbus.system.reply")
    assert (read.command, read.payload, read.tags, read.schema) == (command, payload, tags, schema)
    assert [read.expired(now) for now in (99, 104, 105)] == [False, False, True]


@given(st.sampled_from(["7", "7:", "0", ""]), st.binary(), OPTIONAL, st.none() | st.just((102, "late")))
def test_we_read_what_the_gateway_pushes_for_clients(
    source: str, payload: bytes, schema: str | None, error: tuple[int, str] | None
) -> None:
    """Every field of an incoming response is read."""
    answer = read_answer(
        incoming_response(
            reference="r", payload=payload, source=source, schema=schema, timestamp_s=1, error=error
        )
    )  # fmt: skip
    assert (answer.source, answer.payload, answer.schema, answer.error) == (source, payload, schema, error)


@given(
    st.binary()
    | st.recursive(
        st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=4),
        lambda x: st.dictionaries(st.sampled_from(["ver", "ref", "src", "cmd", "exp", "dat", "now", "err"]), x),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode())
)
def test_noise_is_refused_and_never_crashes(entry: bytes) -> None:
    """Whatever lies in a list is a message or a BadRequest."""
    for read in (read_answer, read_request):
        try:
            read(entry)
        except BadRequest as error:
            assert str(error)


def test_a_broken_request_still_says_whom_to_tell() -> None:
    """When `ref` and `src` can be read, the asker can be told what is wrong."""
    with pytest.raises(UnreadableRequest, match="`dat` is not standard base64") as caught:
        read_request(b'{"ref":"u","src":"7","cmd":"c","dat":"*","exp":1,"now":1}')
    assert caught.value.return_to == ReturnTo("u", "7", "msgbus.system.reply")
    with pytest.raises(UnreadableRequest, match="`src` must be a text") as caught:
        read_request(b'{"ref":"u"}')
    assert caught.value.return_to is None


def test_limits() -> None:
    """A reference at the limit is taken, one beyond is not; an entry beyond the limit is not even parsed."""

    def entry(reference: str) -> bytes:
        return answer_json(ReturnTo(reference, "", ""), payload=b"", schema=None, now_s=0).replace(
            b'"dst":""', b'"src":"7","cmd":"c","exp":1'
        )

    assert read_request(entry("r" * REFERENCE_CHARS_MAX)).return_to.reference == "r" * REFERENCE_CHARS_MAX
    with pytest.raises(UnreadableRequest, match="`ref` is longer"):
        read_request(entry("r" * (REFERENCE_CHARS_MAX + 1)))
    with pytest.raises(UnreadableRequest, match="not JSON"):
        read_request(b" " * ENTRY_BYTES_MAX)
    with pytest.raises(UnreadableRequest, match="longer than"):
        read_request(b" " * (ENTRY_BYTES_MAX + 1))


@pytest.mark.parametrize(
    ("payload", "schema"),
    [
        (b"", "application/json"),
        (b' {"a": 1}\n', "application/json"),
        (b"12", "application/json"),
        (b"hello", "application/octet-stream"),
        (b'"\xff"', "application/octet-stream"),
    ],
)
def test_the_schema_is_guessed_from_the_payload(payload: bytes, schema: str) -> None:
    """JSON is declared as JSON, and so is nothing at all; everything else is bytes."""
    assert guess_schema(payload) == schema
