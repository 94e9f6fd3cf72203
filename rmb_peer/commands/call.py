"""`rmb-peer call`: send one request and print what comes back.

A local program like any other: it talks only to Redis (spec rmb 5.2, 5.4), so it works beside any gateway. It waits on
a list of its own, and leaves nothing behind whatever happens.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rmb_peer.commands.common import (
    EXIT_FAILED,
    EXIT_OK,
    EXIT_TIMEOUT,
    EXIT_USAGE,
    add_redis_flag,
    complain,
    exit_on_sigterm,
    make_parser,
    redis_unreachable,
)
from rmb_peer.commands.payload_text import as_text, for_eyes, json_field, one_line, printable
from rmb_peer.local.keys import CALLER_GONE, LOCAL_REQUESTS
from rmb_peer.local.redis_url import CONNECT_S_MAX

if TYPE_CHECKING:
    from redis import Redis

    from rmb_peer.local.program_side import Answer

PROG = "rmb-peer call"

TIMEOUT_S_DEFAULT = 60.0
TIMEOUT_S_MAX = 1800.0
"""Gateways give no message a longer life (spec rmb 5.2)."""

DATA_BYTES_MAX = 16 * 2**20
"""A frame between gateways holds no more (spec rmb 2.2); the gateway says by how much less a payload must be."""

DESTINATIONS_MAX = 1000
"""A guess at what is still a call and not a broadcast."""

REPLY_LIST_PREFIX = "rmb-call."
"""Our own lists: not under `msgbus.`, where a remote command could name them, nor under the gateway's `rmb:`."""

_TOO_LATE = (102, 504)  # spec rmb 5.9, and the gateway's own error when nobody answered
_TWIN_ID_MAX = 2**32 - 1  # u32 (spec rmb 1)
_RECONNECT_S = 0.2
_LATE_S = 10  # beyond our wait: the request lives a second longer, and the gateway tells of silence some seconds later

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
    exit_on_sigterm()
    return _Call(arguments, payload).run()


class _Call:
    """One request and its answers."""

    def __init__(self, arguments: argparse.Namespace, payload: bytes) -> None:
        import uuid

        from rmb_peer.local.program_side import guess_schema, request_json

        self._arguments = arguments
        self._reply_list = REPLY_LIST_PREFIX + uuid.uuid4().hex
        self._request = request_json(
            reference=self._reply_list,
            command=arguments.command,
            expiration_s=int(arguments.timeout) + 1,  # whole seconds, and not less than we wait
            payload=payload,
            tags=arguments.tag,
            destinations=arguments.twin,
            reply_list=self._reply_list,
            schema=arguments.schema or guess_schema(payload),
        )
        self._missing = len(arguments.twin)
        self._failed = False
        self._timed_out = False

    def run(self) -> int:
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.exceptions import RedisError
        from redis.retry import Retry

        url = self._arguments.redis
        try:
            redis = Redis.from_url(
                url,
                socket_connect_timeout=CONNECT_S_MAX,
                socket_timeout=self._arguments.timeout + CONNECT_S_MAX,
                retry=Retry(NoBackoff(), 0),  # a push that is repeated could ask twice
            )
        except ValueError as error:
            complain(PROG, redis_unreachable(url, error))
            return EXIT_USAGE
        begin = time.monotonic()
        try:
            redis.lpush(LOCAL_REQUESTS, self._request)
            self._collect(redis, begin)
        except RedisError as error:
            complain(PROG, redis_unreachable(url, error))
            return EXIT_FAILED
        finally:
            not_taken = self._clean_up(redis, begin)
        if self._missing:
            self._report_missing(not_taken)
        if self._failed:
            return EXIT_FAILED
        return EXIT_TIMEOUT if self._timed_out else EXIT_OK

    def _collect(self, redis: "Redis", begin: float) -> None:
        """Print answers until all are there or the time is over."""
        while self._missing:
            remaining_s = self._arguments.timeout - (time.monotonic() - begin)
            if remaining_s <= 0:
                return
            popped: Any = self._pop(redis, remaining_s)
            if popped is not None:
                self._missing -= 1
                self._handle(popped[1], ms=(time.monotonic() - begin) * 1000)

    def _pop(self, redis: "Redis", remaining_s: float) -> Any:
        """One entry, or `None`. A store that comes back within the time is waited for: the request is on its way."""
        from redis.exceptions import ConnectionError as RedisConnectionError
        from redis.exceptions import TimeoutError as RedisTimeoutError

        try:
            return redis.blpop([self._reply_list], timeout=remaining_s)  # seconds, with a fraction since Redis 6
        except (RedisConnectionError, RedisTimeoutError):
            if remaining_s <= _RECONNECT_S:
                raise
            time.sleep(_RECONNECT_S)
            return None

    def _clean_up(self, redis: "Redis", begin: float) -> bool:
        """Remove our list, and our request if nobody has taken it; the answer is whether it was still there.

        An answer that comes later would make the list anew, for nobody. So the name is held by something that is no
        list, until the request's life is over: the gateway then treats the answer as undeliverable.
        """
        from redis.exceptions import RedisError

        life_left_s = int(self._arguments.timeout - (time.monotonic() - begin)) + _LATE_S
        try:
            with redis.pipeline(transaction=False) as pipe:
                pipe.delete(self._reply_list)
                if self._missing:
                    pipe.set(self._reply_list, CALLER_GONE, ex=life_left_s)
                pipe.lrem(LOCAL_REQUESTS, 1, self._request.decode())
                not_taken = bool(pipe.execute()[-1])
            if not_taken:
                redis.delete(self._reply_list)
        except RedisError:
            return False  # the store is away, and that has been or will be said
        return not_taken

    def _handle(self, entry: bytes, ms: float) -> None:
        from rmb_peer.local.program_side import read_answer
        from rmb_peer.protocol.errors import BadRequest

        try:
            answer = read_answer(entry)
        except BadRequest as error:
            complain(PROG, f"the gateway pushed an answer that is none: {error}")
            self._failed = True
            return
        if self._arguments.json:
            _print_json(answer, ms)
        elif answer.error is None:
            _print_payload(answer, several=len(self._arguments.twin) > 1, raw=self._arguments.raw)
        if answer.error is not None:
            code, text = answer.error
            complain(PROG, f"{_who(answer.source)}: error {code}: {printable(text)}")
            if code in _TOO_LATE and answer.source == "":  # the gateway noticed before we did
                self._timed_out = True
            else:
                self._failed = True

    def _report_missing(self, not_taken: bool) -> None:
        count = len(self._arguments.twin)
        which = "no answer" if count == 1 else f"{self._missing} of {count} answers missing"
        why = (
            f": nobody took the request from {LOCAL_REQUESTS}; is a gateway running on this Redis?" if not_taken else ""
        )
        complain(PROG, f"{which} within {self._arguments.timeout:g} s{why}")
        self._timed_out = True


def _print_json(answer: "Answer", ms: float) -> None:
    import base64
    import json

    error = None if answer.error is None else {"code": answer.error[0], "message": answer.error[1]}
    fields = {
        "src": json.dumps(answer.source),
        "shm": json.dumps(answer.schema),
        "dat": json.dumps(base64.b64encode(answer.payload).decode()),
        "payload": json_field(answer.payload),
        "err": json.dumps(error, ensure_ascii=False),
        "ms": f"{ms:.3f}",
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
