"""Content from files and streams."""

import io
from pathlib import Path

import pytest

from rmb_peer.bao_files.reading import ContentChanged, FileBytes, stream_as_it_comes, stream_pieces


class Dribble(io.RawIOBase):
    """A stream that hands out three bytes at a time, as a pipe may."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, length: int = -1) -> bytes:
        taken, self._data = self._data[: min(3, length)], self._data[min(3, length) :]
        return taken


def test_a_file_at_any_offset(tmp_path: Path) -> None:
    """Reads at and beyond the end are short; offsets that no file can have are beyond the end."""
    path = tmp_path / "x"
    path.write_bytes(b"0123456789")
    with FileBytes(path) as file:
        assert file.size == 10
        assert file.read_at(3, 4) == b"3456"
        assert file.read_at(8, 4) == b"89"
        assert file.read_at(10, 4) == file.read_at(2**64, 4) == b""
        assert file.read_exactly_at(0, 10) == b"0123456789"
        path.write_bytes(b"012")
        with pytest.raises(ContentChanged, match="became shorter while it was read"):
            file.read_exactly_at(0, 10)


def test_writing(tmp_path: Path) -> None:
    """Bytes are replaced in place, and appended where the file ends."""
    path = tmp_path / "x"
    path.write_bytes(b"0123456789")
    with FileBytes(path, writable=True) as file:
        file.write_at(4, b"abc")
        file.write_at(12, b"d")
        file.sync()
        assert path.read_bytes() == b"0123abc789\0\0d"
        file.resize(5)
        assert file.size == 5


@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 25])
def test_streams_in_pieces(size: int) -> None:
    """Equal pieces whatever the stream hands out; or pieces as they come."""
    data = bytes(range(size))
    assert list(stream_pieces(Dribble(data), 10)) == [data[at : at + 10] for at in range(0, size, 10)]  # type: ignore[arg-type]
    assert b"".join(stream_as_it_comes(Dribble(data), 10)) == data  # type: ignore[arg-type]
    assert all(len(piece) <= 3 for piece in stream_as_it_comes(Dribble(data), 10))  # type: ignore[arg-type]
