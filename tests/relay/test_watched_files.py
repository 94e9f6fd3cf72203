"""Files that change."""

import logging
import os
from pathlib import Path

from relay.watched_files import WatchedFiles
from rmb_peer.protocol.errors import BadRequest
from tests.support.relay import LogLines


class Reader:
    """Counts how often it reads; fails when told."""

    def __init__(self) -> None:
        self.count = 0
        self.bad = False

    def __call__(self) -> None:
        self.count += 1
        if self.bad:
            raise BadRequest("line 3 makes no sense")


async def test_each_change_is_read_once(tmp_path: Path) -> None:
    """Another content, time or file; nothing when nothing has changed; gone and back are changes, too."""
    path, other, read = tmp_path / "a", tmp_path / "b", Reader()
    path.write_text("1")
    files = WatchedFiles("what", [path, other], read)
    await files.look()
    assert read.count == 0
    path.write_text("22")
    await files.look()
    await files.look()
    assert read.count == 1
    os.utime(path, (1, 1))
    await files.look()
    assert read.count == 2
    other.write_text("x")
    await files.look()
    (tmp_path / "new").write_text("22")
    (tmp_path / "new").replace(path)
    await files.look()
    path.unlink()
    await files.look()
    await files.look()
    assert read.count == 5


async def test_what_cannot_be_read_is_told_once(tmp_path: Path) -> None:
    """One line in the log for each change, not for each look; it is tried again at the next change, or when told."""
    path, read = tmp_path / "a", Reader()
    files = WatchedFiles("certificate", [path], read)
    read.bad = True
    path.write_text("1")
    with LogLines("rmb.relay") as lines:
        await files.look()
        await files.look()
        (line,) = lines.named("certificate: what was read before stays in use")
        assert (line["level"], line["reason"]) == (logging.ERROR, "line 3 makes no sense")
        assert not await files.reload()
        read.bad = False
        assert await files.reload()
        assert lines.named("certificate: read again")[0]["files"] == [str(path)]
    assert read.count == 3
