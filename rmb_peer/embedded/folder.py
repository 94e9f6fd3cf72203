"""What every embedded server needs: a folder of its own, one owner, and a port."""

import fcntl
import socket
from pathlib import Path
from typing import BinaryIO


class EmbeddedServerFailed(Exception):
    """The server did not start; the text holds its last words."""


def make_folder(folder: Path) -> Path:
    """Make the folder if needed, readable by us alone; its absolute path."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder.resolve()


def lock_folder(folder: Path) -> BinaryIO:
    """Become the owner of a folder until the file is closed, or this process dies.

    Raises:
        EmbeddedServerFailed: another program is.
    """
    file = (folder / "lock").open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise EmbeddedServerFailed(
            f"{folder} is used by another running program: stop it, or name another folder"
        ) from None
    return file


def free_port() -> int:
    """A loopback port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
