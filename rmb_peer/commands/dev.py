"""`rmb-peer dev`: start a whole network on this machine, send one message through it, show its way."""

import argparse
import asyncio
import json
import signal
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rmb_peer.commands.common import EXIT_FAILED, EXIT_OK, complain, make_parser, print_table
from rmb_peer.commands.payload_text import one_line, printable
from rmb_peer.protocol.signatures import KEY_TYPES

if TYPE_CHECKING:
    from rmb_peer.dev.log_lines import LogLine
    from rmb_peer.dev.network import Network, PartInfo
    from rmb_peer.dev.round_trip import RoundTrip

PROG = "rmb-peer dev"

_EPILOG = """\
examples:
  rmb-peer dev                     start, show, keep running until Ctrl-C
  rmb-peer dev --once              send one message, show its way, stop
  rmb-peer dev --keep ./net        keep data and identities for the next time
  rmb-peer dev --json >net.json &  addresses and examples for a script

Everything listens on 127.0.0.1 only, on free ports. Two stores (Valkey), a relay that keeps the registry of twins, two
gateways with fresh identities, and an echo service on side B are started as processes of their own. A store that dies
is started again; any other part that dies ends the whole.

--json: one object: folder, parts (name, pid, address, twin, purpose), examples (shell text by tool), ms, steps (ms,
part, what), again_ms (a second message), answer, problem (null when the answer is what was sent).

exit codes:
  0  stopped by Ctrl-C or SIGTERM; with --once: the message came back
  1  a part did not start or died, or the message did not come back
  2  wrong usage
"""


