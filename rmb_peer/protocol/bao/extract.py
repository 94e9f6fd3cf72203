"""Encodings out of a store: combined encodings, slices, any selection (spec bao, B1, B5, C7, the validated form).

Every item is checked before it is handed out. So whoever receives the encoding of damaged content sees it end early,
and never wrong data; who sends it learns what is damaged. It refuses to know where the bytes go.
"""

from collections.abc import Iterator

from rmb_peer.protocol.bao.encoder import encode_outboard
from rmb_peer.protocol.bao.engines import Bytes, Engine, best_engine
from rmb_peer.protocol.bao.engines.constants import CHUNK_BYTES, CV_BYTES
from rmb_peer.protocol.bao.errors import Damage, failure
from rmb_peer.protocol.bao.geometry import HEADER_BYTES, checked_chunk_log, checked_root, chunk_count, group_bytes, span
from rmb_peer.protocol.bao.hashing import inner_pair, subtree_rows
from rmb_peer.protocol.bao.interleaving import interleaved
from rmb_peer.protocol.bao.layout import reordered
from rmb_peer.protocol.bao.selection import EVERYTHING, ChunkRanges
from rmb_peer.protocol.bao.store import OutboardStore, Store, bytes_reader
from rmb_peer.protocol.bao.walk import Node, Walk


def extract(
    store: Store,
    root: bytes,
    selection: ChunkRanges = EVERYTHING,
    *,
    chunk_log: int | None = None,
    header: bool = True,
    engine: Engine | None = None,
) -> Iterator[bytes]:
    """The encoding of a selection.

    Args:
        store: content and pairs.
        root: trusted hash.
        selection: chunks that are wanted.
        chunk_log: group exponent of the encoding; that of the store by default. With 0 and the chunks of one range of
            bytes the result is a slice (B5), with everything a combined encoding (B1).
        header: put the size before it.
        engine: computes; the fastest one by default.

    Yields:
        pieces of the encoding.

    Raises:
        HashMismatch: the next item in the store is wrong.
        Truncated: the next item in the store is incomplete.
        WrongArgument: an argument is out of range.
    """
    extractor = _Extractor(store, engine or best_engine())
    wire_log = store.chunk_log if chunk_log is None else checked_chunk_log(chunk_log)
    walk = Walk(checked_root(root), store.size, wire_log, selection)
    if header:
        yield store.size.to_bytes(HEADER_BYTES, "little")
    while (node := walk.node) is not None:
        if wire_log == store.chunk_log and walk.batch_bytes(node, extractor.engine.levels_chunks_max) is not None:
            batch = extractor.batch(node)
            if batch is not None:
                walk.passed_whole(node)
                yield batch
                continue
        item = extractor.item(node)
        if node.is_leaf:
            walk.passed_whole(node)
        else:
            walk.passed_pair(node, item)
        yield bytes(item)


def encode_combined(content: Bytes, chunk_log: int = 0, engine: Engine | None = None) -> tuple[bytes, bytes]:
    """Root hash and combined encoding of content in memory (B1)."""
    root, outboard = encode_outboard(content, chunk_log, engine=engine)
    store = OutboardStore(bytes_reader(content), bytes_reader(outboard), len(content), chunk_log)
    return root, b"".join(extract(store, root, engine=engine))


class _Extractor:
    """Reads items from a store and checks them."""

    def __init__(self, store: Store, engine: Engine) -> None:
        self._store = store
        self.engine = engine
        self._group = 1 << store.chunk_log
        self._rows_of: int | None = None  # first chunk of the group whose inner pairs were computed last
        self._rows: list[bytes] = []

    def batch(self, node: Node) -> bytes | None:
        """The encoding of a complete subtree, or `None` if anything in it is wrong."""
        groups = node.chunks // self._group
        pairs, content = self._store.block(node.first // self._group, groups)
        if len(content) < node.length:
            return None
        levels = self.engine.levels(content, node.first, self._store.chunk_log)
        if levels[-CV_BYTES:] != node.cv or reordered(levels[:-CV_BYTES], "level", "pre") != pairs:
            return None
        return interleaved(pairs, content, groups, group_bytes(self._store.chunk_log))

    def item(self, node: Node) -> Bytes:
        """The next item, which is right."""
        if node.is_leaf:
            item: Bytes = self._content(node.start, node.length)
        elif node.chunks > self._group:
            item = self._store.pair(node.first // self._group, -(-(node.first + node.chunks) // self._group))
        else:
            return self._inner_pair(node)
        if len(item) < node.item_bytes:
            raise failure(node.damage("truncated"))
        if not node.matches(self.engine, item):
            raise failure(node.damage("hash mismatch"))
        return item

    def _content(self, start: int, length: int) -> bytes:
        """Content that may reach over several groups of the store."""
        size, pieces, position = group_bytes(self._store.chunk_log), [], start
        while position < start + length:
            end = min((position // size + 1) * size, start + length)
            pieces.append(self._store.content(position, end - position))
            position = end
        return b"".join(pieces)

    def _inner_pair(self, node: Node) -> bytes:
        """A pair inside a group of the store, which keeps none: computed from the content of the group."""
        first = node.first // self._group * self._group
        chunks = min(self._group, chunk_count(self._store.size) - first)
        start, length = span(first, chunks, self._store.size)
        if self._rows_of != first:
            content = self._store.content(start, length)
            if len(content) < length:
                raise failure(Damage("truncated", "leaf", start, length, first))
            self._rows_of, self._rows = first, subtree_rows(self.engine, content, start // CHUNK_BYTES)
        pair = inner_pair(self._rows, node.first - first, node.chunks)
        if not node.matches(self.engine, pair):
            raise failure(Damage("hash mismatch", "leaf", start, length, first))
        return pair
