"""Notices that files have changed, and has them read again. It refuses to know what is in them.

A change is another inode, size or time of modification; it is looked for every few seconds, since that works on every
file system. What cannot be read stays as it was, with one line in the log per change.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.errors import LocalError

LOOK_EVERY_S = 3.0
"""A guess: nobody minds three seconds, and looking costs microseconds."""

_LOG = get_logger("relay")
_Stamp = tuple[int, int, int] | None


class WatchedFiles:
    """Some files that belong together, and who reads them."""

    def __init__(self, what: str, files: Sequence[Path], read: Callable[[], None]) -> None:
        """Take the files as they are now to have been read.

        Args:
            what: they hold, for the log.
            files: which.
            read: reads them, or raises `LocalError` and changes nothing; called on a thread.
        """
        self._what = what
        self._files = tuple(files)
        self._read = read
        self._seen = self._stamps()

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self.look()

    async def look(self) -> None:
        """Read the files if they have changed."""
        stamps = await asyncio.to_thread(self._stamps)
        if stamps != self._seen:
            self._seen = stamps
            await self.reload()

    async def reload(self) -> bool:
        """Read the files, changed or not.

        Returns:
            whether they could be used.
        """
        try:
            await asyncio.to_thread(self._read)
        except LocalError as error:
            event(_LOG, logging.ERROR, f"{self._what}: what was read before stays in use", reason=str(error))
            return False
        event(_LOG, logging.INFO, f"{self._what}: read again", files=[str(path) for path in self._files])
        return True

    def _stamps(self) -> tuple[_Stamp, ...]:
        return tuple(_stamp(path) for path in self._files)


def _stamp(path: Path) -> _Stamp:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
