"""`rmb-peer where`: where a message is, or how it ended, step by step.

It reads the store of one gateway and needs no gateway to run, so it also answers after a crash.
"""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from rmb_peer.commands.common import complain, make_parser, print_table
from rmb_peer.commands.payload_text import printable
from rmb_peer.commands.store_common import EXIT_NO_STORE, add_store_flags, print_json, with_store

if TYPE_CHECKING:
    from rmb_peer.local.looking import Store
    from rmb_peer.timeline import Step, Timeline

PROG = "rmb-peer where"

EXIT_ANSWERED, EXIT_ENDED_BADLY, EXIT_UNDER_WAY, EXIT_UNKNOWN = 0, 1, 3, 4

SHOWN_MAX = 20
"""Messages with one reference that are shown; the newest. A guess."""

_EPILOG = f"""\
examples:
  rmb-peer where my-reference
  rmb-peer where 0c9a2f6e-3d6f-4a53-9a71-0c5d7c6f1c11
  rmb-peer where my-reference --json | jq .verdict
  ssh other-side rmb-peer where 0c9a2f6e-3d6f-4a53-9a71-0c5d7c6f1c11     the other half: received, in service, answered

UID is the message's id, the same on both sides: what a service sees as `ref`, and what both gateways log. REF is the
`ref` that the asking program chose; only its own gateway knows it, and several messages may have it.

Steps come from the journal (a day and 32 MiB by default) and from what survives everything: outbox, requests that wait,
dead letters. The last quarter of a second before a crash may be missing from the journal.

--json: one object per message: uid, verdict, summary, steps (at_s, code, text, details, source, tone).

exit codes (of the newest message):
  {EXIT_ANSWERED}  answered
  {EXIT_ENDED_BADLY}  ended without an answer: refused, expired, an error
  2  wrong usage
  {EXIT_UNDER_WAY}  still under way
  {EXIT_UNKNOWN}  nothing is known of it here
  {EXIT_NO_STORE}  Redis cannot be used
"""

_CODES = {
    "answered": EXIT_ANSWERED,
    "failed": EXIT_ENDED_BADLY,
    "under way": EXIT_UNDER_WAY,
    "unknown": EXIT_UNKNOWN,
}
_STYLES = {"good": "green", "bad": "red", "": ""}


def build_parser() -> argparse.ArgumentParser:
    """The flags of this command."""
    parser = make_parser(PROG, "Show where a message is, or how it ended.", _EPILOG)
    parser.add_argument("name", metavar="UID|REF", help="a message's id, or the reference its sender gave it")
    add_store_flags(parser)
    return parser


def main(argv: list[str]) -> int:
    """Run the command; see the help for exit codes."""
    arguments = build_parser().parse_args(argv)
    return with_store(PROG, arguments.redis, lambda store: _where(store, arguments))


def _where(store: "Store", arguments: argparse.Namespace) -> int:
    uids = store.uids_of(arguments.name)
    if not uids:
        complain(PROG, f"nothing is known of {printable(arguments.name)!r} here; ask on the side that sent it")
        return EXIT_UNKNOWN
    found = [_timeline(store, uid) for uid in uids[:SHOWN_MAX]]
    if arguments.json:
        for message in found:
            print_json(as_json(message))
    else:
        for message in reversed(found):  # the newest last, where the eye is
            _print(message)
        if len(uids) > SHOWN_MAX:
            complain(PROG, f"{len(uids)} messages have this reference; the newest {SHOWN_MAX} are shown")
    return _CODES[found[0].verdict]


def _timeline(store: "Store", uid: str) -> "Timeline":
    from rmb_peer.timeline import timeline

    return timeline(
        uid,
        store.events_of(uid),
        [entry for entry in store.outbox() if entry.uid == uid],
        store.pending(uid),
        [letter for letter in store.letters() if letter.uid == uid],
        store.holds(uid),
        store.now_s(),
    )


def as_json(message: "Timeline") -> dict[str, Any]:
    """The form of `--json`."""
    steps = [{name: getattr(step, name) for name in step.__slots__} for step in message.steps]
    return {"uid": message.uid, "verdict": message.verdict, "summary": message.summary, "steps": steps}


def _print(message: "Timeline") -> None:
    from rmb_peer.local.looking import clock_text

    began_s = message.steps[0].at_s if message.steps else 0.0
    rows = [
        (clock_text(step.at_s), f"{step.at_s - began_s:+.3f} s", step.code, printable(step.text), details_text(step))
        for step in message.steps
    ]
    heads = ("time", "after", "what", "", "details")
    if not sys.stdout.isatty():
        print(f"message {printable(message.uid)}")
        print_table(heads, rows, numbers={1})
        print(f"{message.verdict}: {printable(message.summary)}")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for index, head in enumerate(heads):
        table.add_column(head, justify="right" if index == 1 else "left", overflow="fold")
    for step, row in zip(message.steps, rows, strict=True):
        table.add_row(*(Text(cell, style=_STYLES[step.tone]) for cell in row))
    verdict_style = {"answered": "bold green", "failed": "bold red"}.get(message.verdict, "bold yellow")
    console = Console()
    console.print(Text.assemble("message ", (printable(message.uid), "bold")))
    console.print(table)
    console.print(Text.assemble((message.verdict, verdict_style), f": {printable(message.summary)}"))


def details_text(step: "Step") -> str:
    """The details of a step on one line."""
    shown = [f"{name}={_value(value)}" for name, value in step.details.items() if value is not None]
    return printable(" ".join(shown))


def _value(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
