"""`python -m tests.benchmarks`: how fast gateway and relay are on this machine, beside its own floor, in one run."""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, get_args

from rmb_peer.commands.common import print_table
from rmb_peer.protocol.signatures import KeyType
from tests.benchmarks.end_to_end import Load, Route, route
from tests.benchmarks.floor_run import Floors
from tests.benchmarks.machine import description
from tests.benchmarks.relay_alone import MAILBOX_RUN, Subject, carried, echoed, lone_relay
from tests.benchmarks.rounds import Case, Figures, interleave

EXAMPLES = """examples:
  python -m tests.benchmarks
      everything, about ten minutes
  python -m tests.benchmarks --rounds 1 --seconds 1 --keys sr25519 --protocols rmb.2
      a first look
  python -m tests.benchmarks --parts relay --json
      the relay by itself, for a script

The machine should have nothing else to do. Figures of different runs differ; ratios within a run say more."""

PARTS = ("end-to-end", "relay")
PROTOCOLS = ("rmb.2", "rmb.1")
LONE, SOME, MANY = 1, 16, 256
LOADS = (
    Load(LONE, 100),
    Load(SOME, 100),
    Load(MANY, 100),
    Load(MANY, 1024),
    Load(SOME, 64 * 1024),
)
ENVELOPE_BYTES = 512
RELAY_ENVELOPES = {"echo": 60_000, "rmb.1": 10_000, "rmb.2": 60_000}
WARM_S = 1.0


def main() -> int:
    """Measure as the arguments say; 0 when done, 2 for wrong arguments."""
    flags = _parser().parse_args()
    with tempfile.TemporaryDirectory(prefix="rmb-bench-") as folder:
        cases = asyncio.run(_measure(flags, Path(folder)))
    found = {case.name: case.figures() for case in cases}
    if flags.json:
        print(json.dumps({"machine": description(), "rounds": flags.rounds, "figures": found}))
    else:
        _tell(found, flags.rounds)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Measures gateway and relay through real processes on embedded servers.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="(default: all)")
    parser.add_argument("--keys", nargs="+", choices=get_args(KeyType), default=list(get_args(KeyType)))
    parser.add_argument("--protocols", nargs="+", choices=PROTOCOLS, default=list(PROTOCOLS))
    parser.add_argument("--rounds", type=_positive, default=5, metavar="N", help="medians of N (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=3.0, metavar="S", help="of each run of requests (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="figures as one JSON object")
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError("expected a number from 1")
    return int(text)


async def _measure(flags: argparse.Namespace, folder: Path) -> list[Case]:
    cases: list[Case] = []
    async with AsyncExitStack() as stack:
        if "end-to-end" in flags.parts:
            floors = Floors()
            stack.callback(floors.close)
            for number, (key, protocol) in enumerate((k, p) for k in flags.keys for p in flags.protocols):
                way = await stack.enter_async_context(route(folder / f"route{number}", key, protocol))
                await way.run(Load(MANY, 100), WARM_S)
                cases += _end_to_end(way, floors, key, protocol, flags.seconds)
        if "relay" in flags.parts:
            relay = await stack.enter_async_context(lone_relay(folder / "lone"))
            cases.append(_carried("relay echo", await stack.enter_async_context(echoed()), "echo"))
            for protocol in flags.protocols:
                subject = await stack.enter_async_context(carried(relay, protocol))
                cases.append(_carried(f"relay {protocol} online", subject, protocol))
                cases.append(_carried(f"relay {protocol} offline", subject, protocol, online=False))
        with _Progress(flags.rounds * len(cases)) as step:
            await interleave(cases, flags.rounds, step)
    return cases


def _end_to_end(way: Route, floors: Floors, key: KeyType, protocol: str, seconds: float) -> list[Case]:
    def case(load: Load) -> Case:
        async def run() -> Figures:
            lone = load.in_flight == LONE
            floor = await asyncio.to_thread(floors.idle_s if lone else floors.busy_s, key, load.payload_bytes, 0.3)
            seen = await way.run(load, seconds)
            total = sum(seen.cpu_s.values())
            return {
                "per_s": seen.per_s,
                "p50_ms": seen.p50_s * 1000,
                "p99_ms": seen.p99_s * 1000,
                **{f"{role}_us": used * 1e6 for role, used in seen.cpu_s.items()},
                "floor_us": floor * 1e6,
                "cpu_by_floor": total / floor,
                "commands": seen.commands,
            }

        return Case(f"{key} {protocol}, {load.in_flight} in flight, {load.payload_bytes} B", run)

    return [case(load) for load in LOADS]


def _carried(name: str, subject: Subject, protocol: str, online: bool = True) -> Case:
    async def run() -> Figures:
        seen = await subject.run(RELAY_ENVELOPES[protocol] if online else MAILBOX_RUN, ENVELOPE_BYTES, online)
        return {"per_core_s": seen.per_core_s, "per_s": seen.per_s, "store_us": seen.store_cpu_s * 1e6}

    return Case(name, run)


def _tell(found: dict[str, dict[str, float]], rounds: int) -> None:
    machine = description()
    print(f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, Python {machine['python']}")
    print(f"medians of {rounds} rounds that took turns\n")
    requests = {name: figures for name, figures in found.items() if "cpu_by_floor" in figures}
    if requests:
        heads = (
            "requests",
            "per s",
            "p50 ms",
            "p99 ms",
            "gateways µs",
            "relay µs",
            "Valkeys µs",
            "floor µs",
            "x floor",
        )
        shown = ("per_s", "p50_ms", "p99_ms", "gateways_us", "relay_us", "valkeys_us", "floor_us", "cpu_by_floor")
        print_table(heads, [_row(name, figures, shown) for name, figures in requests.items()], set(range(1, 9)))
        print("\nµs: processor time for one request and its response\n")
    carried_ones = {name: figures for name, figures in found.items() if "per_core_s" in figures}
    if carried_ones:
        echo = carried_ones["relay echo"]["per_core_s"]
        rows = [
            [*_row(name, figures, ("per_core_s", "per_s", "store_us")), f"{figures['per_core_s'] / echo:.2f}"]
            for name, figures in carried_ones.items()
        ]
        relay_heads = (f"envelopes of {ENVELOPE_BYTES} B", "per s and core", "per s", "store µs", "x echo")
        print_table(relay_heads, rows, set(range(1, 5)))


def _row(name: str, figures: dict[str, float], shown: tuple[str, ...]) -> list[str]:
    return [name, *(_text(figures[key]) for key in shown)]


def _text(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


class _Progress:
    """A bar on a terminal, nothing in a pipe."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._bar: Any = None

    def __enter__(self) -> Callable[[str], None]:
        if not sys.stderr.isatty():
            return lambda name: None
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = bar = Progress(*columns, console=Console(stderr=True))
        task = bar.add_task("", total=self._steps)
        bar.start()
        done = iter(range(self._steps))
        return lambda name: bar.update(task, completed=next(done), description=name)

    def __exit__(self, *exc_info: object) -> None:
        if self._bar is not None:
            self._bar.stop()


if __name__ == "__main__":
    raise SystemExit(main())
