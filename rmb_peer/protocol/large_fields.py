"""A serialised protobuf message without its one large field, so that the large one is never copied.

Parsing copies what it parses, and on the event loop a copy of 16 MiB is a pause of 10 ms. This walks over the outermost
fields only (protobuf encoding: tag, then a number, 4 or 8 bytes, or a length and that many bytes). Whatever is unusual
is left to the real parser: this module refuses to judge.
"""

from collections.abc import Collection
from typing import NamedTuple

from rmb_peer.protocol.leb128 import unsigned

FIELDS_MAX = 64
"""Outermost fields that are walked over. A guess, above what an envelope has; each takes about a microsecond."""

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_TAG_BITS = 3
_VARINT_BYTES_MAX = 10


class Cut(NamedTuple):
    """A message in two.

    Attributes:
        rest: everything but the field: a message, too.
        number: of the field.
        content: of the field; not copied.
    """

    rest: bytes
    number: int
    content: memoryview

    @property
    def whole(self) -> bytes:
        """The message as it was."""
        whole = self.content.obj
        assert isinstance(whole, bytes)
        return whole


def cut(data: bytes, numbers: Collection[int]) -> Cut | None:
    """Cut out the one field among these.

    Args:
        data: serialised message.
        numbers: of fields with bytes, of which only one may be there, and once.

    Returns:
        `None` when there is none, or more than one, or anything that this does not understand.
    """
    at, fields, found = 0, 0, None
    while at < len(data):
        fields += 1
        begin = at
        tag, at = _varint(data, at)
        kind, number = tag & 7, tag >> _TAG_BITS
        if kind == _VARINT:
            _, at = _varint(data, at)
        elif kind == _LENGTH:
            size, at = _varint(data, at)
            if number in numbers:
                if found is not None:
                    return None
                found = number, begin, at, at + size
            at += size
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            return None
        if at > len(data) or fields > FIELDS_MAX:
            return None
    if found is None:
        return None
    number, begin, content, end = found
    return Cut(data[:begin] + data[end:], number, memoryview(data)[content:end])


def head_of(number: int, size: int) -> bytes:
    """What stands before the `size` bytes of a field."""
    return unsigned(number << _TAG_BITS | _LENGTH) + unsigned(size)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number and where it ends; beyond the end of the data when it does not."""
    value = 0
    for shift in range(_VARINT_BYTES_MAX):
        if at + shift >= len(data):
            break
        byte = data[at + shift]
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, at + shift + 1
    return 0, len(data) + 1
