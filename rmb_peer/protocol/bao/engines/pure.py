"""BLAKE3's compressions in plain Python: the readable reference, and the last resort.

It follows spec bao, A2 to A4, line by line, and is about a thousand times slower than the others.
"""

import struct

from rmb_peer.protocol.bao.engines.base import Bytes, Engine
from rmb_peer.protocol.bao.engines.constants import (
    BLOCK_BYTES,
    CHUNK_BYTES,
    CHUNK_END,
    CHUNK_START,
    COLUMNS,
    DIAGONALS,
    IV,
    PAIR_BYTES,
    PARENT,
    ROOT,
    SCHEDULE,
)

_WORD = 0xFFFFFFFF
_BLOCK = struct.Struct("<16I")
_CV = struct.Struct("<8I")

_STEPS = tuple(
    (*places, order[2 * index], order[2 * index + 1])
    for order in SCHEDULE
    for index, places in enumerate(COLUMNS + DIAGONALS)
)
"""All 56 quarter steps of a compression: four places in the state, two in the block."""


def compress(h: tuple[int, ...], block: bytes, counter: int, length: int, flags: int) -> tuple[int, ...]:
    """The compression function (A2).

    Args:
        h: chaining value of eight words.
        block: 64 bytes.
        counter: index of the chunk, or 0 for a parent.
        length: bytes of the block that are not padding.
        flags: sum of flags.

    Returns:
        eight words.
    """
    m = _BLOCK.unpack(block)
    v = [*h, *IV[:4], counter & _WORD, counter >> 32, length, flags]
    for a, b, c, d, x, y in _STEPS:
        va, vb, vc, vd = v[a], v[b], v[c], v[d]
        va = (va + vb + m[x]) & _WORD
        vd ^= va
        vd = (vd >> 16 | vd << 16) & _WORD
        vc = (vc + vd) & _WORD
        vb ^= vc
        vb = (vb >> 12 | vb << 20) & _WORD
        va = (va + vb + m[y]) & _WORD
        vd ^= va
        vd = (vd >> 8 | vd << 24) & _WORD
        vc = (vc + vd) & _WORD
        vb ^= vc
        vb = (vb >> 7 | vb << 25) & _WORD
        v[a], v[b], v[c], v[d] = va, vb, vc, vd
    return tuple(low ^ high for low, high in zip(v[:8], v[8:], strict=True))


class PureEngine(Engine):
    """No compiled code at all."""

    name = "pure"

    def chunks(self, data: Bytes, first_chunk: int) -> bytes:
        """See `Engine.chunks`."""
        view = memoryview(data)
        return b"".join(
            self.chunk(view[offset : offset + CHUNK_BYTES], first_chunk + offset // CHUNK_BYTES, root=False)
            for offset in range(0, len(view), CHUNK_BYTES)
        )

    def parents(self, pairs: Bytes) -> bytes:
        """See `Engine.parents`."""
        view = memoryview(pairs)
        return b"".join(
            self.parent(view[offset : offset + PAIR_BYTES], root=False) for offset in range(0, len(view), PAIR_BYTES)
        )

    def chunk(self, data: Bytes, index: int, root: bool) -> bytes:
        """See `Engine.chunk`."""
        h: tuple[int, ...] = IV
        offsets = range(0, max(len(data), 1), BLOCK_BYTES)
        for offset in offsets:
            block = bytes(data[offset : offset + BLOCK_BYTES])
            flags = CHUNK_START if offset == 0 else 0
            if offset == offsets[-1]:
                flags |= CHUNK_END | (ROOT if root else 0)
            h = compress(h, block.ljust(BLOCK_BYTES, b"\0"), index, len(block), flags)
        return _CV.pack(*h)

    def parent(self, pair: Bytes, root: bool) -> bytes:
        """See `Engine.parent`."""
        return _CV.pack(*compress(IV, bytes(pair), 0, PAIR_BYTES, PARENT | (ROOT if root else 0)))
