"""`python -m tests.faults`: real processes are killed while requests cross; exit code 0 when all promises held."""

import argparse
import asyncio
import json
import secrets
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from rmb_peer.commands.common import print_table
from tests.faults.campaign import Campaign, Plan, Report, run

EXAMPLES = """examples:
  python -m tests.faults
      1,000 requests, 60 faults: about a minute
  python -m tests.faults --requests 20000 --faults 600
      several hundred kills: about ten minutes
  python -m tests.faults --seed 7 --json
      the same choices again, figures for a script

A third of the parts' lives is spent dead or paused when faults come faster than once in half a second; then little
crosses, and the campaign takes longer than the faults alone."""


def main() -> int:
    """Run one campaign as the arguments say; 0 when nothing was lost or doubled, 1 otherwise, 2 for wrong arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description="Kills, pauses and cuts off gateways, relays, Valkeys and services while requests cross.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--requests", type=int, default=1000, metavar="N", help="in all (default: %(default)s)")
    parser.add_argument("--faults", type=int, default=60, metavar="N", help="in all (default: %(default)s)")
    parser.add_argument(
        "--gap", type=float, default=0.8, metavar="SECONDS", help="mean time between two faults (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, help="of the choices of part, fault and instant (default: a new one)")
    parser.add_argument(
        "--workers",
        type=int,
        default=0,
        metavar="N",
        help="processes for signatures that each gateway has (default: %(default)s)",
    )
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="keep what the parts wrote here")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    arguments = parser.parse_args()
    if arguments.requests < 2 or arguments.faults < 0 or arguments.gap <= 0 or arguments.workers < 0:
        parser.error("give at least 2 requests, no negative number of faults or workers, and a gap above 0")
    seed = secrets.randbits(32) if arguments.seed is None else arguments.seed
    plan = Plan(arguments.requests, arguments.faults, arguments.gap, seed, arguments.workers)
    begin_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rmb-faults-") as folder:
        report = asyncio.run(run(plan, arguments.data or Path(folder), _progress(plan)))
    took_s = time.monotonic() - begin_s
    if arguments.json:
        print(json.dumps(_figures(plan, report, took_s)))
    else:
        _tell(plan, report, took_s)
    return 0 if report.good else 1


def _progress(plan: Plan):  # type: ignore[no-untyped-def]  # rich is imported only where it is shown
    if not sys.stderr.isatty():
        return lambda campaign: None
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )
    faults = bar.add_task("faults", total=plan.faults)
    ended = bar.add_task("requests ended", total=plan.requests // 2 * 2)
    bar.start()

    def show(campaign: Campaign) -> None:
        bar.update(faults, completed=campaign.struck)
        bar.update(ended, completed=campaign.ended)
        if campaign.ended >= plan.requests // 2 * 2:
            bar.refresh()
            bar.stop()

    return show


def _figures(plan: Plan, report: Report, took_s: float) -> dict[str, object]:
    verdict = report.verdict
    return {
        "good": report.good,
        "seed": plan.seed,
        "seconds": round(took_s, 1),
        "sent": verdict.sent,
        "answered": verdict.answered,
        "errors_by_code": verdict.errors,
        "lost": len(verdict.lost),
        "ended_twice": len(verdict.ended_twice),
        "wrong": len(verdict.wrong),
        "delivered_twice": len(verdict.delivered_twice),
        "kills": report.kills,
        "faults": report.faults,
        "left_over": report.left_over,
        "details": {} if report.good else asdict(report),
    }


def _tell(plan: Plan, report: Report, took_s: float) -> None:
    figures = _figures(plan, report, took_s)
    rows = [[name.replace("_", " "), str(value)] for name, value in figures.items() if not isinstance(value, dict)]
    print_table(["figure", "value"], rows)
    print()
    print_table(["fault", "count"], [[name, str(count)] for name, count in report.faults.items()], numbers={1})
    if not report.good:
        print(json.dumps(figures["details"], indent=1))


if __name__ == "__main__":
    raise SystemExit(main())
