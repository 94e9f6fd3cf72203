"""Base58 as keys and signatures are written (spec remaphore 19): Bitcoin's alphabet, no checksum.

Decoding never fails: a bad character anywhere gives the empty value, which then fails as a key or signature. The cost
is quadratic, so callers bound the length first (W3).
"""

ALPHABET = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUE = {character: value for value, character in enumerate(ALPHABET)}


def encode(raw: bytes) -> str:
    """Write bytes; each leading zero byte becomes one leading `1`."""
    zeros = len(raw) - len(raw.lstrip(b"\0"))
    number = int.from_bytes(raw, "big")
    digits = bytearray()
    while number:
        number, rest = divmod(number, 58)
        digits.append(ALPHABET[rest])
    digits.extend(b"1" * zeros)
    return bytes(reversed(digits)).decode("ascii")


def decode(text: bytes, chars_max: int) -> bytes:
    """Read base58.

    Args:
        text: what was received or configured.
        chars_max: longer text is refused before any arithmetic.

    Returns:
        the bytes, or the empty value for anything that is no base58.
    """
    if len(text) > chars_max:
        return b""
    number = 0
    for character in text:
        value = _VALUE.get(character)
        if value is None:
            return b""
        number = number * 58 + value
    zeros = len(text) - len(text.lstrip(b"1"))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")
