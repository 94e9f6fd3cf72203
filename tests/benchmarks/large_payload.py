"""What small messages notice while one of the largest crosses:

    python -m tests.benchmarks.large_payload [--rounds 5] [--protocol rmb.2] [--size BYTES] [--json]

Three gateways on one relay, real processes. `near` asks `far` with the largest payload, and its answer is small. At the
same time small requests go, one every 5 ms: from `near` to `third` (they share the sender's gateway, its store and its
link), from `third` to `far` (the receiver's), and from `near` to `far`: these are of the same conversation, so they
wait for the large one, because order is kept; their figure says how long it takes. What is reported is the longest
latency and the longest gap between two answers, with and without the large one, as medians over rounds.
"""

import argparse
import asyncio
import base64
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median

import orjson

from rmb_peer.protocol.envelope import MESSAGE_BYTES_MAX
from tests.benchmarks.programs import LIFE_S, PATIENCE_S, Store
from tests.support.programs import network

GAP_S = 0.005
ECHO, TAKE_IN = "bench.echo", "bench.take"
OVERHEAD_BYTES = 1024
"""What the envelope adds to a payload, at most: addresses, times, signature, cipher's nonce and tag."""

TARGET_S = 0.05
QUIET_S = 1.0
"""How long small ones go by themselves before and after the large one."""

STREAMS = ("near to third", "third to far", "near to far")


def serve(port: int, command: str) -> None:
    """Answer every request with four bytes, until the process is ended."""
    store = Store(port)
    take = (b"BLMPOP", b"0", b"1", f"msgbus.{command}".encode(), b"RIGHT", b"COUNT", b"64")
    while True:
        store.send(take)
        _, items = store.answer()
        replies = []
        for item in items:
            request = orjson.loads(item)
            reply = {"ver": 1, "ref": request["ref"], "dat": "ZG9uZQ==", "dst": request["src"], "now": int(time.time())}
            replies.append(orjson.dumps(reply | {"err": None}))
        store.send((b"LPUSH", b"msgbus.system.reply", *replies))
        store.answer()


def _request(command: str, twin: int, data: str, ret: str) -> bytes:
    fields = {
        "ver": 1,
        "ref": repr(time.perf_counter()),
        "cmd": command,
        "exp": LIFE_S,
        "dat": data,
        "dst": [twin],
        "ret": ret,
        "now": int(time.time()),
    }
    return orjson.dumps(fields)


def stream(port: int, twin: int, ret: str) -> None:
    """Ask every 5 ms for as long as each line of standard input says; write pairs (asked, answered) in seconds."""
    asking, reading = Store(port), Store(port)
    print("ready", flush=True)
    for line in sys.stdin:
        count = int(float(line) / GAP_S)

        def ask(count: int = count) -> None:
            begin_s = time.perf_counter()
            for number in range(count):
                time.sleep(max(0.0, begin_s + number * GAP_S - time.perf_counter()))
                asking.send((b"LPUSH", b"msgbus.system.local", _request(ECHO, twin, "YQ==", ret)))
                asking.answer()

        thread = threading.Thread(target=ask)
        thread.start()
        seen: list[tuple[float, float]] = []
        while len(seen) < count:
            reading.send((b"BRPOP", ret.encode(), str(PATIENCE_S).encode()))
            got = reading.answer()
            now_s = time.perf_counter()
            if got is None:
                raise SystemExit(f"no answer for {PATIENCE_S:g} s")
            fields = orjson.loads(got[1])
            if fields["err"] is not None:
                raise SystemExit(fields["err"]["message"])
            seen.append((float(fields["ref"]), now_s))
        thread.join()
        print(json.dumps(seen), flush=True)


def large(port: int, twin: int, ret: str) -> None:
    """Ask once with a payload of as many bytes as each line of standard input says; write when it was asked and
    answered."""
    store = Store(port)
    for line in sys.stdin:
        request = _request(TAKE_IN, twin, base64.b64encode(os.urandom(int(line))).decode(), ret)
        print("ready", flush=True)
        sys.stdin.readline()
        begin_s = time.perf_counter()
        store.send((b"LPUSH", b"msgbus.system.local", request))
        store.answer()
        store.send((b"BRPOP", ret.encode(), str(PATIENCE_S).encode()))
        got = store.answer()
        if got is None or orjson.loads(got[1])["err"] is not None:
            raise SystemExit(f"the large one failed: {got and orjson.loads(got[1])['err']}")
        print(json.dumps((begin_s, time.perf_counter())), flush=True)


