"""What the engines share that run one kernel over many equal inputs: the single chunk and the single parent.

It refuses to know what the kernel is written in.
"""

from abc import abstractmethod

from rmb_peer.protocol.bao.engines.base import Bytes, Engine
from rmb_peer.protocol.bao.engines.constants import BLOCK_BYTES, CHUNK_END, CHUNK_START, PARENT, ROOT


class KernelEngine(Engine):
    """An engine made of one function, `_many`."""

    @abstractmethod
    def _many(self, data: Bytes, count: int, blocks: int, counter: int, step: int, *flags_and_length: int) -> bytes:
        """The CVs of `count` inputs of `blocks` blocks each.

        Args:
            data: the inputs, one after another.
            count: how many.
            blocks: of 64 bytes in each.
            counter: of the first input.
            step: from one counter to the next.
            flags_and_length: flags of every, the first and the last block; length of the last block in bytes.
        """

    def chunk(self, data: Bytes, index: int, root: bool) -> bytes:
        """See `Engine.chunk`."""
        blocks = max(1, -(-len(data) // BLOCK_BYTES))
        padded = bytes(data).ljust(blocks * BLOCK_BYTES, b"\0")
        last_flags = CHUNK_END | (ROOT if root else 0)
        last_length = len(data) - (blocks - 1) * BLOCK_BYTES
        return self._many(padded, 1, blocks, index, 0, 0, CHUNK_START, last_flags, last_length)

    def parent(self, pair: Bytes, root: bool) -> bytes:
        """See `Engine.parent`."""
        return self._many(pair, 1, 1, 0, 0, PARENT | (ROOT if root else 0), 0, 0, BLOCK_BYTES)
