"""`python -m tests.benchmarks`: how fast gateway and relay are on this machine, beside its own floor, in one run."""

import argparse
import asyncio
import json
import os
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from rmb_peer.commands.common import print_table
from rmb_peer.protocol.signatures import KeyType
from tests.benchmarks.curves import curves
from tests.benchmarks.helper import BenchmarkFailed
from tests.benchmarks.machine import description
from tests.benchmarks.parts.all import PARTS
from tests.benchmarks.progress import Told, progress
from tests.benchmarks.result import Entry, Result, compared
from tests.benchmarks.rounds import interleave, runs
from tests.benchmarks.settings import FULL, QUICK, Settings
from tests.benchmarks.tables import Table, duration, heading, tables
from tests.benchmarks.verdicts import verdict_table, verdicts

EXAMPLES = """examples:
  python -m tests.benchmarks
      everything; how long it takes is said at the beginning
  python -m tests.benchmarks --quick
      a first look, about a minute
  python -m tests.benchmarks --parts relay --json
      the relay by itself, for a script
  python -m tests.benchmarks --out run.json && python -m tests.benchmarks.report run.json
      the tables, and the same as markdown

The machine should have nothing else to do. Figures of different runs differ; ratios within a run say more."""

PICTURE = Path(__file__).parent / "curves.svg"
QUICK_PARTS = [name for name in PARTS if name != "failover"]
EXIT_OK, EXIT_FAILED, EXIT_STOPPED = 0, 1, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure as the arguments say.

    Returns:
        0 when done, 1 if a part could not be measured, 130 if it was stopped; argparse leaves with 2 if the arguments
        are wrong.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    flags = _parser().parse_args(words)
    settings = _settings(flags)
    names = flags.parts or (QUICK_PARTS if flags.quick else list(PARTS))
    result = Result(
        command=shlex.join(["python", "-m", "tests.benchmarks", *words]),
        began=time.strftime("%d %B %Y, %H:%M UTC", time.gmtime()),
        machine=description(),
        rounds=settings.rounds,
        seconds=settings.seconds,
        load_before=os.getloadavg()[0],
    )
    parts = [name for name in PARTS if name in names]
    estimate_s = sum(PARTS[name].estimate_s(settings) for name in parts)
    print(f"{', '.join(parts)}: about {duration(estimate_s)} on a quiet machine", file=sys.stderr, flush=True)
    try:
        asyncio.run(_measure(parts, settings, result, flags.out))
    except asyncio.CancelledError:
        print("stopped; every process has ended", file=sys.stderr)
        return EXIT_STOPPED
    drawn = curves(result)
    picture = flags.picture or (None if flags.quick else PICTURE)
    if drawn is not None and picture is not None:
        picture.write_text(drawn)
    if flags.json:
        print(json.dumps(result.as_json()))
    else:
        _tell(result)
        if drawn is not None and picture is not None:
            print(f"curves: {picture}")
    return EXIT_FAILED if result.failed else EXIT_OK


def _parser() -> argparse.ArgumentParser:
    about = "\n".join(f"  {part.name:12}{part.about}" for part in PARTS.values())
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=f"Measures gateway and relay through real processes on embedded servers.\n\nparts:\n{about}",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="one short round, sr25519 and rmb.2, without failover")
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), metavar="PART", help="(default: all)")
    parser.add_argument("--keys", nargs="+", choices=get_args(KeyType), help="(default: both)")
    parser.add_argument("--protocols", nargs="+", choices=FULL.protocols, help="(default: both)")
    parser.add_argument("--in-flight", nargs="+", type=_positive, metavar="N", help="(default: 1 16 256)")
    parser.add_argument(
        "--payloads", nargs="+", type=_positive, metavar="BYTES", dest="payload_bytes", help="(default: 100 1024 65536)"
    )
    parser.add_argument("--rounds", type=_positive, metavar="N", help=f"medians of N (default: {FULL.rounds})")
    parser.add_argument(
        "--seconds", type=_seconds, metavar="S", help=f"of each run of requests (default: {FULL.seconds:g})"
    )
    parser.add_argument("--json", action="store_true", help="everything as one JSON object, instead of tables")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the JSON there, too, after every part")
    parser.add_argument(
        "--picture",
        type=Path,
        metavar="FILE",
        help="where the picture of the curves goes (default: curves.svg beside this program; nowhere with --quick)",
    )
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError("expected a number from 1")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.01 <= value <= 3600:
        raise argparse.ArgumentTypeError("expected seconds from 0.01 to 3600")
    return value


def _settings(flags: argparse.Namespace) -> Settings:
    names = ("keys", "protocols", "in_flight", "payload_bytes", "rounds", "seconds")
    given: dict[str, Any] = {name: getattr(flags, name) for name in names if getattr(flags, name) is not None}
    return replace(QUICK if flags.quick else FULL, **given)


async def _measure(parts: Sequence[str], settings: Settings, result: Result, out: Path | None) -> None:
    """All parts; the first Ctrl-C or SIGTERM ends what was started, further ones cannot disturb that."""
    begin_s = time.monotonic()
    task = asyncio.current_task()
    assert task is not None
    stopping = False

    def stop() -> None:
        nonlocal stopping
        if not stopping:
            stopping = True
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    entries: list[Entry] = []
    with tempfile.TemporaryDirectory(prefix="rmb-bench-") as folder, progress() as told:
        for name in parts:
            told.part(name)
            try:
                entries += await _part(name, Path(folder) / name, settings, told)
            except (BenchmarkFailed, AssertionError, ConnectionError) as error:  # tests/support fails by assertions
                result.failed[name] = str(error)
                print(f"{name} could not be measured: {error}", file=sys.stderr)
            result.entries = compared(entries)
            result.took_s, result.load_after = time.monotonic() - begin_s, os.getloadavg()[0]
            if out is not None:
                out.write_text(json.dumps(result.as_json()))


async def _part(name: str, folder: Path, settings: Settings, told: Told) -> list[Entry]:
    folder.mkdir()
    entries: list[Entry] = []
    for start in PARTS[name].stages:
        async with AsyncExitStack() as stack:
            cases = await start(stack, folder, settings)
            told.steps(runs(cases, settings.rounds))
            await interleave(cases, settings.rounds, told.step)
        entries += [Entry.of(name, case) for case in cases]
    return entries


def _tell(result: Result) -> None:
    print(heading(result))
    for table in tables(result):
        _show(table)
    found = verdicts(result)
    if found:
        _show(verdict_table(found), numbers=False)
    for part, why in result.failed.items():
        print(f"\n{part} could not be measured: {why}")


def _show(table: Table, numbers: bool = True) -> None:
    print(f"\n{table.title}\n")
    print_table(table.heads, table.rows, set(range(1, len(table.heads))) if numbers else ())
    if table.note:
        print(f"\n{table.note}")


if __name__ == "__main__":
    sys.exit(main())
