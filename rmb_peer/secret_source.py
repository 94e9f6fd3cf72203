"""Where the one secret of an identity comes from: a flag, a file, the environment, or a prompt.

A secret in a flag is visible to everybody who can list the processes of the machine, and there is no portable way to
hide it afterwards; the other three ways do not have that weakness. This module refuses to know what a secret means
(`protocol/secret.py` does), and its errors never contain any part of one.
"""

import getpass
import logging
import os
import stat
import sys
from argparse import ArgumentParser
from pathlib import Path

from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.errors import BadSecret

SECRET_VARIABLE = "RMB_MNEMONIC"  # noqa: S105 - the name of a variable, not what it holds
"""Environment variable that may hold the mnemonic or seed."""

SECRET_BYTES_MAX = 4096
"""A guess: 24 words are under 220 bytes; more is another file, given by mistake."""

_LOG = get_logger("secret")


def add_secret_flags(parser: ArgumentParser) -> None:
    """Add `-m/--mnemonic` and `--mnemonic-file`, under the names of spec rmb 8.1."""
    parser.add_argument(
        "-m",
        "--mnemonic",
        metavar="WORDS",
        help="mnemonic, or a 0x seed of 64 hex digits. Other users can see it in the process list: prefer "
        f"--mnemonic-file, the variable {SECRET_VARIABLE}, or the prompt",
    )
    parser.add_argument(
        "--mnemonic-file",
        type=Path,
        metavar="FILE",
        help="file that holds the mnemonic or seed and nothing else; chmod 600 it",
    )


def read_secret(mnemonic: str | None, mnemonic_file: Path | None) -> str:
    """The mnemonic or seed, from the first of: flag, file, `RMB_MNEMONIC`, a prompt on a terminal.

    Args:
        mnemonic: value of `--mnemonic`, if given.
        mnemonic_file: value of `--mnemonic-file`, if given.

    Returns:
        the secret without surrounding white space; whether it is a good one is for `secret.mini_secret` to say.

    Raises:
        BadSecret: there is none, or the file cannot be used; the text says what to do.
    """
    if mnemonic is not None and mnemonic_file is not None:
        raise BadSecret("give either --mnemonic or --mnemonic-file, not both")
    if mnemonic is not None:
        return _not_empty(mnemonic, "--mnemonic")
    if mnemonic_file is not None:
        return _not_empty(_read_file(mnemonic_file), str(mnemonic_file))
    if os.environ.get(SECRET_VARIABLE, "").strip():  # set but empty is how compose files say "not set"
        return os.environ[SECRET_VARIABLE].strip()
    if sys.stdin is not None and sys.stdin.isatty():
        return _not_empty(_prompt(), "the prompt")
    raise BadSecret(
        f"no mnemonic: give --mnemonic-file FILE, or set {SECRET_VARIABLE}, or start on a terminal to be asked; "
        "`rmb-peer keys new` makes a new one"
    )


def _not_empty(text: str, source: str) -> str:
    if not text.strip():
        raise BadSecret(f"the mnemonic from {source} is empty")
    return text.strip()


def _read_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(SECRET_BYTES_MAX + 1)
    except OSError as error:
        raise BadSecret(f"cannot read the mnemonic file {path}: {error.strerror}") from None
    if len(data) > SECRET_BYTES_MAX:
        raise BadSecret(f"the mnemonic file {path} is longer than {SECRET_BYTES_MAX} bytes: is it the right file?")
    if stat.S_ISREG(mode) and mode & (stat.S_IRGRP | stat.S_IROTH):
        event(_LOG, logging.WARNING, "the mnemonic file is readable by others: chmod 600 it", file=str(path))
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise BadSecret(f"the mnemonic file {path} is not text: expected words or a 0x seed") from None


def _prompt() -> str:
    try:
        return getpass.getpass("mnemonic or 0x seed (not shown): ")
    except EOFError:
        raise BadSecret("no mnemonic was typed") from None
