"""Carrying out a repair plan on files: pairs are written, content is taken from another copy or from an encoding.

Nothing is written that was not proven against the root hash. It refuses to find damage: that is the core's.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from rmb_peer.bao_files.reading import FileBytes
from rmb_peer.protocol.bao import (
    Check,
    Damage,
    Decoder,
    OutboardStore,
    PairBlock,
    Plan,
    Proven,
    Subtree,
    Truncated,
    WrongArgument,
    proven_blocks,
)
from rmb_peer.protocol.bao.engines.constants import CHUNK_BYTES, PAIR_BYTES
from rmb_peer.protocol.bao.geometry import HEADER_BYTES
from rmb_peer.protocol.bao.store import Read


@dataclass(slots=True)
class Repaired:
    """What a repair did.

    Attributes:
        pairs: how many pairs were written.
        content_bytes: how many bytes of content were written.
        fetched_bytes: how many bytes were read from the other copy, or taken from the encoding.
        missing: subtrees that stay damaged.
    """

    pairs: int
    content_bytes: int
    fetched_bytes: int
    missing: list[Subtree]


class Repair:
    """Writes into a file and its outboard.

    Args:
        check: of the two files.
        store: where the outboard's pairs are.
        content: the file.
        outboard: the file with the pairs.
        plan: what to do.
    """

    def __init__(self, check: Check, store: OutboardStore, content: FileBytes, outboard: FileBytes, plan: Plan) -> None:
        self._check = check
        self._store = store
        self._content = content
        self._outboard = outboard
        self._plan = plan
        self.done = Repaired(0, 0, 0, list(plan.missing))

    def write_pairs(self) -> None:
        """Write the pairs that are known without any help.

        Raises:
            OSError: writing failed.
        """
        for block in self._plan.pairs:
            self._put(block)

    def _put(self, block: PairBlock) -> None:
        pairs = block.in_order(self._store.order)
        self._outboard.write_at(self._store.position(block), pairs)
        self.done.pairs += len(pairs) // PAIR_BYTES

    def _write(self, start: int, data: bytes) -> None:
        self._content.write_at(start, data)
        self.done.content_bytes += len(data)

    def take_from_copy(self, copy: FileBytes) -> None:
        """Take what is missing from another copy of the content, which need not be right everywhere.

        Raises:
            OSError: reading or writing failed.
        """
        self.done.missing = [subtree for subtree in self.done.missing if not self._take_subtree(subtree, copy.read_at)]

    def _take_subtree(self, subtree: Subtree, read: Read) -> bool:
        start, length = self._check.span(subtree)
        if length > self._check.engine.levels_chunks_max * CHUNK_BYTES:  # more than a unit of the check
            # Too much to hold: it is proven as a whole first, which gives its pairs; under them piece after piece.
            blocks = proven_blocks(self._check, subtree, self._counted(read))
            for block in blocks or ():
                self._put(block)
            return blocks is not None and all(
                isinstance(unit, Subtree) and self._take_subtree(unit, read) for unit in self._check.units(subtree)
            )
        content = bytes(self._counted(read)(start, length))
        blocks = proven_blocks(self._check, subtree, lambda at, size: content[at - start : at - start + size])
        for block in blocks or ():
            self._put(block)
        if blocks is not None:
            self._write(start, content)
        return blocks is not None

    def _counted(self, read: Read) -> Read:
        def counted(offset: int, length: int) -> bytes:
            data = bytes(read(offset, length))
            self.done.fetched_bytes += len(data)
            return data

        return counted

    def take_from_encoding(self, pieces: Iterable[bytes]) -> None:
        """Take what is missing from an encoding of exactly the planned selection, with its header.

        Args:
            pieces: the encoding.

        Raises:
            HashMismatch: an item is wrong. What came before it was written.
            Truncated: it ends too early. What came before was written.
            WrongArgument: it is for content of another size.
            OSError: reading or writing failed.
        """
        size, header = self._store.size, bytearray()
        decoder = Decoder(
            self._check.whole.cv,
            chunk_log=self._store.chunk_log,
            selection=self._plan.selection(self._check),
            size=size,
            with_pairs=True,
            engine=self._check.engine,
        )
        for piece in pieces:
            self.done.fetched_bytes += len(piece)
            missing = HEADER_BYTES - len(header)
            header += piece[:missing]
            if len(header) < HEADER_BYTES:
                continue
            # Another size would be another tree, and its pairs would have no place in this outboard.
            if missing > 0 and int.from_bytes(header, "little") != size:
                raise WrongArgument(f"the encoding is for content of another size than {size} bytes")
            for proven in decoder.feed(piece[missing:] if missing > 0 else piece):
                if isinstance(proven, Proven):
                    self._write(proven.start, proven.data)
                else:
                    self._put_if_new(proven)
            if decoder.done:
                break
        if len(header) < HEADER_BYTES:
            raise Truncated(Damage("truncated", "header"))
        decoder.finish()
        self.done.missing = []

    def _put_if_new(self, block: PairBlock) -> None:
        position = self._store.position(block)
        if self._outboard.read_at(position, len(block.pairs)) != block.in_order(self._store.order):
            self._put(block)

    def sync(self) -> None:
        """Wait until everything is on the disk.

        Raises:
            OSError: it cannot be.
        """
        self._content.sync()
        self._outboard.sync()
