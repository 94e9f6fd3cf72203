"""What the subcommands share: parsers and tables. It refuses to know what any of them does."""

import os
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Collection, Sequence

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2

BOLD, RED, GREEN, YELLOW = "1", "31", "32", "33"
"""Colours, as terminals number them (ECMA-48, SGR)."""

_SHOWN_MAX = 200


def make_parser(name: str, description: str, epilog: str) -> ArgumentParser:
    """The parser of `rmb-relay NAME`; its help keeps the lines of its examples."""
    return ArgumentParser(
        prog=f"rmb-relay {name}",
        description=description,
        epilog=epilog,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,  # an abbreviation that works today becomes ambiguous with the next flag
    )


def complain(name: str, text: str) -> None:
    """One line on standard error."""
    print(f"rmb-relay {name}: {text}", file=sys.stderr)


def coloured(text: str, colour: str) -> str:
    """In colour on a terminal, unless NO_COLOR is set (no-color.org)."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{colour}m{text}\x1b[0m"


def printable(text: str) -> str:
    """Text from elsewhere, fit for a terminal: on one line, not long, without control characters."""
    shown = text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 1] + "…"
    return "".join(char if char.isprintable() else "?" for char in shown)


def print_fields(fields: Sequence[tuple[str, str, str]]) -> None:
    """Names, values and a colour ("" for none), one line each."""
    for name, value, colour in fields:
        shown = coloured(printable(value), colour) if colour else printable(value)
        print(f"{coloured(f'{name:18}', BOLD)}{shown}".rstrip())


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: Collection[int] = ()) -> None:
    """Rows under heads, in columns.

    Args:
        heads: one for each column.
        rows: texts, as many as heads.
        numbers: columns that are aligned to the right.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[index]) for row in (heads, *cells)) for index in range(len(heads))]
    for place, row in enumerate((heads, *cells)):
        line = "  ".join(
            cell.rjust(width) if index in numbers else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        print(coloured(line, BOLD) if place == 0 else line)
