"""`rmb-peer call`: send one request and print what comes back.

A local program like any other: it talks only to Redis (spec rmb 5.2, 5.4), so it works beside any gateway, and it
leaves nothing behind whatever happens. How that works is the SDK's business (`sdk/client.py`); here are the flags and
the output.
"""

import argparse
import contextlib
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from rmb_peer.commands.common import (
    EXIT_FAILED,
    EXIT_OK,
    EXIT_TIMEOUT,
    EXIT_USAGE,
    add_redis_flag,
    complain,
    make_parser,
    redis_unreachable,
)
from rmb_peer.commands.payload_text import as_text, for_eyes, json_field, one_line, printable
from rmb_peer.local.keys import LOCAL_REQUESTS

if TYPE_CHECKING:
    from rmb_peer.sdk.calls import Answer, Call, Outcome
    from rmb_peer.sdk.errors import CallError

PROG = "rmb-peer call"

TIMEOUT_S_DEFAULT = 60.0
TIMEOUT_S_MAX = 1800.0
"""Gateways give no message a longer life (spec rmb 5.2)."""

DATA_BYTES_MAX = 16 * 2**20
"""A frame between gateways holds no more (spec rmb 2.2); the gateway says by how much less a payload must be."""

DESTINATIONS_MAX = 1000
"""A guess at what is still a call and not a broadcast."""

_TWIN_ID_MAX = 2**32 - 1  # u32 (spec rmb 1)
_EPILOG = """\
examples:
  rmb-peer call 7 rmb.version
  rmb-peer call 7 echo '{"hello": "world"}'
  rmb-peer call 7,8,9 zos.system.version --timeout 10
  rmb-peer call 7 store @photo.jpg --schema image/jpeg
  date | rmb-peer call 7 echo - --raw

DATA is the payload itself, - for standard input, or @FILE. Without DATA the payload is empty.

One destination: the payload is printed as it came (a line end is added to text that has none; --raw adds nothing).
Several: one line per answer, `SOURCE<tab>PAYLOAD`, in the order in which they come.
--json: one object per line: src, shm, dat (base64), payload (the JSON value or text, null for other bytes), err, ms.

exit codes:
  0  every destination answered
  1  an answer is an error (its code and text are on standard error), or Redis cannot be used
  2  wrong usage
  3  no answer in time
"""


