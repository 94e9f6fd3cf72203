"""The walk over a selection: which pairs and which pieces of content follow each other (spec bao, B5, C7).

Encoder and decoder take the same walk, one writing and the other reading, and both check: every node carries the CV
that its parent promised. It refuses to know where the bytes of the items are.
"""

from typing import NamedTuple

from rmb_peer.protocol.bao.engines import Bytes, Engine
from rmb_peer.protocol.bao.engines.constants import CHUNK_BYTES, CV_BYTES, PAIR_BYTES
from rmb_peer.protocol.bao.errors import Damage, Kind
from rmb_peer.protocol.bao.geometry import chunk_count, is_complete, left_count, node_number, span, subtree_bytes
from rmb_peer.protocol.bao.hashing import subtree_cv
from rmb_peer.protocol.bao.selection import ChunkRanges


class Node(NamedTuple):
    """A subtree that contains selected chunks.

    Attributes:
        first: its first chunk.
        chunks: how many.
        cv: what its CV must be.
        is_root: whether it is the whole tree.
        is_leaf: whether its content is the next item; else its pair is.
        start: first byte of content below it.
        length: bytes of content below it, under the claimed size.
    """

    first: int
    chunks: int
    cv: bytes
    is_root: bool
    is_leaf: bool
    start: int
    length: int

    @property
    def item_bytes(self) -> int:
        """Length of the next item."""
        return self.length if self.is_leaf else PAIR_BYTES

    def damage(self, kind: Kind) -> Damage:
        """The report when its item fails (part D)."""
        number = self.first if self.is_leaf else node_number(self.first, self.chunks)
        return Damage(kind, "leaf" if self.is_leaf else "parent", self.start, self.length, number)

    def matches(self, engine: Engine, item: Bytes) -> bool:
        """Whether its item is what the CV promises."""
        if self.is_leaf:
            return subtree_cv(engine, item, self.first, self.is_root) == self.cv
        return engine.parent(item, self.is_root) == self.cv


class Walk:
    """The state of a walk: the subtrees still to visit.

    Args:
        root: trusted hash.
        size: claimed size of the content.
        chunk_log: group exponent.
        selection: what is wanted, not clipped.
    """

    def __init__(self, root: bytes, size: int, chunk_log: int, selection: ChunkRanges) -> None:
        self.size = size
        self._chunk_log = chunk_log
        self._selection = selection.clipped(size)
        self._stack: list[tuple[int, int, bytes]] = []
        chunks = chunk_count(size)
        self._chunks = chunks
        self.last_chunk_seen = False
        """Whether an item with the last chunk was passed: then the size is proven (B3, rule 5)."""
        if self._selection:
            self._stack.append((0, chunks, root))

    @property
    def node(self) -> Node | None:
        """The next subtree, or `None` at the end."""
        while self._stack:
            first, count, cv = self._stack[-1]
            if self._selection.touches(first, first + count):
                start, length = span(first, count, self.size)
                is_leaf = count == 1 or (count <= 1 << self._chunk_log and self._selection.covers(first, first + count))
                return Node(first, count, cv, count == self._chunks, is_leaf, start, length)
            self._stack.pop()
        return None

    def passed_pair(self, node: Node, pair: Bytes) -> None:
        """The pair of the next node is right: its children come next."""
        self._stack.pop()
        left = left_count(node.chunks)
        self._stack.append((node.first + left, node.chunks - left, bytes(pair[CV_BYTES:])))
        self._stack.append((node.first, left, bytes(pair[:CV_BYTES])))

    def passed_whole(self, node: Node) -> None:
        """Everything below the next node is right."""
        self._stack.pop()
        self.last_chunk_seen |= node.first + node.chunks == self._chunks

    def batch_bytes(self, node: Node, chunks_max: int) -> int | None:
        """Length of the encoding of a subtree that can be checked at once, or `None` if it is not such a subtree.

        That is a complete tree of several whole groups, selected as a whole, which is not the root.
        """
        if (
            node.is_leaf
            or node.is_root
            or not 1 << self._chunk_log < node.chunks <= chunks_max
            or not is_complete(node.chunks)
            or node.length != node.chunks * CHUNK_BYTES
            or not self._selection.covers(node.first, node.first + node.chunks)
        ):
            return None
        return subtree_bytes(node.length, self._chunk_log)
