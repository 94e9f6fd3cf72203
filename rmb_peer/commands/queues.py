"""`rmb-peer queues`: what waits where, for how long."""

import argparse
from typing import TYPE_CHECKING

from rmb_peer.commands.common import EXIT_FAILED, EXIT_OK, make_parser, print_table
from rmb_peer.commands.payload_text import printable
from rmb_peer.commands.store_common import EXIT_NO_STORE, add_store_flags, print_json, with_store

if TYPE_CHECKING:
    from rmb_peer.local.looking import Store

PROG = "rmb-peer queues"

_EPILOG = f"""\
examples:
  rmb-peer queues
  rmb-peer queues --json | jq -r 'select(.what == "service") | "\\(.entries) \\(.name)"'
  rmb-peer queues --limit 1000 > /dev/null || echo "a queue is long"

service: requests that wait for a service, and since when their senders wait. answers: lists that programs named in
`ret`; one that nobody reads stays there. The gateway never trims a list; at 10,000 entries it answers with error 429.

--json: one object per queue: name, what, entries, oldest_s (null where it cannot be told).

exit codes:
  0  read
  1  a queue holds more than --limit
  2  wrong usage
  {EXIT_NO_STORE}  Redis cannot be used
"""


def build_parser() -> argparse.ArgumentParser:
    """The flags of this command."""
    parser = make_parser(PROG, "Show what waits in the lists of programs and in the gateway's own.", _EPILOG)
    parser.add_argument("--limit", metavar="N", type=_whole, help="exit with 1 if a queue holds more")
    add_store_flags(parser)
    return parser


def main(argv: list[str]) -> int:
    """Run the command; see the help for exit codes."""
    arguments = build_parser().parse_args(argv)
    return with_store(PROG, arguments.redis, lambda store: _queues(store, arguments))


def _queues(store: "Store", arguments: argparse.Namespace) -> int:
    from rmb_peer.local.looking import span_text

    queues = store.queues()
    if arguments.json:
        for queue in queues:
            print_json({name: getattr(queue, name) for name in queue.__slots__})
    else:
        rows = [(printable(q.name), q.what, str(q.entries), span_text(q.oldest_s)) for q in queues]
        print_table(("queue", "what", "entries", "oldest"), rows, numbers={2, 3})
    over = arguments.limit is not None and any(queue.entries > arguments.limit for queue in queues)
    return EXIT_FAILED if over else EXIT_OK


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text[:20]!r}: expected a whole number")
    return int(text)
