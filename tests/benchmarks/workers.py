"""What `--workers` costs and gives: requests per second and processor time with different numbers of workers.

    python -m tests.benchmarks.workers
    python -m tests.benchmarks.workers --workers 0 1 2 4 --payload 65536 --rounds 5 --seconds 3

One network for each number (relay, two gateways with that many workers each, their stores), all of them up, measured in
turns. `gateway` is the processor time of the busier gateway's own process per request and response, `workers` that of
its workers, `all` that of everything between the two programs. `one core` is how many requests per second that gateway
process could handle if it had a core to itself: where this grows, workers help a host that has cores to spare. On a
host without, believe `per s`.
"""

import argparse
import asyncio
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from typing import Any

from rmb_peer.commands.common import print_table
from tests.benchmarks.helper import Helper, helper
from tests.benchmarks.machine import children, cpu_s
from tests.benchmarks.rounds import Case, Figures, interleave
from tests.support.programs import Network, network

COMMAND = "bench.echo"
WARM_S = 1.0
PROGRAMS = "tests.benchmarks.programs"


class Measured:
    """One network, and the program that asks."""

    def __init__(self, net: Network, asker: Helper) -> None:
        self._asker = asker
        self._gateways = [site.gateway.pid for site in net.sites]
        stores = [site.store.pid for site in net.sites]
        self._others = [net.relay.pid, *children(net.relay.pid), *(pid for pid in stores if pid is not None)]

    async def run(self, in_flight: int, payload_bytes: int, duration_s: float) -> Figures:
        """Ask for some time; what that took."""
        before, others = self._of_gateways(), sum(map(cpu_s, self._others))
        seen = await self._asker.tell(in_flight=in_flight, payload_bytes=payload_bytes, duration_s=duration_s)
        if seen["errors_count"]:
            raise SystemExit(f"{seen['errors_count']} of {seen['answers']} requests failed: {seen['errors']}")
        gateways = [
            (own - own_then, helped - helped_then)
            for (own, helped), (own_then, helped_then) in zip(self._of_gateways(), before, strict=True)
        ]
        own, helped = max(gateways)
        all_s = sum(map(sum, gateways)) + sum(map(cpu_s, self._others)) - others
        answers = seen["answers"]
        return {
            "per_s": answers / seen["took_s"],
            "p50_ms": median(seen["latencies_s"]) * 1000,
            "gateway_us": own / answers * 1e6,
            "workers_us": helped / answers * 1e6,
            "all_us": all_s / answers * 1e6,
            "one_core_per_s": answers / own if own else 0.0,
        }

    def _of_gateways(self) -> list[tuple[float, float]]:
        """Seconds that each gateway's own process has used, and its workers."""
        return [(cpu_s(pid), sum(map(cpu_s, children(pid)))) for pid in self._gateways]


async def measure(flags: argparse.Namespace, folder: Path) -> list[Case]:
    """Bring up one network for each number of workers, and measure them in turns."""
    async with AsyncExitStack() as stack:
        cases: list[Case] = []
        for count in flags.workers:
            words = ("--key-type", flags.key_type, "--workers", str(count))
            net = await stack.enter_async_context(network(folder / str(count), words, words))
            near, far = net.sites
            await stack.enter_async_context(helper(PROGRAMS, "answer", str(far.store.port), COMMAND))
            ask = ("ask", str(near.store.port), COMMAND, str(far.twin))
            asker = await stack.enter_async_context(helper(PROGRAMS, *ask))
            measured = Measured(net, asker)
            await measured.run(flags.in_flight, flags.payload, WARM_S)
            cases.append(Case("workers", str(count), _run_of(measured, flags)))
        await interleave(cases, flags.rounds, lambda name: print(f"{name} workers", file=sys.stderr))
        return cases


def _run_of(measured: Measured, flags: argparse.Namespace) -> Any:
    return lambda: measured.run(flags.in_flight, flags.payload, flags.seconds)


def main() -> int:
    """Measure as the arguments say."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.workers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workers", nargs="+", type=int, default=[0, 1, 2], metavar="N", help="(default: 0 1 2)")
    parser.add_argument("--key-type", default="sr25519", choices=("sr25519", "ed25519"))
    parser.add_argument("--in-flight", type=int, default=256, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--payload", type=int, default=100, metavar="BYTES", help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="medians of N (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, metavar="S", help="of each run (default: %(default)s)")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rmb-bench-") as folder:
        cases = asyncio.run(measure(flags, Path(folder)))
    rows = [
        (
            case.name,
            *(f"{figures[name]:.0f}" for name in ("per_s", "gateway_us", "workers_us", "all_us", "one_core_per_s")),
            f"{figures['p50_ms']:.1f}",
        )
        for case in cases
        if (figures := case.figures())
    ]
    head = ("workers", "per s", "gateway us", "workers us", "all us", "one core per s", "p50 ms")
    print_table(head, rows, numbers=set(range(7)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
