"""Selections on the wire, in the form that iroh-blobs 0.34 uses (spec bao, C10).

A range spec is the first boundary of a selection and the distance of each further one from the one before; numbers are
variable-length integers of seven bits per byte. It refuses to know what is selected, and of what.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from rmb_peer.protocol.bao.engines.constants import CV_BYTES
from rmb_peer.protocol.bao.errors import BadRangeSpec
from rmb_peer.protocol.bao.selection import BOUNDARY_MAX, ChunkRanges
from rmb_peer.protocol.leb128 import unsigned

NUMBERS_MAX = 2**16
"""Of one message: a guess at what no honest request needs."""

_VARINT_BYTES_MAX = 10  # 64 bits in groups of seven


def spans_of(selection: ChunkRanges) -> list[int]:
    """The run-length form of a selection."""
    boundaries = selection.boundaries
    return [*boundaries[:1], *(high - low for low, high in pairwise(boundaries))]


def encode_range_spec(selection: ChunkRanges) -> bytes:
    """The serialised form: the count of numbers, then the numbers."""
    spans = spans_of(selection)
    return b"".join(map(unsigned, (len(spans), *spans)))


def decode_range_spec(data: bytes) -> ChunkRanges:
    """Read one range spec and nothing behind it.

    Raises:
        BadRangeSpec: it is none.
    """
    reader = _Reader(data)
    selection = reader.range_spec()
    reader.end()
    return selection


@dataclass(frozen=True, slots=True)
class Request:
    """A request for one or several blobs that belong together.

    Attributes:
        root: hash of the first blob.
        specs: pairs of (count, selection): so many positions after the previous change the selection takes effect; the
            last one holds for ever.
    """

    root: bytes
    specs: tuple[tuple[int, ChunkRanges], ...]

    @classmethod
    def single(cls, root: bytes, selection: ChunkRanges) -> "Request":
        """A request for one blob and nothing of further ones."""
        return cls(root, ((0, selection), (1, ChunkRanges())))

    def selection(self, position: int) -> ChunkRanges:
        """What is asked of the blob at this position."""
        current = ChunkRanges()
        starts = accumulate(count for count, _ in self.specs)
        for start, (_, selection) in zip(starts, self.specs, strict=True):
            if start > position:
                break
            current = selection
        return current

    def encoded(self) -> bytes:
        """The request as a message."""
        parts = [b"\0", self.root, unsigned(len(self.specs))]
        for count, selection in self.specs:
            parts += [unsigned(count), encode_range_spec(selection)]
        return b"".join(parts)

    @classmethod
    def decoded(cls, data: bytes) -> "Request":
        """Read a request and nothing behind it.

        Raises:
            BadRangeSpec: it is none.
        """
        reader = _Reader(data)
        if reader.take(1) != b"\0":
            raise BadRangeSpec("a request for blobs begins with the byte 00")
        root = reader.take(CV_BYTES)
        specs = tuple((reader.varint(), reader.range_spec()) for _ in range(reader.count()))
        reader.end()
        return cls(root, specs)


def encode_sequence(specs: Sequence[tuple[int, ChunkRanges]]) -> bytes:
    """A sequence of (count, selection) alone."""
    return Request(b"", tuple(specs)).encoded()[1:]


class _Reader:
    """Takes numbers from the front of a message."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0
        self._numbers = 0

    def take(self, length: int) -> bytes:
        taken = self._data[self._position : self._position + length]
        if len(taken) < length:
            raise BadRangeSpec("the message ends too early")
        self._position += length
        return taken

    def varint(self) -> int:
        number = 0
        for place in range(_VARINT_BYTES_MAX):
            byte = self.take(1)[0]
            number |= (byte & 0x7F) << 7 * place
            if not byte & 0x80:
                if number > BOUNDARY_MAX:
                    break
                return number
        raise BadRangeSpec("a number is larger than 2^64 - 1")

    def count(self) -> int:
        count = self.varint()
        self._numbers += count
        if self._numbers > NUMBERS_MAX:
            raise BadRangeSpec(f"more than {NUMBERS_MAX} numbers")
        return count

    def range_spec(self) -> ChunkRanges:
        spans = [self.varint() for _ in range(self.count())]
        boundaries = tuple(accumulate(spans))
        if 0 in spans[1:]:
            raise BadRangeSpec("a boundary repeats the one before it")
        if boundaries and boundaries[-1] > BOUNDARY_MAX:
            raise BadRangeSpec("a boundary is larger than 2^64 - 1")
        return ChunkRanges(boundaries)

    def end(self) -> None:
        if self._position < len(self._data):
            raise BadRangeSpec("there is something behind the end of the message")
