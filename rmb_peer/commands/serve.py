"""`rmb-peer serve`: answer the requests of one command by running a program for each.

A local program like any other: it talks only to Redis (spec rmb 5.3, 5.4), so it works beside any gateway. How requests
are taken and answered is the SDK's business (`sdk/service.py`); here are the flags.
"""

import argparse
import logging
import shutil

from rmb_peer.commands.common import (
    EXIT_FAILED,
    EXIT_OK,
    EXIT_USAGE,
    add_log_flags,
    add_redis_flag,
    complain,
    make_parser,
    redis_unreachable,
)
from rmb_peer.local.lease_settings import LEASE_S_DEFAULT, LEASE_S_MAX, LEASE_S_MIN, RETRIES_DEFAULT, RETRIES_MAX
from rmb_peer.local.redis_url import public_url

PROG = "rmb-peer serve"

WORKERS_MAX = 256
"""A guess: programs that run at the same time; each is a process of this machine. No more than `CONCURRENCY_MAX`."""

TIMEOUT_S_DEFAULT = 60.0
OUTPUT_BYTES_DEFAULT = 8 * 2**20
"""Half of the largest frame between gateways (spec rmb 2.2); the gateway says by itself what is too large for it."""

OUTPUT_BYTES_MAX = 16 * 2**20

_EPILOG = f"""\
examples:
  rmb-peer serve echo -- cat
  rmb-peer serve backup.run --workers 4 --timeout 600 -- /usr/local/bin/backup --fast
  rmb-peer serve weather --schema application/json -- python3 weather.py

The program is started without a shell, once per request. It gets
  standard input   the payload
  RMB_SRC          who asks: a twin id, or twin id and session as 7:web; verified by the gateway
  RMB_CMD          the command
  RMB_REF          the request's id
  RMB_TAG          its tag, empty when it has none
  RMB_SCHEMA       content type of the payload, empty when it says none

Exit code 0: what it wrote to standard output is the answer, declared as application/json when it is JSON (or empty),
else as application/octet-stream, unless --schema says otherwise. Peers in TypeScript read only JSON answers.
Other exit codes: the asker gets an error with that code and the end of standard error as text. Errors with codes of
ours: 400 the entry is no request, 102 its lifetime is over, 413 too much output, 500 the program did not start or was
ended by a signal, 503 the service was stopped, 504 it took too long. When the program ends, or its time is over,
everything left in its process group is killed.

Requests are taken with a lease. When this process dies, even by kill -9 or with its machine, what it had not answered
is tried again --lease seconds later, by any other service of this command or by the next run of this one; a program
that runs long keeps its lease. After --retries repetitions the asker gets error 502, and the request is kept in the
stream rmb:dead. A program may therefore run more than once for one request, but only one answer leaves.

Ctrl-C or SIGTERM: what runs is finished and answered, then serve ends. A second one kills what runs; those who asked
get error 503.

exit codes:
  0  stopped by a signal, everything taken was answered
  1  stopped by a second signal, or the Redis URL cannot be used
  2  wrong usage
limits: {WORKERS_MAX} workers, {OUTPUT_BYTES_MAX} bytes of output
"""


def build_parser() -> argparse.ArgumentParser:
    """The flags of this command, without `-- PROGRAM ARGS`."""
    parser = make_parser(PROG, "Answer requests by running a program for each of them.", _EPILOG)
    parser.usage = f"{PROG} COMMAND [options] -- PROGRAM [ARGS...]"
    parser.add_argument("command", metavar="COMMAND", type=_command, help="requests for this command are answered")
    parser.add_argument(
        "--workers", metavar="N", type=_workers, default=1, help="programs that run at the same time (default 1)"
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_seconds,
        default=TIMEOUT_S_DEFAULT,
        help=f"longest run of the program; then it is killed (default {TIMEOUT_S_DEFAULT:g})",
    )
    parser.add_argument("--schema", metavar="TYPE", help="content type of every answer")
    parser.add_argument(
        "--output-max",
        metavar="BYTES",
        type=_output_bytes,
        default=OUTPUT_BYTES_DEFAULT,
        help=f"largest answer (default {OUTPUT_BYTES_DEFAULT})",
    )
    parser.add_argument(
        "--retries",
        metavar="N",
        type=_retries,
        default=RETRIES_DEFAULT,
        help=f"repetitions of a request whose worker died (default {RETRIES_DEFAULT})",
    )
    parser.add_argument(
        "--lease",
        metavar="SECONDS",
        type=_lease,
        default=LEASE_S_DEFAULT,
        help=f"how long after its last sign of life a worker counts as dead (default {LEASE_S_DEFAULT:g})",
    )
    add_redis_flag(parser)
    add_log_flags(parser)
    return parser


def main(argv: list[str]) -> int:
    """Run the command; see the help for exit codes."""
    parser = build_parser()
    split = argv.index("--") if "--" in argv else len(argv)  # by hand: argparse versions differ on "--"
    arguments, program = parser.parse_args(argv[:split]), argv[split + 1 :]
    if not program:
        parser.error("say which program answers: -- PROGRAM [ARGS...]")
    if shutil.which(program[0]) is None:
        complain(PROG, f"program not found, or not executable: {program[0]}")
        return EXIT_USAGE

    from rmb_peer.logs import setup_logging

    setup_logging(arguments.debug, arguments.log_format)
    try:
        return _serve(arguments, program)
    except ValueError as error:
        complain(PROG, redis_unreachable(arguments.redis, error))
        return EXIT_FAILED


def _serve(arguments: argparse.Namespace, program: list[str]) -> int:
    from rmb_peer.local.keys import command_list
    from rmb_peer.logs import event, get_logger
    from rmb_peer.sdk.service import Service
    from rmb_peer.service.answering import ProgramHandler

    service = Service(arguments.redis, lease_s=arguments.lease, retries=arguments.retries)
    handler = ProgramHandler(program, arguments.timeout, arguments.output_max, arguments.schema)
    service.add(arguments.command, handler, concurrency=arguments.workers)

    def begun() -> None:
        event(
            get_logger("serve"), logging.INFO, "serving", command=arguments.command,
            list=command_list(arguments.command), redis=public_url(arguments.redis), workers=arguments.workers,
        )  # fmt: skip

    service.run(begun)
    return EXIT_FAILED if service.aborted else EXIT_OK


def _command(text: str) -> str:
    from rmb_peer.sdk.handling import check_service_command

    try:
        check_service_command(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _workers(text: str) -> int:
    return _whole(text, 1, WORKERS_MAX)


def _retries(text: str) -> int:
    return _whole(text, 0, RETRIES_MAX)


def _lease(text: str) -> float:
    seconds = _seconds(text)
    if not LEASE_S_MIN <= seconds <= LEASE_S_MAX:
        raise argparse.ArgumentTypeError(f"a lease lasts {LEASE_S_MIN:g} to {LEASE_S_MAX:g} seconds")
    return seconds


def _output_bytes(text: str) -> int:
    return _whole(text, 1, OUTPUT_BYTES_MAX)


def _whole(text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 12 or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"{text[:20]!r}: expected a whole number from {least} to {most}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text[:20]!r}: expected seconds above 0")
    return seconds
