"""SCALE, as far as twins need it: values out of bytes, never beyond their end. Pure; raises `BadScale` on all noise.

Only lengths that the chain can store are accepted, so that a few bytes cannot announce a gigabyte.
"""


class BadScale(ValueError):
    """The bytes are no such value; the text says where."""


class Reader:
    """Takes values off the front of some bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes.

        Raises:
            BadScale: there are fewer.
        """
        end = self._at + count
        if end > len(self._data):
            raise BadScale(f"it ends after {len(self._data)} bytes, {end} were expected")
        piece, self._at = self._data[self._at : end], end
        return piece

    def u32(self) -> int:
        """Four bytes, little endian.

        Raises:
            BadScale: there are fewer.
        """
        return int.from_bytes(self.take(4), "little")

    def compact(self, most: int) -> int:
        """A compact number: one, two, four or more bytes, told by the lowest two bits of the first.

        Raises:
            BadScale: it is greater than `most`, or cut off.
        """
        first = self.take(1)[0]
        mode = first & 3
        if mode == 3:
            number = int.from_bytes(self.take((first >> 2) + 4), "little")
        else:
            more = self.take((0, 1, 3)[mode])
            number = int.from_bytes(bytes([first]) + more, "little") >> 2
        if number > most:
            raise BadScale(f"a length of {number}, at most {most} is possible")
        return number

    def text(self, most: int) -> bytes:
        """A byte string of at most `most` bytes.

        Raises:
            BadScale: it is longer, or cut off.
        """
        return self.take(self.compact(most))

    def optional_text(self, most: int) -> bytes | None:
        """A byte string that may be absent.

        Raises:
            BadScale: neither absent nor a string.
        """
        flag = self.take(1)[0]
        if flag > 1:
            raise BadScale(f"an optional value begins with {flag}, 0 or 1 was expected")
        return self.text(most) if flag else None

    def end(self) -> None:
        """Make sure that nothing is left.

        Raises:
            BadScale: something is.
        """
        if self._at != len(self._data):
            raise BadScale(f"{len(self._data) - self._at} bytes are left over")
