"""The few SCALE forms that the stand-in reads and writes by hand: numbers, compact numbers, bytes, optional bytes.

Written independently of the code under test, so that a mistake does not cancel itself out. It refuses to know types.
"""

from dataclasses import dataclass


class BadScale(ValueError):
    """The bytes do not have the form that was asked for."""


def compact(number: int) -> bytes:
    """A compact number (SCALE: the two lowest bits say how many bytes follow)."""
    if number < 1 << 6:
        return bytes([number << 2])
    if number < 1 << 14:
        return (number << 2 | 1).to_bytes(2, "little")
    if number < 1 << 30:
        return (number << 2 | 2).to_bytes(4, "little")
    size = (number.bit_length() + 7) // 8
    return bytes([(size - 4) << 2 | 3]) + number.to_bytes(size, "little")


def text(value: bytes) -> bytes:
    """Length, then the bytes."""
    return compact(len(value)) + value


def option(value: bytes | None) -> bytes:
    """0, or 1 and the bytes with their length."""
    return b"\0" if value is None else b"\1" + text(value)


def u32(number: int) -> bytes:
    """4 bytes, little-endian."""
    return number.to_bytes(4, "little")


def u64(number: int) -> bytes:
    """8 bytes, little-endian."""
    return number.to_bytes(8, "little")


def u128(number: int) -> bytes:
    """16 bytes, little-endian."""
    return number.to_bytes(16, "little")


@dataclass(slots=True)
class Reader:
    """Takes one form after the other from the front."""

    data: bytes
    at: int = 0

    def take(self, size: int) -> bytes:
        """The next bytes.

        Raises:
            BadScale: there are fewer.
        """
        if size > len(self.data) - self.at:
            raise BadScale(f"{size} bytes wanted, {len(self.data) - self.at} left")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size: int) -> int:
        """A number of fixed size."""
        return int.from_bytes(self.take(size), "little")

    def compact(self) -> int:
        """A compact number."""
        first = self.number(1)
        if first & 3 == 3:
            return self.number((first >> 2) + 4)
        return (first | self.number((1 << (first & 3)) - 1) << 8) >> 2

    def text(self, most: int) -> bytes:
        """Bytes with their length in front, at most `most` of them."""
        size = self.compact()
        if size > most:
            raise BadScale(f"{size} bytes where {most} are the most")
        return self.take(size)

    def option(self, most: int) -> bytes | None:
        """Optional bytes."""
        flag = self.number(1)
        if flag > 1:
            raise BadScale(f"an option cannot begin with {flag}")
        return self.text(most) if flag else None

    def end(self) -> None:
        """Insist that nothing is left."""
        if self.at != len(self.data):
            raise BadScale(f"{len(self.data) - self.at} bytes left over")
