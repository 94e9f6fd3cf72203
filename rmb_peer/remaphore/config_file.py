"""Reads the configuration file (spec remaphore 9) and looks at who else may read it (W17)."""

import os
import stat
from pathlib import Path

from rmb_peer.remaphore.core.configuration import CONFIG_BYTES_MAX, BadConfig, parse
from rmb_peer.remaphore.core.settings import Settings

DEFAULT_PATH = "/etc/remaphore/remaphore.conf"


def read(path: str) -> tuple[Settings, list[str], list[str]]:
    """Read a configuration.

    Args:
        path: of the file.

    Returns:
        the settings; doubts about its content; warnings about who may read the private keys in it.

    Raises:
        BadConfig: it cannot be opened, or section 9 refuses it.
    """
    raw = read_file(path, CONFIG_BYTES_MAX)
    settings, doubts = parse(raw)
    return settings, doubts, exposure(path)


def read_file(path: str, bytes_max: int) -> bytes:
    """The content of a file; one byte more than the limit is enough to notice that it is too large.

    Raises:
        BadConfig: it cannot be read, with Go's words.
    """
    try:
        with Path(path).open("rb") as file:
            return file.read(bytes_max + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "invalid argument"
        raise BadConfig(f"open {path}: {reason[:1].lower()}{reason[1:]}") from None


def exposure(path: str) -> list[str]:
    """Warnings about the mode of a file that holds secrets: group may read, others may not."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - a plain string is what the user gave
    except OSError:
        return []
    if not stat.S_ISREG(mode):
        return []
    warnings = []
    if mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
        which = "readable by everybody" if mode & stat.S_IROTH else "writable by others"
        warnings.append(f"{path} is {which} and holds private keys: chmod 640 it, with a group for those who need it")
    return warnings
