"""How fast Bao is beside the blake3 package: same data, same process, rounds that take turns.

    python -m tests.benchmarks.bao                  the table
    python -m tests.benchmarks.bao --json           the same as one JSON object
    python -m tests.benchmarks.bao --engines pure --mib 1

Contenders take turns, a run that other programs disturbed does not count, and medians are shown; what matters are the
ratios. Data lies in memory, more of it than any cache holds.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import blake3

from rmb_peer.bao_files.checking import findings
from rmb_peer.bao_files.encoding import encode_file, outboard_buffer
from rmb_peer.protocol.bao import Check, OutboardStore, bytes_reader
from rmb_peer.protocol.bao.engines import ENGINE_NAMES, Engine, engine_named

MIB = 2**20
CHUNK_LOG = 4
ROOT = Path(__file__).parents[2]

_COLD = """
import sys, time
begin = time.perf_counter()
data = bytes(2**20)
if sys.argv[1] == "blake3":
    import blake3
    run = lambda: blake3.blake3(data).digest()
else:
    from rmb_peer.protocol.bao import encode_outboard, engine_named
    run = lambda: encode_outboard(data, 4, engine=engine_named(sys.argv[1]))
run()
cold = time.perf_counter() - begin
begin = time.perf_counter()
run()
print(cold, time.perf_counter() - begin)
"""

_PEAK = """
import re, sys
from pathlib import Path
from rmb_peer.cli import main
assert main(["bao", *sys.argv[1:]]) == 0
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1], file=sys.stderr)
"""


class InMemory:
    """Content for `encode_file` that costs nothing to read."""

    def __init__(self, data: bytes) -> None:
        self._view = memoryview(data)

    def read_exactly_at(self, offset: int, length: int) -> memoryview:
        return self._view[offset : offset + length]


def create(data: bytes, engine: Engine, threads: int) -> tuple[bytes, bytes]:
    """Root and outboard."""
    buffer, sink = outboard_buffer(len(data), CHUNK_LOG, "pre")
    end = encode_file(InMemory(data), len(data), CHUNK_LOG, sink, engine, threads, lambda _: None)  # type: ignore[arg-type]
    return end.root, bytes(buffer)


def verify(data: bytes, root: bytes, outboard: bytes, engine: Engine, threads: int) -> None:
    """Check all content and all pairs."""
    store = OutboardStore(bytes_reader(data), bytes_reader(outboard), len(data), CHUNK_LOG)
    assert all(finding.damage is None for finding in findings(Check(store, root, engine), threads, lambda _: None))


def throughput(
    data: bytes, engines: list[str], rounds: int, threads: int, limit_s: float
) -> dict[str, dict[str, float]]:
    """MiB/s, and ratios of medians, over runs that nobody disturbed."""
    contenders: dict[str, Callable[[], object]] = {
        "blake3": lambda: blake3.blake3(data, max_threads=threads).digest(),
    }
    for name in engines:
        engine = engine_named(name)
        root, outboard = create(data, engine, threads)
        assert root == blake3.blake3(data).digest()
        contenders[f"{name} create"] = partial(create, data, engine, threads)
        contenders[f"{name} verify"] = partial(verify, data, root, outboard, engine, threads)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    end = time.monotonic() + limit_s
    while any(len(taken) < rounds for taken in seconds.values()) and time.monotonic() < end:
        for name, run in contenders.items():
            taken_s, others = measured(run)
            if others < DISTURBED:
                seconds[name].append(taken_s)
    result = {}
    for name, taken in seconds.items():
        if not taken or not seconds["blake3"]:
            raise SystemExit(f"no quiet moment for {name} within {limit_s:g} s: try again later, or with --disturbed")
        base = median(seconds["blake3"])
        result[name] = {
            "mib_per_s": len(data) / MIB / median(taken),
            "to_blake3": base / median(taken),
            "runs": len(taken),
        }
        if name.endswith("verify"):
            result[name]["to_creation"] = median(seconds[name.replace("verify", "create")]) / median(taken)
    return result


DISTURBED = 0.15
"""A run during which other programs used more than this share of one core does not count."""


def measured(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds of a run, and how much of a core others used meanwhile; it begins when the machine is quiet."""
    for _ in range(40):
        before = busy_s()
        time.sleep(0.1)  # a sample of what others do
        if busy_s() - before <= 0.02:
            break
    before, own, begin = busy_s(), time.process_time(), time.perf_counter()
    run()
    taken = time.perf_counter() - begin
    return taken, (busy_s() - before - (time.process_time() - own)) / max(taken, 0.1)


