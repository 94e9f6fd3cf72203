"""Rules about text (spec remaphore 10, 16, 19): what is trimmed, how a value is quoted, what a terminal is spared.

Names, verbs and payloads are bytes everywhere else; text here is UTF-8 with lone bytes kept as surrogates.
"""

import unicodedata

_SPACES = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
_SHORT_ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}


def to_text(raw: bytes) -> str:
    """Bytes as text; what is no UTF-8 survives the way back."""
    return raw.decode("utf-8", "surrogateescape")


def to_bytes(text: str) -> bytes:
    """The bytes that `to_text` was given, or the UTF-8 of `text`."""
    return text.encode("utf-8", "surrogateescape")


def trim(text: str) -> str:
    """Without the white space of spec section 19 at both ends; `str.strip` would take more."""
    return text.strip(_SPACES)


def trim_bytes(raw: bytes) -> bytes:
    """Like `trim`; a lone byte 0x85 or 0xA0 is no white space."""
    return to_bytes(trim(to_text(raw)))


def lower(text: str) -> str:
    """Lower case, one character for each character."""
    return "".join(character.lower()[:1] for character in text)


def quote(text: str) -> str:
    """In double quotes, escaped as Go's `%q` does: for messages about arguments."""
    return '"' + "".join(_quoted(character) for character in text) + '"'


def _quoted(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    if character in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[character]
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def without_controls(raw: bytes, keep: str = "") -> bytes:
    """With control and format characters written as escapes, so that others cannot steer a terminal or forge log lines.

    Args:
        raw: bytes of others.
        keep: control characters that stay, for example a line feed.
    """
    text = to_text(raw)
    if text.isprintable():
        return raw
    return to_bytes("".join(c if c in keep or not _steers(c) else _quoted(c) for c in text))


def _steers(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
