"""What the subcommands share: how they speak to people, and the flags that mean the same everywhere.

It refuses to know what any of them does.
"""

import os
import signal
import sys
import threading
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Collection, Sequence
from types import FrameType
from typing import Never

from rmb_peer.commands.payload_text import printable
from rmb_peer.local.redis_url import REDIS_DEFAULT, REDIS_VARIABLE, public_url

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_TIMEOUT = 3


def make_parser(prog: str, description: str, epilog: str) -> ArgumentParser:
    """A parser whose help keeps the lines of its examples."""
    return ArgumentParser(
        prog=prog,
        description=description,
        epilog=epilog,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,  # an abbreviation that works today becomes ambiguous with the next flag
    )


def add_redis_flag(parser: ArgumentParser) -> None:
    """Add `-r/--redis`, under the name of spec rmb 8.1."""
    parser.add_argument(
        "-r",
        "--redis",
        metavar="URL",
        default=os.environ.get(REDIS_VARIABLE) or REDIS_DEFAULT,
        help=f"Redis or Valkey that the gateway uses; also the variable {REDIS_VARIABLE} (default: {REDIS_DEFAULT})",
    )


def add_log_flags(parser: ArgumentParser) -> None:
    """Add `-d/--debug` (spec rmb 8.1) and `--log-format`."""
    parser.add_argument(
        "-d", "--debug", action="count", default=0, help="log every step of every message; twice: still more"
    )
    parser.add_argument(
        "--log-format",
        choices=("auto", "json", "text"),
        default="auto",
        help="form of the log lines on standard error; auto: text on a terminal, else one JSON object per line",
    )


def redis_unreachable(url: str, reason: object) -> str:
    """What to tell somebody whose Redis does not answer."""
    why = printable(str(reason)).rstrip(".")
    return f"cannot use Redis at {public_url(url)}: {why}. Give the gateway's Redis with --redis URL"


def complain(prog: str, text: str) -> None:
    """One line on standard error."""
    print(f"{prog}: {text}", file=sys.stderr)


def print_fields(fields: dict[str, str]) -> None:
    """Names and values, one line each."""
    if not sys.stdout.isatty():
        for name, value in fields.items():
            print(f"{name + ':':22}{value}")
        return
    from rich.console import Console
    from rich.text import Text

    for name, value in fields.items():  # no table: a key that is folded into cells cannot be copied
        Console().print(Text.assemble((f"{name:22}", "bold"), value), soft_wrap=True)


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: Collection[int] = ()) -> None:
    """Rows under heads: with colours on a terminal, else in plain columns.

    Args:
        heads: one for each column.
        rows: texts, as many as heads.
        numbers: columns that are aligned to the right.
    """
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        for index, head in enumerate(heads):
            table.add_column(head, justify="right" if index in numbers else "left", overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        Console().print(table)
        return
    widths = [max(len(row[index]) for row in (heads, *rows)) for index in range(len(heads))]
    for row in (heads, *rows):
        cells = [
            cell.rjust(width) if index in numbers else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


def exit_on_sigterm() -> None:
    """Let SIGTERM unwind the stack as Ctrl-C does, so that what was begun is cleaned up; exit code 143.

    In a thread other than the main one this does nothing: signals do not arrive there.
    """
    if threading.current_thread() is not threading.main_thread():
        return

    def unwind(number: int, _frame: FrameType | None) -> Never:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, unwind)
