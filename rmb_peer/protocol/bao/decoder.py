"""The incremental verifying decoder: bytes of an encoding in, proven content out (spec bao, B3, B5, C8).

It decodes combined encodings, slices and encoded selections, with groups of any size. Nothing is released before it is
checked; what was released before a failure is right. Memory: one item that has not arrived completely.

It refuses to know where the bytes come from and where the content goes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from rmb_peer.protocol.bao.engines import Bytes, Engine, best_engine
from rmb_peer.protocol.bao.engines.constants import CV_BYTES
from rmb_peer.protocol.bao.errors import Damage, VerificationFailed, WrongArgument, failure
from rmb_peer.protocol.bao.geometry import HEADER_BYTES, checked_chunk_log, checked_root, checked_size, group_bytes
from rmb_peer.protocol.bao.interleaving import parted
from rmb_peer.protocol.bao.layout import PairBlock, reordered
from rmb_peer.protocol.bao.selection import EVERYTHING, ChunkRanges
from rmb_peer.protocol.bao.walk import Node, Walk


@dataclass(frozen=True, slots=True)
class Proven:
    """Content that is right.

    Attributes:
        start: where it stands in the whole content.
        data: the bytes.
    """

    start: int
    data: bytes


class Decoder:
    """Verifies an encoding that arrives in pieces of any size.

    Args:
        root: trusted hash of the whole content.
        chunk_log: group exponent of the encoding.
        selection: which chunks were asked for.
        size: claimed size of the content, when it does not stand in a header at the front of the encoding.
        window: release only bytes `[start, end)` of the content; the whole chunks are checked all the same.
        with_pairs: hand out proven pairs of whole groups, too, for an outboard.
        engine: computes; the fastest one by default.

    Raises:
        WrongArgument: an argument is out of range.
    """

    def __init__(
        self,
        root: bytes,
        *,
        chunk_log: int = 0,
        selection: ChunkRanges = EVERYTHING,
        size: int | None = None,
        window: tuple[int, int] | None = None,
        with_pairs: bool = False,
        engine: Engine | None = None,
    ) -> None:
        self._root = checked_root(root)
        self._chunk_log = checked_chunk_log(chunk_log)
        self._selection = selection
        if window is not None and not 0 <= window[0] <= window[1]:
            raise WrongArgument("a window begins at 0 or later and ends where it begins or later")
        self._window = window
        self._with_pairs = with_pairs
        self._engine = engine or best_engine()
        self._held = bytearray()
        self._walk = None if size is None else self._begin(checked_size(size))
        self._failed: VerificationFailed | None = None

    @classmethod
    def of_slice(
        cls, root: bytes, start: int, length: int, *, chunk_log: int = 0, engine: Engine | None = None
    ) -> "Decoder":
        """A decoder for the slice that covers `length` bytes from `start` (B5).

        Raises:
            WrongArgument: start or length is negative, or another argument out of range.
        """
        selection = ChunkRanges.of_bytes(start, length)
        return cls(root, chunk_log=chunk_log, selection=selection, window=(start, start + length), engine=engine)

    def _begin(self, size: int) -> Walk:
        return Walk(self._root, size, self._chunk_log, self._selection)

    @property
    def done(self) -> bool:
        """Whether the last item was checked. What follows it is ignored (B3, rule 6)."""
        return self._walk is not None and self._walk.node is None

    @property
    def size(self) -> int | None:
        """Size of the content, once it is proven: before, it is a claim that nobody shall learn (B3, rule 5)."""
        return self._walk.size if self._walk is not None and self._walk.last_chunk_seen else None

    def feed(self, data: Bytes) -> Iterator[Proven | PairBlock]:
        """Take more of the encoding. The answer must be consumed before the next call.

        Yields:
            what is proven now, in order.

        Raises:
            HashMismatch: an item is wrong. Everything yielded before is right; nothing follows.
        """
        if self._failed is not None:
            raise self._failed
        view = memoryview(data).cast("B")
        position = 0
        while True:
            if self._walk is None:
                position = self._fill(view, position, HEADER_BYTES)
                if len(self._held) < HEADER_BYTES:
                    return
                self._walk = self._begin(int.from_bytes(self._take(), "little"))
            node = self._walk.node
            if node is None:
                return
            if not self._held:
                batch = self._walk.batch_bytes(node, self._engine.levels_chunks_max)
                if batch is not None and batch <= len(view) - position:
                    proven = self._batch(node, view[position : position + batch])
                    if proven is not None:
                        position += batch
                        self._walk.passed_whole(node)
                        yield from proven
                        continue
                if node.item_bytes <= len(view) - position:
                    item: Bytes = view[position : position + node.item_bytes]
                    position += node.item_bytes
                    yield from self._item(self._walk, node, item)
                    continue
            position = self._fill(view, position, node.item_bytes)
            if len(self._held) < node.item_bytes:
                return
            yield from self._item(self._walk, node, self._take())

    def finish(self) -> None:
        """The source has ended.

        Raises:
            Truncated: items are missing.
            HashMismatch: decoding had failed before, or the empty content is not that of the root hash.
        """
        for _ in self.feed(b""):  # an empty leaf needs no bytes, and must be checked all the same (B3, rule 4)
            raise AssertionError("content out of nothing")
        if not self.done:
            node = self._walk.node if self._walk is not None else None
            self._failed = failure(Damage("truncated", "header") if node is None else node.damage("truncated"))
            raise self._failed

    def _fill(self, view: memoryview, position: int, wanted: int) -> int:
        """Keep as much of an item as has arrived; the answer is the position behind it."""
        end = min(len(view), position + wanted - len(self._held))
        self._held += view[position:end]
        return end

    def _take(self) -> bytes:
        taken, self._held = bytes(self._held), bytearray()
        return taken

    def _item(self, walk: Walk, node: Node, item: Bytes) -> Iterator[Proven | PairBlock]:
        if not node.matches(self._engine, item):
            self._failed = failure(node.damage("hash mismatch"))
            raise self._failed
        if node.is_leaf:
            walk.passed_whole(node)
            yield from self._released(node.start, item)
            return
        walk.passed_pair(node, item)
        group = 1 << self._chunk_log
        if self._with_pairs and node.chunks > group:
            yield PairBlock(node.first // group, -(-(node.first + node.chunks) // group), bytes(item))

    def _batch(self, node: Node, encoding: memoryview) -> list[Proven | PairBlock] | None:
        """Check a whole subtree at once: its pairs must be those that its content has.

        Returns:
            what is proven; `None` if anything is wrong, for the caller to find out what.
        """
        groups = node.chunks >> self._chunk_log
        pairs, content = parted(encoding, groups, group_bytes(self._chunk_log))
        levels = self._engine.levels(content, node.first, self._chunk_log)
        if levels[-CV_BYTES:] != node.cv or reordered(levels[:-CV_BYTES], "level", "pre") != pairs:
            return None
        proven: list[Proven | PairBlock] = []
        if self._with_pairs:
            first = node.first >> self._chunk_log
            proven.append(PairBlock(first, first + groups, levels[:-CV_BYTES]))
        return proven + list(self._released(node.start, content))

    def _released(self, start: int, data: Bytes) -> Iterator[Proven]:
        """The part of right content that was asked for."""
        end = start + len(data)
        low, high = (start, end) if self._window is None else (max(start, self._window[0]), min(end, self._window[1]))
        if low < high:
            yield Proven(low, bytes(data[low - start : high - start]))
