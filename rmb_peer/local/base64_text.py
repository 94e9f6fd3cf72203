"""Payloads as text: standard base64, as strict on input as the Rust gateway (spec rmb 5.2).

Padding may be absent. Excess padding, white space, foreign characters and bits left over are errors. Output is padded.
"""

import binascii

import pybase64

_NO_BITS_OF_2 = "AEIMQUYcgkosw048"
"""Characters whose last two bits are zero: what may come before one padding character (RFC 4648, 3.5)."""

_NO_BITS_OF_4 = "AQgw"
"""Characters whose last four bits are zero: what may come before two."""


def decode(text: str) -> bytes:
    """Read base64.

    Raises:
        ValueError: the text is not base64; says in which way.
    """
    if not text.isascii():
        raise ValueError("contains a character that is not in the standard alphabet")
    if len(text) % 4:
        if text.endswith("="):
            raise ValueError("has the wrong number of padding characters")
        text += "=" * (-len(text) % 4)
    try:
        data = pybase64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("has characters or padding where none belong, or a length that cannot be") from None
    if text.endswith("=") and (text[-3] not in _NO_BITS_OF_4 if text[-2] == "=" else text[-2] not in _NO_BITS_OF_2):
        raise ValueError("has bits left over in its last character")
    return data


def encode(data: bytes) -> str:
    """Write base64, padded, on one line."""
    return pybase64.b64encode_as_string(data)
