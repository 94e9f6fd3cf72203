"""CVs of subtrees of any size up to a batch, from their content (spec bao, A5, A6).

It refuses to know where content and pairs are kept.
"""

from rmb_peer.protocol.bao.engines import Bytes, Engine
from rmb_peer.protocol.bao.engines.constants import CHUNK_BYTES, CV_BYTES, PAIR_BYTES
from rmb_peer.protocol.bao.geometry import is_complete


def subtree_cv(engine: Engine, content: Bytes, first_chunk: int, root: bool) -> bytes:
    """The CV of the subtree over this content, which is the root hash if the content is all there is."""
    if len(content) <= CHUNK_BYTES:
        return engine.chunk(content, first_chunk, root)
    chunks = len(content) // CHUNK_BYTES
    if chunks <= engine.levels_chunks_max and is_complete(chunks) and len(content) == chunks * CHUNK_BYTES:
        top = engine.levels(content, first_chunk, chunks.bit_length() - 2)  # one call: the last pair, and its CV
        return engine.parent(top[:PAIR_BYTES], root=True) if root else top[PAIR_BYTES:]
    rows = subtree_rows(engine, content, first_chunk)
    return engine.parent(rows[-2], root=True) if root else rows[-1]


def subtree_rows(engine: Engine, content: Bytes, first_chunk: int) -> list[bytes]:
    """CVs of the chunks, then of the level above, and so on up to one; a last unpaired CV is carried upwards (A5).

    Args:
        engine: computes.
        content: bytes of the subtree; only the last chunk of all content may be short.
        first_chunk: index of its first chunk.
    """
    view = memoryview(content)
    whole = len(view) // CHUNK_BYTES * CHUNK_BYTES
    row = engine.chunks(view[:whole], first_chunk) if whole else b""
    if whole < len(view) or not whole:
        row += engine.chunk(view[whole:], first_chunk + whole // CHUNK_BYTES, root=False)
    rows = [row]
    while len(row) > CV_BYTES:
        paired = len(row) // PAIR_BYTES * PAIR_BYTES
        row = engine.parents(row[:paired]) + row[paired:]
        rows.append(row)
    return rows


def inner_pair(rows: list[bytes], first: int, count: int) -> bytes:
    """The pair of a node within a subtree.

    Args:
        rows: as `subtree_rows` gives them.
        first: first chunk of the node, counted from that of the subtree.
        count: its chunks, two or more.
    """
    level = (count - 1).bit_length() - 1
    start = (first >> level) * CV_BYTES
    return rows[level][start : start + PAIR_BYTES]