def build_parser() -> argparse.ArgumentParser:
    """The flags of this command."""
    parser = make_parser(PROG, "Send a request through the gateway on this Redis and print the answer.", _EPILOG)
    parser.add_argument("twin", metavar="TWIN", type=_destinations, help="twin id, or several separated by commas")
    parser.add_argument("command", metavar="COMMAND", type=_command, help="such as zos.system.version")
    parser.add_argument("data", metavar="DATA", nargs="?", help="payload, - for standard input, @FILE for a file")
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_timeout,
        default=TIMEOUT_S_DEFAULT,
        help=f"how long to wait, and how long the request lives (default {TIMEOUT_S_DEFAULT:g})",
    )
    parser.add_argument("--tag", metavar="TEXT", help="tag of the request; `fail-fast` asks relays not to store it")
    parser.add_argument(
        "--schema",
        metavar="TYPE",
        help="content type of DATA (default: application/json when it is JSON or empty, else application/octet-stream)",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--raw", action="store_true", help="write the payload's bytes and nothing else")
    form.add_argument("--json", action="store_true", help="print each answer as one JSON object")
    add_redis_flag(parser)
    return parser


def main(argv: list[str]) -> int:
    """Run the command; see the help for exit codes."""
    arguments = build_parser().parse_args(argv)
    try:
        payload = _read_data(arguments.data)
    except (OSError, ValueError) as error:
        complain(PROG, f"cannot use DATA: {error}")
        return EXIT_USAGE
    import asyncio

    from rmb_peer.sdk.calls import Call
    from rmb_peer.sdk.errors import StoreUnavailable
    from rmb_peer.sdk.payloads import Payload

    try:
        call = Call(arguments.twin, arguments.command, Payload(payload, arguments.schema), tag=arguments.tag)
    except ValueError as error:
        complain(PROG, printable(str(error)))
        return EXIT_USAGE
    try:
        return asyncio.run(_call(arguments, call))
    except StoreUnavailable as error:
        complain(PROG, redis_unreachable(arguments.redis, error.reason))
        return EXIT_FAILED


async def _call(arguments: argparse.Namespace, call: "Call") -> int:
    import asyncio

    from rmb_peer.sdk.client import Client

    try:
        client = Client(arguments.redis)
    except ValueError as error:
        complain(PROG, redis_unreachable(arguments.redis, error))
        return EXIT_USAGE
    report = _Report(arguments)
    terminated = False
    if threading.current_thread() is threading.main_thread():  # signals do not arrive elsewhere
        work = asyncio.current_task()
        assert work is not None

        def terminate() -> None:
            nonlocal terminated
            terminated = True
            work.cancel()

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
    try:
        async with (
            client,
            contextlib.aclosing(client.outcomes([call], timeout_s=arguments.timeout)) as outcomes,
        ):
            async for outcome in outcomes:
                report.add(outcome)
    except asyncio.CancelledError:
        if terminated:
            raise SystemExit(128 + signal.SIGTERM) from None
        raise
    return report.exit_code()


class _Report:
    """Prints endings as they come, and sums them up."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._missing = 0
        self._failed = False
        self._timed_out = False
        self._not_taken = False

    def add(self, outcome: "Outcome") -> None:
        from rmb_peer.sdk.calls import Answer
        from rmb_peer.sdk.errors import MessageExpired, NoAnswer, NotTaken

        if isinstance(outcome, NoAnswer):
            self._missing += 1
            self._timed_out = True
            self._not_taken = isinstance(outcome, NotTaken)
            return
        several = len(self._arguments.twin) > 1
        if isinstance(outcome, Answer):
            if self._arguments.json:
                _print_json(outcome, None)
            else:
                _print_payload(outcome, several=several, raw=self._arguments.raw)
            return
        if self._arguments.json:
            _print_json(None, outcome)
        self._complain(outcome)
        if isinstance(outcome, MessageExpired) and outcome.source == "":  # the gateway noticed before we did
            self._timed_out = True
        else:
            self._failed = True

    def exit_code(self) -> int:
        if self._missing:
            count = len(self._arguments.twin)
            which = "no answer" if count == 1 else f"{self._missing} of {count} answers missing"
            taken = f": nobody took the request from {LOCAL_REQUESTS}; is a gateway running on this Redis?"
            complain(PROG, f"{which} within {self._arguments.timeout:g} s{taken if self._not_taken else ''}")
        if self._failed:
            return EXIT_FAILED
        return EXIT_TIMEOUT if self._timed_out else EXIT_OK

    def _complain(self, error: "CallError") -> None:
        from rmb_peer.sdk.errors import BadAnswer

        if isinstance(error, BadAnswer):
            complain(PROG, printable(error.text))
        else:
            complain(PROG, f"{_who(error.source)}: error {error.code}: {printable(error.text)}")


def _print_json(answer: "Answer | None", error: "CallError | None") -> None:
    import base64
    import json

    payload = b"" if answer is None else answer.payload
    source = answer.source if answer else error.source if error else ""
    seconds = answer.seconds if answer else error.seconds if error else 0.0
    fields = {
        "src": json.dumps(source),
        "shm": json.dumps(answer and answer.schema),
        "dat": json.dumps(base64.b64encode(payload).decode()),
        "payload": json_field(payload),
        "err": json.dumps(error and {"code": error.code, "message": error.text}, ensure_ascii=False),
        "ms": f"{seconds * 1000:.3f}",
    }
    line = ",".join(f'"{name}":{value}' for name, value in fields.items())
    sys.stdout.buffer.write(f"{{{line}}}\n".encode())
    sys.stdout.flush()


def _print_payload(answer: "Answer", several: bool, raw: bool) -> None:
    out = sys.stdout.buffer
    if raw:
        out.write(answer.payload)
    elif several:
        out.write(f"{printable(answer.source)}\t{one_line(answer.payload)}\n".encode())
    elif sys.stdout.isatty():
        _print_on_terminal(answer)
    else:
        out.write(answer.payload)
        if as_text(answer.payload) is not None and not answer.payload.endswith(b"\n"):
            out.write(b"\n")
    sys.stdout.flush()


def _print_on_terminal(answer: "Answer") -> None:
    from rich.console import Console
    from rich.highlighter import JSONHighlighter
    from rich.text import Text

    shown = for_eyes(answer.payload)
    if shown is None:
        print(f"({len(answer.payload)} bytes of {printable(answer.schema or 'unknown type')}; --raw writes them)")
        return
    text, is_json = Text(shown[0]), shown[1]
    if is_json:
        JSONHighlighter().highlight(text)
    Console().print(text, soft_wrap=True)


def _who(source: str) -> str:
    return {"": "gateway", "0": "relay"}.get(source, f"twin {printable(source)}")


def _read_data(data: str | None) -> bytes:
    if data is None:
        return b""
    if data == "-":
        payload = sys.stdin.buffer.read(DATA_BYTES_MAX + 1)
    elif data.startswith("@"):
        with Path(data[1:]).open("rb") as file:
            payload = file.read(DATA_BYTES_MAX + 1)
    else:
        payload = data.encode(errors="surrogateescape")  # the bytes as the shell passed them
    if len(payload) > DATA_BYTES_MAX:
        raise ValueError(f"it is longer than {DATA_BYTES_MAX} bytes, the most that a link carries")
    return payload


def _destinations(text: str) -> list[int]:
    twins: list[int] = []
    for part in text.split(","):
        if not (part.isascii() and part.isdigit()) or len(part) > 10 or not 1 <= int(part) <= _TWIN_ID_MAX:
            raise argparse.ArgumentTypeError(f"{part[:20]!r} is no twin id: expected numbers from 1 to {_TWIN_ID_MAX}")
        if int(part) not in twins:
            twins.append(int(part))
    if len(twins) > DESTINATIONS_MAX:
        raise argparse.ArgumentTypeError(f"{len(twins)} destinations, at most {DESTINATIONS_MAX} in one call")
    return twins


def _command(text: str) -> str:
    from rmb_peer.protocol.errors import CommandRefused
    from rmb_peer.protocol.names import check_command

    try:
        check_command(text)
    except CommandRefused as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _timeout(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= TIMEOUT_S_MAX:  # false for nan, too
        raise argparse.ArgumentTypeError(f"{text[:20]!r}: expected seconds, above 0 and at most {TIMEOUT_S_MAX:g}")
    return seconds
