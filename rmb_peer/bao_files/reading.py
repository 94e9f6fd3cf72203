"""Content from files and streams, in pieces.

It refuses to know what the bytes mean.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self


class ContentChanged(Exception):
    """A file became shorter while it was read."""


class FileBytes:
    """A regular file that several threads read at any offset.

    Args:
        path: where it is.
        writable: whether `write_at` will be used.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """

    def __init__(self, path: Path, writable: bool = False) -> None:
        self.path = path
        self._file = path.open("r+b" if writable else "rb", buffering=0)
        self._descriptor = self._file.fileno()

    @property
    def size(self) -> int:
        """Its length now."""
        return os.fstat(self._descriptor).st_size

    def read_at(self, offset: int, length: int) -> bytes:
        """Bytes from an offset on, fewer than asked for at the end only.

        Raises:
            OSError: reading failed.
        """
        data = os.pread(self._descriptor, length, offset) if offset < _OFFSET_END else b""
        if len(data) in (0, length):
            return data
        pieces = [data]
        have = len(data)
        while have < length and (data := os.pread(self._descriptor, length - have, offset + have)):
            pieces.append(data)
            have += len(data)
        return b"".join(pieces)

    def read_exactly_at(self, offset: int, length: int) -> bytes:
        """Bytes from an offset on, all of them.

        Raises:
            ContentChanged: the file ends before.
            OSError: reading failed.
        """
        data = self.read_at(offset, length)
        if len(data) < length:
            raise ContentChanged(f"{self.path} became shorter while it was read")
        return data

    def write_at(self, offset: int, data: bytes) -> None:
        """Replace bytes.

        Raises:
            OSError: writing failed.
        """
        view = memoryview(data)
        while view:
            written = os.pwrite(self._descriptor, view, offset)
            view, offset = view[written:], offset + written

    def resize(self, size: int) -> None:
        """Cut the file, or lengthen it with zero bytes.

        Raises:
            OSError: it is not possible.
        """
        os.ftruncate(self._descriptor, size)

    def sync(self) -> None:
        """Wait until what was written is on the disk.

        Raises:
            OSError: it cannot be.
        """
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


_OFFSET_END = 2**63  # what the system's file offsets can say; a damaged header can claim more


def stream_pieces(stream: BinaryIO, piece_bytes: int) -> Iterator[bytes]:
    """A stream in pieces of equal length; only the last one may be shorter.

    Raises:
        OSError: reading failed.
    """
    while piece := _read_fully(stream, piece_bytes):
        yield piece
        if len(piece) < piece_bytes:
            return


def _read_fully(stream: BinaryIO, length: int) -> bytes:
    pieces, have = [], 0
    while have < length and (data := stream.read(length - have)):
        pieces.append(data)
        have += len(data)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def stream_as_it_comes(stream: BinaryIO, piece_bytes_max: int) -> Iterator[bytes]:
    """A stream in pieces as they arrive, so that nobody waits for a full one.

    Raises:
        OSError: reading failed.
    """
    read_some = getattr(stream, "read1", stream.read)
    while data := read_some(piece_bytes_max):
        yield data
