"""Payloads as text: nothing makes it fail, and nothing steers a terminal."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmb_peer.commands.payload_text import as_text, compact_json, for_eyes, json_field, one_line, printable


@given(st.binary() | st.text().map(str.encode))
def test_any_payload_can_be_shown(payload: bytes) -> None:
    """One line is one line, the JSON field is JSON, and neither it nor the form for eyes has control characters."""
    line = one_line(payload)
    assert line.isprintable()
    json.loads(json_field(payload))
    shown = for_eyes(payload)
    assert (shown is None) == (as_text(payload) is None)
    assert shown is None or shown[0].replace("\n", "").isprintable()


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x), max_leaves=5))
def test_json_keeps_its_value(value: object) -> None:
    """Compact JSON says the same as what came, numbers beyond 64 bits included."""
    compact = compact_json(json.dumps(value, indent=3).encode())
    assert compact is not None
    assert json.loads(compact) == value


@pytest.mark.parametrize("payload", [b"NaN", b"1e999", b"[" * 100_000, b"1" * 5000, b"{'a':1}", b"", b"\xff"])
def test_what_is_no_json_is_not_taken_for_it(payload: bytes) -> None:
    """Values that JSON cannot hold, and nests that no reader survives, are text or bytes."""
    assert compact_json(payload) is None


def test_steering_characters_become_visible() -> None:
    """Escape sequences, also the one-character forms, line ends and direction overrides are shown, not obeyed."""
    assert printable("a\x1b[31mb\x9bc\r\n\u202e") == r"a\x1b[31mb\x9bc\r\n\u202e"
    assert one_line(b'"\xc2\x9b31m"') == r'"\x9b31m"'
    assert one_line(b"\xff\x00") == "base64:/wA="
