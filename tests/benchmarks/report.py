"""What a run has found, as markdown:

    python -m tests.benchmarks.report FILE.json                                   prints it
    python -m tests.benchmarks.report FILE.json --into tests/benchmarks/RESULTS.md    puts it between the markers there

FILE.json is what `python -m tests.benchmarks --out FILE.json` has written. With --into the picture of the curves, if
there are any, goes beside the file.
"""

import argparse
import json
import sys
from pathlib import Path

from tests.benchmarks.curves import curves
from tests.benchmarks.result import Result
from tests.benchmarks.tables import Table, heading, tables
from tests.benchmarks.verdicts import verdict_table, verdicts

BEGIN = "<!-- begin: written by python -m tests.benchmarks.report -->"
END = "<!-- end -->"
PICTURE = "curves.svg"


class NoMarkers(ValueError):
    """The file has no place for the report."""


def main(arguments: list[str] | None = None) -> int:
    """Print or put; 0 when done, 2 for wrong arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE.json")
    parser.add_argument("--into", type=Path, metavar="FILE.md", help="replace what is between the markers there")
    flags = parser.parse_args(arguments)
    try:
        result = Result.from_json(json.loads(flags.file.read_bytes()))
        text = report(result)
        if flags.into is None:
            print(text)
            return 0
        flags.into.write_text(put(flags.into.read_text(), text))
        drawn = curves(result)
        if drawn is not None:
            (flags.into.parent / PICTURE).write_text(drawn)
    except (OSError, ValueError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    return 0


def report(result: Result) -> str:
    """Machine, command, verdicts, tables."""
    parts = [heading(result), f"    {result.command}"]
    found = verdicts(result)
    if found:
        parts.append(_section(verdict_table(found), numbers=False))
    parts += [_section(table) for table in tables(result)]
    if curves(result) is not None:
        parts.append(f"![Processor time per message against sessions, queues and size]({PICTURE})")
    parts += [f"The part `{part}` could not be measured: {why}" for part, why in result.failed.items()]
    return "\n\n".join(parts)


def put(document: str, text: str) -> str:
    """A document with this text between its markers, instead of what was there.

    Raises:
        NoMarkers: there is not one of each, in this order.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after:
        raise NoMarkers(f"expected one line {BEGIN!r} and after it one {END!r}")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def _section(table: Table, numbers: bool = True) -> str:
    rule = ["---", *(["---:" if numbers else "---"] * (len(table.heads) - 1))]
    lines = [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in (table.heads, *table.rows)]
    lines.insert(1, f"|{'|'.join(rule)}|")
    note = f"\n\n{table.note}" if table.note else ""
    return f"### {table.title}\n\n" + "\n".join(lines) + note


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
