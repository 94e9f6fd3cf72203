"""The bytes that a signature covers: the vectors, and a slow twin that reads the table of spec 2.6 line by line."""

from typing import Any

import pytest
from hypothesis import given

from rmb_peer.protocol.challenge import challenge, challenge_text
from rmb_peer.protocol.envelope import Envelope
from tests.support.envelopes import envelopes, slow_challenge_text
from tests.support.vectors import VECTORS, envelope_of, signed_vector


@given(envelopes())
def test_challenge_follows_the_table(envelope: Envelope) -> None:
    """For every mixture of absent, empty and filled fields the text is that of the table in spec 2.6."""
    assert challenge_text(envelope) == slow_challenge_text(envelope)


def test_text_of_the_request_vector() -> None:
    """Vector A.3: tags, session, command, schema and plain payload, in this order."""
    vector = signed_vector("request")
    assert challenge_text(envelope_of(vector["fields"])) == vector["challenge_text"].encode()


def test_text_of_the_response_vector() -> None:
    """Vector A.4: the deprecated fields and the cipher are part of what is signed."""
    vector = signed_vector("response-with-deprecated-fields")
    parts = [
        part["text"].encode() if "text" in part else bytes.fromhex(part["hex"]) for part in vector["challenge_parts"]
    ]
    assert challenge_text(envelope_of(vector["fields"])) == b"".join(parts)


@pytest.mark.parametrize("vector", VECTORS["signed_envelopes"], ids=lambda vector: vector["origin"])
def test_md5_of_the_vectors(vector: dict[str, Any]) -> None:
    """Vectors A.3 to A.5: the 16 bytes that are signed."""
    assert challenge(envelope_of(vector["fields"])).hex() == vector["challenge_md5"]


@pytest.mark.parametrize("fields", VECTORS["ambiguous_challenge"]["fields"], ids=["request", "error", "response"])
def test_three_kinds_share_one_challenge(fields: dict[str, Any]) -> None:
    """Vector A.5: the kind is not covered, and fields run together (spec 10.2)."""
    assert challenge_text(envelope_of(fields)).decode() == VECTORS["ambiguous_challenge"]["challenge_text"]


def test_twin_and_session_run_together() -> None:
    """Twin 4 with session `2` has the challenge of twin 42 without one (spec 10.2)."""
    split, whole = (envelope_of({"source": source}) for source in ({"twin": 4, "connection": "2"}, {"twin": 42}))
    assert challenge_text(split) == challenge_text(whole)


def test_a_destination_runs_into_the_session_before_it() -> None:
    """From 7 to 42, or from 7 in session `4` to 2: one challenge (spec 10.2; DESIGN.md says what that allows)."""
    right = envelope_of({"source": {"twin": 7}, "destination": {"twin": 42}})
    moved = envelope_of({"source": {"twin": 7, "connection": "4"}, "destination": {"twin": 2}})
    assert challenge_text(right) == challenge_text(moved)


def test_absent_addresses_count_as_zero() -> None:
    """As in the Rust gateway, an absent address adds `0` (spec 2.6)."""
    assert challenge_text(envelope_of({"uid": "u"})) == b"u0000"
    assert challenge_text(envelope_of({"uid": "u", "source": {}, "destination": {}})) == b"u0000"


@pytest.mark.parametrize("name", ["tags", "schema", "federation"])
def test_empty_texts_add_nothing(name: str) -> None:
    """A present but empty optional text has the challenge of an absent one (spec 2.6 step 2)."""
    fields = {"uid": "u", "source": {"twin": 1}, "destination": {"twin": 2}, "request": {"command": "c"}}
    assert challenge_text(envelope_of(fields | {name: ""})) == challenge_text(envelope_of(fields))


def test_largest_numbers_are_plain_decimal() -> None:
    """u64 and u32 maxima are written without sign, padding or exponent (spec 2.6)."""
    largest = {
        "timestamp": 2**64 - 1,
        "expiration": 2**64 - 1,
        "source": {"twin": 2**32 - 1},
        "error": {"code": 2**32 - 1},
    }
    expected = b"18446744073709551615" * 2 + b"4294967295" + b"0" + b"4294967295"
    assert challenge_text(envelope_of(largest)) == expected


def test_what_is_not_covered() -> None:
    """Signature, `once` and unknown fields change nothing in the challenge (spec 2.6)."""
    envelope = envelope_of(signed_vector("request")["fields"])
    before = challenge_text(envelope)
    envelope.signature = b"e" * 65
    envelope.once = bytes(16)
    envelope = Envelope.FromString(envelope.SerializeToString() + b"\xfa\x01\x03abc")  # field 31, length 3
    assert b"abc" in envelope.SerializeToString()
    assert challenge_text(envelope) == before
