"""Unsigned integers in LEB128: seven bits in a byte, the lowest first (WebAssembly 5.2.2; in protobuf: varint).

Reading is left to those who read, because their limits differ.
"""


def unsigned(value: int) -> bytes:
    """The shortest form of an integer that is not negative."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