def busy_s() -> float:
    """Seconds of all cores that were used so far, by anybody; always 0 where the system does not tell."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    ticks = list(map(int, stat.read_text().split("\n", 1)[0].split()[1:]))
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def starts(engines: list[str], rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds until 1 MiB is hashed in a new process that has started, and the second time."""
    seconds: dict[str, list[tuple[float, ...]]] = {name: [] for name in ("blake3", *engines)}
    for _ in range(rounds):
        for name, found in seconds.items():
            ended = subprocess.run([sys.executable, "-c", _COLD, name], cwd=ROOT, capture_output=True, check=True)
            found.append(tuple(map(float, ended.stdout.split())))
    return {
        name: {"cold_ms": 1000 * median(pair[0] for pair in found), "warm_ms": 1000 * median(pair[1] for pair in found)}
        for name, found in seconds.items()
    }


def memory(folder: Path, mib: int) -> dict[str, float]:
    """Bytes of peak memory for each MiB of content: how much it grows from some content to four times as much."""
    result = {}
    for what, arguments in (("encode FILE", ["encode"]), ("encode -", ["encode"]), ("verify", ["verify"])):
        peaks = []
        for size in (mib, 4 * mib):
            path, out = folder / f"{size}", folder / f"{size}.bao4"
            if not path.exists():
                with path.open("wb") as file:
                    for _ in range(size):
                        file.write(os.urandom(MIB))
            words = [
                *arguments,
                "-" if what.endswith("-") else str(path),
                "--threads",
                "1",
                "--quiet",
                "--engine",
                "wasmtime",
            ]
            if what == "verify":
                root = subprocess.run(
                    [sys.executable, "-m", "rmb_peer", "bao", "hash", str(path)],
                    cwd=ROOT,
                    capture_output=True,
                    check=True,
                ).stdout.split()[0]
                words += [str(out), "--root", root.decode()]
            else:
                words += ["-o", str(out)]
            with path.open("rb") as stdin:
                ended = subprocess.run(
                    [sys.executable, "-c", _PEAK, *words], cwd=ROOT, stdin=stdin, capture_output=True, check=True
                )
            peaks.append(int(ended.stderr.split()[-1]) * 1024)
        result[what] = (peaks[1] - peaks[0]) / (3 * mib)
        result[f"{what} peak MiB"] = peaks[1] / MIB
    return result


def machine() -> str:
    """What kind of machine this is."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].partition(": ")[2] if lines else model
    return f"{model}, {os.cpu_count()} logical cores, Python {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--engines", default="wasmtime,llvmlite")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument(
        "--memory", metavar="FOLDER", type=Path, help="measure memory, too; needs 5 x --mib on the disk"
    )
    parser.add_argument("--limit", metavar="SECONDS", type=float, default=240, help="for each number of threads")
    parser.add_argument("--disturbed", action="store_true", help="count runs that other programs disturbed, too")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.disturbed:
        global DISTURBED
        DISTURBED = 1e9
    engines = [name for name in arguments.engines.split(",") if name in ENGINE_NAMES]
    data = os.urandom(arguments.mib * MIB)
    report: dict[str, Any] = {"machine": machine(), "mib": arguments.mib, "rounds": arguments.rounds}
    report["load_before"] = os.getloadavg()[0]
    for threads in map(int, arguments.threads.split(",")):
        report[f"threads_{threads}"] = throughput(data, engines, arguments.rounds, threads, arguments.limit)
    report["starts"] = starts(engines, arguments.rounds)
    if arguments.memory:
        report["bytes_per_mib"] = memory(arguments.memory, max(16, arguments.mib // 4))
    report["load_after"] = os.getloadavg()[0]
    if arguments.json:
        print(json.dumps(report, indent=1))
        return
    print(f"{report['machine']}; {arguments.mib} MiB in memory, chunk log {CHUNK_LOG}, {arguments.rounds} rounds")
    for threads in map(int, arguments.threads.split(",")):
        print(f"\n{threads} thread{'s' if threads > 1 else ''}            MiB/s   x blake3   x creation")
        for name, row in report[f"threads_{threads}"].items():
            created = f"{row['to_creation']:10.2f}" if "to_creation" in row else ""
            print(f"{name:18}{row['mib_per_s']:9.0f}{row['to_blake3']:11.3f}{created}")
    print("\nfirst 1 MiB       cold ms   warm ms")
    for name, row in report["starts"].items():
        print(f"{name:18}{row['cold_ms']:7.1f}{row['warm_ms']:10.2f}")
    for name, value in report.get("bytes_per_mib", {}).items():
        print(f"{name:24}{value:10.0f}{'' if name.endswith('MiB') else ' bytes of memory for each MiB'}")
    print(f"\nload {report['load_before']:.2f} before, {report['load_after']:.2f} after")


if __name__ == "__main__":
    main()
