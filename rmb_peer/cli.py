"""The command `rmb-peer`: finds the subcommand and hands over. No subcommand means `run`."""

import sys
from importlib import import_module

from rmb_peer.commands import COMMANDS


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: arguments without the program name; those of the process by default.

    Returns:
        the exit code: 0 success, 1 failure, 2 usage, and what a subcommand documents.
    """
    arguments = sys.argv[1:] if argv is None else argv
    name, rest = (arguments[0], arguments[1:]) if arguments and arguments[0] in COMMANDS else ("run", arguments)
    try:
        return int(import_module(f"rmb_peer.commands.{name}").main(rest))
    except KeyboardInterrupt:
        return 130  # 128 + SIGINT, as shells expect
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone; nothing can be told to it
        return 141  # 128 + SIGPIPE
