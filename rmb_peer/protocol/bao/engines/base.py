"""What an engine offers: the compressions of BLAKE3, many at a time (spec bao, part A).

Everything above this line is arithmetic about trees; everything below it is a way to compute fast. An engine may be
used by several threads at once. It refuses to know about outboards, encodings and selections.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

from rmb_peer.protocol.bao.engines.constants import CHUNK_BYTES, CV_BYTES, PAIR_BYTES

Bytes = bytes | bytearray | memoryview
"""Bytes that are only read; a `memoryview` is one-dimensional, contiguous and of format `B`."""


class Engine(ABC):
    """Chaining values (CVs) of chunks and parents.

    Attributes:
        name: what users see and choose.
        levels_chunks_max: how many chunks `levels` takes at most; a power of two, and not less than the largest group.
    """

    name: ClassVar[str]
    levels_chunks_max: ClassVar[int] = 1024

    @abstractmethod
    def chunks(self, data: Bytes, first_chunk: int) -> bytes:
        """The CVs of whole chunks that are not the root.

        Args:
            data: a whole number of chunks of 1024 bytes, of any length.
            first_chunk: index of the first one in the content, below 2^54.

        Returns:
            32 bytes for each chunk.
        """

    @abstractmethod
    def parents(self, pairs: Bytes) -> bytes:
        """The CVs of parents that are not the root.

        Args:
            pairs: 64 bytes for each.

        Returns:
            32 bytes for each.
        """

    @abstractmethod
    def chunk(self, data: Bytes, index: int, root: bool) -> bytes:
        """The CV of one chunk of 0 to 1024 bytes, which is the root if it is all there is (A3)."""

    @abstractmethod
    def parent(self, pair: Bytes, root: bool) -> bytes:
        """The CV of one parent (A4)."""

    def levels(self, data: Bytes, first_chunk: int, chunk_log: int) -> bytes:
        """All CVs of a complete subtree, from the groups upwards; none of them is the root.

        Read as pairs, all but the last CV are the pairs that an outboard stores for this subtree, level by level.

        Args:
            data: `2^n` whole chunks, at most `levels_chunks_max` of them.
            first_chunk: index of the first one, divisible by `2^n`.
            chunk_log: exponent of the group size, not above `n`.

        Returns:
            the CVs of the groups, of their parents, and so on; the last 32 bytes are the CV of the whole.
        """
        row = self.chunks(data, first_chunk)
        for _ in range(chunk_log):
            row = self.parents(row)
        rows = [row]
        while len(row) >= PAIR_BYTES:
            row = self.parents(row)
            rows.append(row)
        return b"".join(rows)


def levels_offset(data_bytes: int, chunk_log: int) -> int:
    """Where the CVs of groups begin in the CVs of all levels, chunks included, of a complete subtree."""
    chunks = data_bytes // CHUNK_BYTES
    return 2 * CV_BYTES * (chunks - (chunks >> chunk_log))
