"""Payloads as text: standard base64, as strict on input as the Rust gateway (spec rmb 5.2).

Padding may be absent. Excess padding, white space, foreign characters and bits left over are errors. Output is padded.
"""

import binascii


def decode(text: str) -> bytes:
    """Read base64.

    Raises:
        ValueError: the text is not base64; says in which way.
    """
    try:
        raw = text.encode("ascii")
    except UnicodeEncodeError:
        raise ValueError("contains a character that is not in the standard alphabet") from None
    if not raw.endswith(b"="):
        raw += b"=" * (-len(raw) % 4)
    elif len(raw) % 4:
        raise ValueError("has the wrong number of padding characters")
    try:
        data = binascii.a2b_base64(raw, strict_mode=True)
    except binascii.Error:
        raise ValueError("has characters or padding where none belong, or a length that cannot be") from None
    if raw.endswith(b"=") and encode(data[-(len(data) % 3) :]) != raw[-4:].decode():
        raise ValueError("has bits left over in its last character")
    return data


def encode(data: bytes) -> str:
    """Write base64, padded, on one line."""
    return binascii.b2a_base64(data, newline=False).decode()
