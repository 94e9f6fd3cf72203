"""Base64 as strict as the Rust gateway's (spec rmb 5.2)."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmb_peer.local import base64_text


@given(st.binary())
def test_round_trip_with_and_without_padding(data: bytes) -> None:
    """What is written reads back, and padding may be absent."""
    text = base64_text.encode(data)
    assert text == base64.b64encode(data).decode()
    assert base64_text.decode(text) == data
    assert base64_text.decode(text.rstrip("=")) == data


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "aGVsbG8==",
        "aGVsbG8===",
        "=",
        "====",
        "aGVs bG8=",
        "aGVsbG8=\n",
        "aGVsbG9=",
        "aGVsbG9",
        "-_-_",
        "é",
        "AA=A",
    ],
)
def test_anything_else_is_an_error(text: str) -> None:
    """Excess padding, white space, foreign characters and bits left over are refused."""
    with pytest.raises(ValueError, match=r"."):
        base64_text.decode(text)


@given(st.text())
def test_noise_never_crashes(text: str) -> None:
    """Any text decodes or raises ValueError; what decodes is what encoding gives back."""
    try:
        data = base64_text.decode(text)
    except ValueError:
        return
    assert base64_text.encode(data).rstrip("=") == text.rstrip("=")