class Ends:
    """A running network and its programs."""

    def __init__(self, streams: dict[str, asyncio.subprocess.Process], large: asyncio.subprocess.Process) -> None:
        self._streams = streams
        self._large = large

    async def round(self, names: tuple[str, ...], size_bytes: int) -> dict[str, dict[str, float]]:
        """Small ones by themselves for a second, then with the large one; what each stream has seen, in seconds."""
        await _tell(self._large, str(size_bytes))
        await _line(self._large)
        for name in names:
            await _tell(self._streams[name], str(3 * QUIET_S))
        await asyncio.sleep(QUIET_S)
        await _tell(self._large, "")
        begin_s, end_s = json.loads(await _line(self._large))
        found: dict[str, dict[str, float]] = {"large": {"took": end_s - begin_s}}
        for name in names:
            pairs = json.loads(await _line(self._streams[name]))
            quiet = [(asked, came) for asked, came in pairs if came < begin_s]
            during = [(asked, came) for asked, came in pairs if came >= begin_s and asked <= end_s]
            found[name] = {
                "quiet latency": max((came - asked for asked, came in quiet), default=0.0),
                "quiet gap": _gap([came for _, came in quiet]),
                "latency": max((came - asked for asked, came in during), default=0.0),
                "gap": _gap([came for _, came in quiet[-1:] + sorted(during, key=lambda pair: pair[1])]),
            }
        return found


def _gap(times_s: list[float]) -> float:
    return max((after - before for before, after in pairwise(times_s)), default=0.0)


async def _tell(process: asyncio.subprocess.Process, line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line.encode() + b"\n")
    await process.stdin.drain()


async def _line(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    async with asyncio.timeout(2 * PATIENCE_S):
        line = await process.stdout.readline()
    if not line:
        raise SystemExit("a program has ended")
    return line


@asynccontextmanager
async def ends(folder: Path, protocol: str) -> AsyncIterator[Ends]:
    """Start the network; all of it ends with the context."""
    flags = ("--key-type", "sr25519")
    async with AsyncExitStack() as stack:
        parts = await stack.enter_async_context(network(folder, flags, flags, flags, protocols=(protocol,)))
        near, far, third = parts.sites
        for place, command in ((far, TAKE_IN), (far, ECHO), (third, ECHO)):
            await stack.enter_async_context(_program("serve", place.store.port, command))
        ways = dict(zip(STREAMS, ((near, third), (third, far), (near, far)), strict=True))
        streams = {
            name: await stack.enter_async_context(
                _program("stream", begin.store.port, str(end.twin), name.replace(" ", "-"))
            )
            for name, (begin, end) in ways.items()
        }
        for process in streams.values():
            await _line(process)
        yield Ends(
            streams, await stack.enter_async_context(_program("large", near.store.port, str(far.twin), "large-answers"))
        )


@asynccontextmanager
async def _program(what: str, port: int | None, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.benchmarks.large_payload",
        what,
        str(port),
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**24,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def measure(rounds: int, protocol: str, size_bytes: int) -> dict[str, dict[str, float]]:
    """Medians over the rounds, in seconds. The conversation of the large one is looked at in rounds of its own."""
    all_found: list[dict[str, dict[str, float]]] = []
    with tempfile.TemporaryDirectory() as folder:
        async with ends(Path(folder), protocol) as programs:
            await programs.round(STREAMS, 1024)  # warm
            for _ in range(rounds):
                found = await programs.round(STREAMS[:2], size_bytes)
                own = await programs.round(STREAMS[2:], size_bytes)
                all_found.append({**own, **found})
                print(json.dumps(all_found[-1]), file=sys.stderr)
    return {
        name: {what: median(found[name][what] for found in all_found) for what in values}
        for name, values in all_found[0].items()
    }


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--protocol", choices=("rmb.1", "rmb.2"), default="rmb.2")
    parser.add_argument("--size", type=int, default=MESSAGE_BYTES_MAX - OVERHEAD_BYTES)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    seen = asyncio.run(measure(options.rounds, options.protocol, options.size))
    if options.json:
        print(json.dumps(seen))
        return
    print(f"one of {options.size} bytes took {seen['large']['took'] * 1e3:.0f} ms, {options.protocol}")
    print(f"{'stream':16}{'latency':>22}{'gap':>22}")
    for name in STREAMS:
        values = {what: seconds * 1e3 for what, seconds in seen[name].items()}
        latency = f"{values['quiet latency']:.0f} -> {values['latency']:.0f} ms"
        print(f"{name:16}{latency:>22}{values['quiet gap']:>12.0f} -> {values['gap']:.0f} ms")
    worst_s = max(seen[name]["latency"] - seen[name]["quiet latency"] for name in STREAMS[:2])
    print(f"others are held up by {worst_s * 1e3:.0f} ms more than without: {'' if worst_s <= TARGET_S else 'not '}met")


if __name__ == "__main__":
    words = sys.argv[1:]
    if words[:1] == ["serve"]:
        serve(int(words[1]), words[2])
    elif words[:1] == ["stream"]:
        stream(int(words[1]), int(words[2]), words[3])
    elif words[:1] == ["large"]:
        large(int(words[1]), int(words[2]), words[3])
    else:
        main()
