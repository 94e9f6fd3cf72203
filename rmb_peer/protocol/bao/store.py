"""Where the items of stored content are: in a file with its outboard, or in a combined encoding (spec bao, B4).

A store answers three questions: the pair of a node, a piece of content, and all of a complete subtree at once. It reads
through functions that are handed in, believes nothing, and refuses to check: see `check` and `extract`.

A reading function takes offset and length and returns that many bytes, fewer only at the end.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

from rmb_peer.protocol.bao.engines import Bytes
from rmb_peer.protocol.bao.engines.constants import PAIR_BYTES
from rmb_peer.protocol.bao.errors import Damage, Truncated
from rmb_peer.protocol.bao.geometry import (
    HEADER_BYTES,
    checked_chunk_log,
    checked_size,
    group_bytes,
    group_count,
    left_count,
    subtree_bytes,
)
from rmb_peer.protocol.bao.interleaving import parted
from rmb_peer.protocol.bao.layout import Order, PairBlock, reordered

Read = Callable[[int, int], Bytes]


class Store(ABC):
    """Content and pairs under a claimed size.

    Attributes:
        size: claimed size of the content.
        chunk_log: group exponent of the pairs that are kept.
        groups: number of groups, under the claimed size.
    """

    def __init__(self, size: int, chunk_log: int) -> None:
        self.size = checked_size(size)
        self.chunk_log = checked_chunk_log(chunk_log)
        self.groups = group_count(size, chunk_log)

    @abstractmethod
    def pair(self, first: int, end: int) -> bytes:
        """The pair of the node over groups `[first, end)`; less than 64 bytes if it is missing."""

    @abstractmethod
    def content(self, start: int, length: int) -> Bytes:
        """Content within one group, less than that many bytes if some are missing."""

    @abstractmethod
    def block(self, first: int, groups: int) -> tuple[bytes, Bytes]:
        """Pairs in pre-order and content of a complete subtree of whole groups; fewer bytes if some are missing."""

    def block_pairs(self, first: int, groups: int) -> bytes:
        """Pairs in pre-order of a complete subtree of whole groups; fewer bytes if some are missing."""
        return self.block(first, groups)[0]


class OutboardStore(Store):
    """Content and its outboard.

    Args:
        content: reads the content.
        outboard: reads the outboard.
        size: claimed size of the content.
        chunk_log: group exponent of the outboard.
        order: of its pairs.
        pairs_at: where the pairs begin in it: 8 if it has a header.
    """

    def __init__(
        self, content: Read, outboard: Read, size: int, chunk_log: int, order: Order = "pre", pairs_at: int = 0
    ) -> None:
        super().__init__(size, chunk_log)
        self._content = content
        self._outboard = outboard
        self.order = order
        self.pairs_at = pairs_at

    def position(self, block: PairBlock) -> int:
        """Where the pairs of a block begin in the outboard."""
        return self.pairs_at + block.offset(self.order, self.groups)

    def pair(self, first: int, end: int) -> bytes:
        """See `Store.pair`."""
        return bytes(self._outboard(self.position(PairBlock(first, end, bytes(PAIR_BYTES))), PAIR_BYTES))

    def content(self, start: int, length: int) -> Bytes:
        """See `Store.content`; any range will do."""
        return self._content(start, length)

    def block(self, first: int, groups: int) -> tuple[bytes, Bytes]:
        """See `Store.block`."""
        size = group_bytes(self.chunk_log)
        return self.block_pairs(first, groups), self._content(first * size, groups * size)

    def block_pairs(self, first: int, groups: int) -> bytes:
        """See `Store.block_pairs`."""
        length = PAIR_BYTES * (groups - 1)
        if not length:
            return b""
        pairs = self._outboard(self.position(PairBlock(first, first + groups, bytes(length))), length)
        return reordered(pairs, self.order, "pre") if len(pairs) == length else bytes(pairs)


def store_with_header(content: Read, outboard: Read, chunk_log: int = 0) -> OutboardStore:
    """Content and a pre-order outboard that begins with the size (B2).

    Raises:
        Truncated: the header is not complete.
    """
    return OutboardStore(content, outboard, _header(outboard), chunk_log, "pre", HEADER_BYTES)


class CombinedStore(Store):
    """A combined encoding.

    Args:
        encoding: reads it.
        chunk_log: its group exponent.

    Raises:
        Truncated: the header is not complete.
    """

    def __init__(self, encoding: Read, chunk_log: int = 0) -> None:
        super().__init__(_header(encoding), chunk_log)
        self._encoding = encoding

    def _position(self, first: int, end: int) -> int:
        """Where the encoding of the subtree over these groups begins (B4)."""
        size = group_bytes(self.chunk_log)
        low, high, position = 0, self.groups, HEADER_BYTES
        while (low, high) != (first, end):
            middle = low + left_count(high - low)  # the caller asks for nodes of this tree only
            position += PAIR_BYTES
            if first < middle:
                high = middle
            else:
                position += subtree_bytes((middle - low) * size, self.chunk_log)
                low = middle
        return position

    def pair(self, first: int, end: int) -> bytes:
        """See `Store.pair`."""
        return bytes(self._encoding(self._position(first, end), PAIR_BYTES))

    def content(self, start: int, length: int) -> Bytes:
        """See `Store.content`."""
        size = group_bytes(self.chunk_log)
        group = start // size
        return self._encoding(self._position(group, group + 1) + start - group * size, length)

    def block(self, first: int, groups: int) -> tuple[bytes, Bytes]:
        """See `Store.block`."""
        size = group_bytes(self.chunk_log)
        encoding = self._encoding(self._position(first, first + groups), subtree_bytes(groups * size, self.chunk_log))
        return parted(memoryview(encoding), groups, size)


def _header(read: Read) -> int:
    header = read(0, HEADER_BYTES)
    if len(header) < HEADER_BYTES:
        raise Truncated(Damage("truncated", "header"))
    return int.from_bytes(header, "little")


def bytes_reader(data: Bytes) -> Read:
    """A reading function over bytes in memory."""
    view = memoryview(data).cast("B")
    return lambda offset, length: view[offset : offset + length]
