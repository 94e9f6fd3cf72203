"""Outboards of files and streams.

Threads hash whole batches; the core puts them together. It refuses to know trees.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Protocol

from rmb_peer.bao_files.parallel import in_order
from rmb_peer.bao_files.reading import FileBytes
from rmb_peer.protocol.bao import Encoded, OutboardEncoder, PairBlock, converted
from rmb_peer.protocol.bao.engines import Engine
from rmb_peer.protocol.bao.geometry import group_count, pairs_bytes
from rmb_peer.protocol.bao.layout import Order

Advance = Callable[[int], None]
"""Told how many more bytes of content are done."""


class PairSink(Protocol):
    """Keeps pairs."""

    def put(self, block: PairBlock) -> None:
        """Keep some."""


class PlacedPairs:
    """Pairs of content of known size, each put to its place: in memory, or through a function that writes at an offset.

    Args:
        size: bytes of the content.
        chunk_log: group exponent.
        order: of the outboard.
        write: takes offset and bytes.
    """

    def __init__(self, size: int, chunk_log: int, order: Order, write: Callable[[int, bytes], None]) -> None:
        self._groups = group_count(size, chunk_log)
        self._order: Order = order
        self._write = write

    def put(self, block: PairBlock) -> None:
        """See `PairSink.put`."""
        self._write(block.offset(self._order, self._groups), block.in_order(self._order))


class CollectedPairs:
    """Pairs of content whose size is known only at its end."""

    def __init__(self) -> None:
        self._pairs = bytearray()

    def put(self, block: PairBlock) -> None:
        """See `PairSink.put`."""
        self._pairs += block.in_order("post")

    def outboard(self, size: int, chunk_log: int, order: Order) -> bytearray:
        """All of them, in this order."""
        return self._pairs if order == "post" else converted(self._pairs, size, chunk_log, "post", order)


def outboard_buffer(size: int, chunk_log: int, order: Order) -> tuple[bytearray, PlacedPairs]:
    """Room for an outboard in memory, and a sink that fills it."""
    buffer = bytearray(pairs_bytes(size, chunk_log))

    def write(offset: int, pairs: bytes) -> None:
        buffer[offset : offset + len(pairs)] = pairs

    return buffer, PlacedPairs(size, chunk_log, order, write)


def encode_file(
    file: FileBytes, size: int, chunk_log: int, sink: PairSink, engine: Engine, threads: int, advance: Advance
) -> Encoded:
    """Hash the first `size` bytes of a file, and keep their pairs.

    Returns:
        root and size; `blocks` is empty, as all pairs went to the sink.

    Raises:
        ContentChanged: the file is shorter.
        OSError: reading or writing failed.
    """
    encoder = OutboardEncoder(chunk_log, engine)
    batch = encoder.batch_bytes
    whole = max(0, size - 1) // batch  # batches that more content follows

    def hashed(index: int) -> bytes:
        content = file.read_exactly_at(index * batch, batch)
        return engine.levels(content, index * engine.levels_chunks_max, chunk_log)

    for levels in in_order((partial(hashed, index) for index in range(whole)), threads):
        _put(sink, encoder.add_batch(levels))
        advance(batch)
    rest = file.read_exactly_at(whole * batch, size - whole * batch)
    return _finish(encoder, rest, sink, advance)


def encode_pieces(
    pieces: Iterable[bytes], chunk_log: int, sink: PairSink, engine: Engine, threads: int, advance: Advance
) -> Encoded:
    """Hash a stream, and keep its pairs.

    Args:
        pieces: of one batch each, `engine.levels_chunks_max` chunks; only the last one may be shorter.
        chunk_log: group exponent.
        sink: keeps the pairs.
        engine: computes.
        threads: how many work at once.
        advance: told about progress.

    Raises:
        OSError: reading or writing failed.
    """
    encoder = OutboardEncoder(chunk_log, engine)
    last = b""

    def jobs() -> Iterator[Callable[[], bytes]]:
        nonlocal last
        index = 0
        for piece in pieces:
            if last:
                yield partial(engine.levels, last, index * engine.levels_chunks_max, chunk_log)
                index += 1
            last = piece

    for levels in in_order(jobs(), threads):
        _put(sink, encoder.add_batch(levels))
        advance(encoder.batch_bytes)
    return _finish(encoder, last, sink, advance)


def _finish(encoder: OutboardEncoder, rest: bytes, sink: PairSink, advance: Advance) -> Encoded:
    _put(sink, encoder.update(rest))
    end = encoder.finish()
    _put(sink, end.blocks)
    advance(len(rest))
    return Encoded(end.root, end.size, [])


def _put(sink: PairSink, blocks: Iterable[PairBlock]) -> None:
    for block in blocks:
        sink.put(block)
