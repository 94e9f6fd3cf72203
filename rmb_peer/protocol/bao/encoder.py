"""Building an outboard while content passes by (spec bao, A6, C5).

Fed with pieces of any size, it holds one batch of content and one CV for each level of the tree, and hands out the
pairs as they become known: post-order is their natural order, and each block says where it stands in pre-order.
Whoever wants several threads hashes whole batches elsewhere (`Engine.levels`) and hands in the result.

It refuses to know where content comes from and where pairs are kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from rmb_peer.protocol.bao.engines import Bytes, Engine, best_engine
from rmb_peer.protocol.bao.engines.constants import CHUNK_BYTES, CV_BYTES, PAIR_BYTES
from rmb_peer.protocol.bao.errors import WrongArgument
from rmb_peer.protocol.bao.geometry import (
    CHUNK_LOG_DEFAULT,
    HEADER_BYTES,
    SIZE_MAX,
    checked_chunk_log,
    group_bytes,
)
from rmb_peer.protocol.bao.hashing import subtree_cv
from rmb_peer.protocol.bao.layout import Order, PairBlock, converted


@dataclass(frozen=True, slots=True)
class Encoded:
    """The end of an encoding.

    Attributes:
        root: the BLAKE3 hash of the content; the CV, if the content is a part that is not the root.
        size: bytes of content.
        blocks: the pairs that were not known before.
    """

    root: bytes
    size: int
    blocks: list[PairBlock]


@dataclass(frozen=True, slots=True)
class _Part:
    first: int
    end: int
    cv: bytes


class OutboardEncoder:
    """Hashes content of unknown length, in order.

    Args:
        chunk_log: group exponent, 0 to 10.
        engine: computes; the fastest one by default.
        first_chunk: index of the first chunk, when the content is a part of something larger: a multiple of the batch
            size, or of the whole subtree that is fed.

    Raises:
        WrongArgument: the exponent is out of range.
    """

    def __init__(self, chunk_log: int = CHUNK_LOG_DEFAULT, engine: Engine | None = None, first_chunk: int = 0) -> None:
        self._chunk_log = checked_chunk_log(chunk_log)
        self._engine = engine or best_engine()
        self._group_bytes = group_bytes(chunk_log)
        self.batch_bytes = self._engine.levels_chunks_max * CHUNK_BYTES
        """Content that is hashed at once."""
        self._held = bytearray()
        self._stack: list[_Part] = []
        self._first = first_chunk >> chunk_log
        self._next = self._first  # group at which the next batch begins
        self._finished = False

    @property
    def size(self) -> int:
        """Bytes fed so far."""
        return (self._next - self._first) * self._group_bytes + len(self._held)

    def update(self, data: Bytes) -> Iterator[PairBlock]:
        """Take more content. The answer must be consumed before the next call.

        Yields:
            pairs that are known now, in post-order.

        Raises:
            WrongArgument: after `finish`, or more than 2^64 - 1 bytes.
        """
        view = memoryview(data).cast("B")
        if self._finished:
            raise WrongArgument("this encoding is finished")
        if self.size + len(view) > SIZE_MAX:
            raise WrongArgument("content has at most 2^64 - 1 bytes")
        position = 0
        # A batch is hashed only when more content follows: until then it could be the root (A6).
        while len(self._held) + len(view) - position > self.batch_bytes:
            if self._held:
                taken = self.batch_bytes - len(self._held)
                self._held += view[position : position + taken]
                levels = self.batch_levels(self._held)
                self._held = bytearray()
            else:
                taken = self.batch_bytes
                levels = self.batch_levels(view[position : position + taken])
            position += taken
            yield from self.add_batch(levels)
        self._held += view[position:]

    def batch_levels(self, batch: Bytes, index: int = 0) -> bytes:
        """Hash a whole batch without adding it; may run in any thread.

        Args:
            batch: `batch_bytes` of content.
            index: how many batches lie between what was added and this one.
        """
        first_chunk = (self._next << self._chunk_log) + index * self._engine.levels_chunks_max
        return self._engine.levels(batch, first_chunk, self._chunk_log)

    def add_batch(self, levels: bytes) -> Iterator[PairBlock]:
        """Add the next batch, hashed by `batch_levels`; more content must follow.

        Raises:
            WrongArgument: bytes that were fed by `update` wait for their batch.
        """
        if self._held:
            raise WrongArgument("whole batches cannot follow a part of one")
        yield from self._push(levels, self.batch_bytes // self._group_bytes)

    def _push(self, levels: bytes, groups: int) -> Iterator[PairBlock]:
        """Put a complete subtree onto the stack, after joining what is complete below it."""
        # Equal neighbours are joined only now: the last join of all must know that it makes the root.
        while len(self._stack) > 1 and _width(self._stack[-1]) == _width(self._stack[-2]):
            yield self._join(root=False)
        first = self._next
        self._next += groups
        if groups > 1:
            yield PairBlock(first, self._next, levels[:-CV_BYTES])
        self._stack.append(_Part(first, self._next, levels[-CV_BYTES:]))

    def _join(self, root: bool) -> PairBlock:
        right = self._stack.pop()
        left = self._stack.pop()
        pair = left.cv + right.cv
        self._stack.append(_Part(left.first, right.end, self._engine.parent(pair, root)))
        return PairBlock(left.first, right.end, pair)

    def finish(self, root: bool = True) -> Encoded:
        """The content is complete.

        Args:
            root: whether it was all there is, and not a part of something larger.

        Raises:
            WrongArgument: it was finished before, or ends with a batch that `add_batch` added.
        """
        if self._finished:
            raise WrongArgument("this encoding is finished")
        if self._stack and not self._held:
            raise WrongArgument("more content must follow a whole batch that was added")
        size, rest = self.size, memoryview(self._held)
        self._finished = True
        found: list[PairBlock] = []
        if not self._stack and len(rest) <= self._group_bytes:
            first_chunk = self._next << self._chunk_log
            return Encoded(subtree_cv(self._engine, rest, first_chunk, root), size, found)
        whole = len(rest) // self._group_bytes
        position = 0
        while whole:
            groups = 1 << (whole.bit_length() - 1)
            piece = rest[position : position + groups * self._group_bytes]
            found += self._push(self.batch_levels(piece), groups)
            position += len(piece)
            whole -= groups
        if position < len(rest):
            cv = subtree_cv(self._engine, rest[position:], self._next << self._chunk_log, root=False)
            found += self._push(cv, 1)
        if len(self._stack) == 1:  # one complete subtree: its top was computed as if it were not the root
            cv = self._engine.parent(found[-1].pairs[-PAIR_BYTES:], root)
            return Encoded(cv, size, found)
        while len(self._stack) > 1:
            found.append(self._join(root and len(self._stack) == 2))
        return Encoded(self._stack[0].cv, size, found)


def _width(part: _Part) -> int:
    return part.end - part.first


def encode_outboard(
    content: Bytes,
    chunk_log: int = CHUNK_LOG_DEFAULT,
    order: Order = "pre",
    *,
    with_size: bool = False,
    engine: Engine | None = None,
) -> tuple[bytes, bytes]:
    """Root hash and outboard of content in memory.

    Args:
        content: the content.
        chunk_log: group exponent.
        order: of the pairs.
        with_size: put the size, in eight bytes, before a pre-order outboard (B2) or behind a post-order one (C4).
        engine: computes; the fastest one by default.

    Returns:
        root hash, outboard.
    """
    encoder = OutboardEncoder(chunk_log, engine)
    collected = [block.in_order("post") for block in encoder.update(content)]
    end = encoder.finish()
    collected += [block.in_order("post") for block in end.blocks]
    pairs = b"".join(collected)
    if order == "pre":
        pairs = bytes(converted(pairs, end.size, chunk_log, "post", "pre"))
    size = end.size.to_bytes(HEADER_BYTES, "little") if with_size else b""
    return end.root, size + pairs if order == "pre" else pairs + size