def build_parser() -> argparse.ArgumentParser:
    """The flags of this command."""
    parser = make_parser(PROG, "Start a whole network on this machine and send a message through it.", _EPILOG)
    parser.add_argument("--once", action="store_true", help="stop after the message came back")
    parser.add_argument(
        "-k", "--key-type", type=str.lower, choices=KEY_TYPES, default=KEY_TYPES[0], help="(default sr25519)"
    )
    parser.add_argument(
        "--keep", metavar="DIR", type=Path, help="keep data and identities here (default: a temporary folder)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    return parser


def main(argv: list[str]) -> int:
    """Run the command; see the help for exit codes."""
    return asyncio.run(_Dev(build_parser().parse_args(argv)).run())


class _Dev:
    """One run: start, show, send, wait, stop."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        from rmb_peer.dev.journey import Recorder
        from rmb_peer.dev.network import Network

        self._arguments = arguments
        self._recorder = Recorder()
        self._following = False
        self._quiet = False
        self._signals = 0
        self._stop = asyncio.Event()
        self._network: Network = Network(self._heard)

    async def run(self) -> int:
        from rmb_peer.dev.part import PartFailed
        from rmb_peer.embedded.valkey import EmbeddedServerFailed
        from rmb_peer.protocol.errors import BadSecret

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._signalled)
        try:
            with self._folder() as folder:
                async with AsyncExitStack() as stack:
                    code = await self._run(stack, Path(folder))
                    self._quiet = True  # what parts say while they are stopped is no news
                    return code
        except (PartFailed, EmbeddedServerFailed, BadSecret) as error:
            complain(PROG, str(error))
        except BrokenPipeError:
            raise  # our output, not the folder
        except OSError as error:
            complain(PROG, f"cannot use the folder: {error}")
        return EXIT_FAILED

    async def _run(self, stack: AsyncExitStack, folder: Path) -> int:
        from rmb_peer.dev.network import start_network

        arguments = self._arguments
        self._say("starting ...")
        keep = arguments.keep is not None
        stopped = asyncio.create_task(self._stop.wait())
        start = asyncio.create_task(start_network(stack, self._network, folder, arguments.key_type, keep))
        tasks: list[asyncio.Task[Any]] = [stopped, start]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not start.done():
                return self._stopped_early()
            await start
            died = asyncio.create_task(self._network.first_death())
            work = asyncio.create_task(self._work(folder))
            tasks += [died, work]
            await asyncio.wait({stopped, died, work}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                code = await work
                if code != EXIT_OK or arguments.once:
                    return code
                self._say("\nCtrl-C stops everything.")
                await asyncio.wait({stopped, died}, return_when=asyncio.FIRST_COMPLETED)
            elif stopped.done():
                return self._stopped_early()
            if not stopped.done():
                raise await died
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        self._say("stopping ...")
        return EXIT_OK

    def _stopped_early(self) -> int:
        if self._arguments.once:
            complain(PROG, "stopped before the message came back")
            return EXIT_FAILED
        return EXIT_OK

    async def _work(self, folder: Path) -> int:
        """Show what runs, send the message, show its way."""
        from rmb_peer.dev.examples import examples
        from rmb_peer.dev.network import COMMAND
        from rmb_peer.dev.round_trip import round_trip

        network = self._network
        shown = examples(network.redis_urls[0], network.twins[1], COMMAND)
        if not self._arguments.json:
            _print_parts(network.parts)
            _print_examples(shown, network.twins[1])
        self._following = True
        trip = await round_trip(network.redis_urls[0], network.twins[1], COMMAND, self._recorder)
        again = trip
        if trip.problem is None:
            again = await round_trip(network.redis_urls[0], network.twins[1], COMMAND, self._recorder)
        self._following = False
        if self._arguments.json:
            print(json.dumps(_as_json(folder, network, shown, trip, again)), flush=True)
        else:
            _print_steps(trip)
            if again.problem is None:
                _print_again(again)
        trip = again
        if trip.problem is not None:
            complain(PROG, f"the message did not come back: {printable(trip.problem)}")
            return EXIT_FAILED
        return EXIT_OK

    def _heard(self, line: "LogLine") -> None:
        """One line of a part: kept while the message is followed, shown when it is trouble."""
        if self._following:
            self._recorder.add(line)
        if not self._quiet and line.level not in ("trace", "debug", "info"):
            text = " ".join([line.event, *(f"{name}={value}" for name, value in line.fields.items())])
            complain(PROG, f"{line.part}: {printable(text if line.event else line.text)}")

    def _signalled(self) -> None:
        self._signals += 1
        self._quiet = True
        self._stop.set()
        if self._signals > 1:
            self._network.kill()

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        if self._arguments.keep is not None:
            yield self._arguments.keep.resolve()
            return
        with tempfile.TemporaryDirectory(prefix="rmb-dev-", ignore_cleanup_errors=True) as name:
            yield Path(name).resolve()

    def _say(self, text: str) -> None:
        if not self._arguments.json:
            print(text, flush=True)


def _as_json(
    folder: Path, network: "Network", examples: dict[str, str], trip: "RoundTrip", again: "RoundTrip"
) -> dict[str, Any]:
    answer = None if trip.answer is None else one_line(trip.answer)
    return {
        "folder": str(folder),
        "parts": [asdict(part) for part in network.parts],
        "examples": examples,
        "ms": trip.ms,
        "steps": [asdict(step) for step in trip.steps],
        "again_ms": again.ms,
        "answer": answer,
        "problem": again.problem,
    }


def _print_parts(parts: "list[PartInfo]") -> None:
    rows = [
        (part.name, str(part.pid), part.address, "" if part.twin is None else str(part.twin), part.purpose)
        for part in parts
    ]
    print_table(("part", "pid", "address", "twin", "what it is"), rows)


def _print_examples(examples: dict[str, str], twin: int) -> None:
    print(f"\nAsk twin {twin} from another terminal, in whichever way you like:")
    for tool, text in examples.items():
        print(f"\n# {tool}\n{text}")
    print(flush=True)


def _print_steps(trip: "RoundTrip") -> None:
    print("One message, step by step:")
    rows = [("-" if step.ms is None else f"{step.ms:.2f}", step.part, printable(step.what)) for step in trip.steps]
    print_table(("ms", "part", "what it does"), rows, numbers=(0,))
    print("(Each part notes a step just after it, so neighbouring times may cross.)")
    if trip.answer is not None:
        print(f"\nThere and back in {trip.ms:.1f} ms. The answer: {one_line(trip.answer)}", flush=True)


def _print_again(trip: "RoundTrip") -> None:
    print(f"The same once more, now that both sides know each other's keys: {trip.ms:.1f} ms.", flush=True)
