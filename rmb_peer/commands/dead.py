"""`rmb-peer dead`: what could not be delivered, and why: list, show, put back, throw away."""

import argparse
import base64
from typing import TYPE_CHECKING, Any

from rmb_peer.commands.common import (
    EXIT_FAILED,
    EXIT_OK,
    complain,
    make_parser,
    print_fields,
    print_table,
)
from rmb_peer.commands.payload_text import as_text, json_field, one_line, printable
from rmb_peer.commands.store_common import EXIT_NO_STORE, add_store_flags, print_json, with_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from rmb_peer.local.looking import Letter, Store

PROG = "rmb-peer dead"

REASON_CHARS = 80
"""Of the reason in a table; `show` has all of it."""

_EPILOG = f"""\
examples:
  rmb-peer dead list
  rmb-peer dead list --kind request --json | jq -r .reason | sort | uniq -c
  rmb-peer dead show 1760000000000-0
  rmb-peer dead retry 1760000000000-0
  rmb-peer dead retry --all --kind response
  rmb-peer dead purge --older-than 604800
  rmb-peer dead purge --all
  test -z "$(rmb-peer dead list --json)" || echo "something could not be delivered" | mail -s rmb root

A letter is a request or a response of a program here, something received for a list here that could not take it, work
that no worker could finish, or a record of the gateway that was found damaged. The newest 10,000 are kept.

retry puts a letter back into the list it came from, or was for, and removes it here, at one instant. A request gets a
new id, and its `now` and `exp` still count. What came from another gateway and could not be checked stays here: its
sender has to send it again.

exit codes:
  0  done
  1  a letter is not there, or could not be put back
  2  wrong usage
  {EXIT_NO_STORE}  Redis cannot be used
"""


def build_parser() -> argparse.ArgumentParser:
    """The flags of this command."""
    parser = make_parser(PROG, "Look after messages that could not be delivered.", _EPILOG)
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|show|retry|purge")
    for name, text in (
        ("list", "list dead letters, the oldest first"),
        ("show", "show one with its content"),
        ("retry", "put them back"),
        ("purge", "throw them away"),
    ):
        action = actions.add_parser(name, help=text, allow_abbrev=False)
        if name == "show":
            action.add_argument("ids", metavar="ID", nargs=1, help="as `list` shows it")
        elif name != "list":
            which = action.add_mutually_exclusive_group(required=True)
            which.add_argument("ids", metavar="ID", nargs="*", default=[], help="as `list` shows them")
            which.add_argument("--all", action="store_true", help="every letter (of --kind)")
            if name == "purge":
                which.add_argument("--older-than", metavar="SECONDS", type=_seconds, help="those that are older")
        if name != "show":
            action.add_argument(
                "--kind", choices=("request", "response", "received", "record", "unfinished"), help="only these"
            )
        add_store_flags(action)
    return parser


def main(argv: list[str]) -> int:
    """Run the command; see the help for exit codes."""
    arguments = build_parser().parse_args(argv)
    actions: dict[str, Callable[[Store, argparse.Namespace], int]] = {
        "list": _list,
        "show": _show,
        "retry": _retry,
        "purge": _purge,
    }
    action = actions[arguments.action]
    return with_store(PROG, arguments.redis, lambda store: action(store, arguments))


def _list(store: "Store", arguments: argparse.Namespace) -> int:
    from rmb_peer.local.looking import clock_text

    rows = []
    for letter in store.letters():
        if arguments.kind in (None, letter.kind):
            if arguments.json:
                print_json(_as_json(letter))
            else:
                reason = printable(letter.reason)
                short = reason if len(reason) <= REASON_CHARS else reason[: REASON_CHARS - 1] + "…"
                rows.append((letter.id, clock_text(letter.at_s), letter.kind, str(len(letter.raw)), short))
    if rows:
        print_table(("id", "time", "kind", "bytes", "reason"), rows, numbers={3})
    elif not arguments.json:
        print("no dead letters")
    return EXIT_OK


def _show(store: "Store", arguments: argparse.Namespace) -> int:
    from rmb_peer.local.looking import clock_text

    letter = store.letter(arguments.ids[0])
    if letter is None:
        return _missing(arguments.ids[0])
    if arguments.json:
        print_json(_as_json(letter))
        return EXIT_OK
    print_fields(
        {
            "id": letter.id,
            "time": clock_text(letter.at_s),
            "kind": letter.kind,
            "reason": printable(letter.reason),
            "message": printable(letter.uid) or "unknown",
            "retry puts it into": printable(letter.goes_back_to or "nothing: only its sender can send it again"),
            "content": one_line(letter.raw),
        }
    )
    return EXIT_OK


def _retry(store: "Store", arguments: argparse.Namespace) -> int:
    letters, code = _chosen(store, arguments)
    retried = []
    for letter in letters:
        why_not = store.retry(letter)
        if why_not is None:
            retried.append(letter.id)
        else:
            complain(PROG, f"{letter.id} stays: {printable(why_not)}")
            code = EXIT_FAILED
    _report(arguments, "retried", retried)
    return code


def _purge(store: "Store", arguments: argparse.Namespace) -> int:
    letters, code = _chosen(store, arguments)
    store.purge(letters)
    _report(arguments, "purged", [letter.id for letter in letters])
    return code


def _chosen(store: "Store", arguments: argparse.Namespace) -> "tuple[list[Letter], int]":
    code = EXIT_OK
    letters = []
    if arguments.ids:
        for name in arguments.ids:
            letter = store.letter(name)
            if letter is None:
                code = _missing(name)
            else:
                letters.append(letter)
    else:
        letters = list(store.letters())
    if getattr(arguments, "older_than", None) is not None:
        until_s = store.now_s() - arguments.older_than
        letters = [letter for letter in letters if letter.at_s < until_s]
    return [letter for letter in letters if arguments.kind in (None, letter.kind)], code


def _report(arguments: argparse.Namespace, what: str, ids: list[str]) -> None:
    if arguments.json:
        print_json({what: ids})
    else:
        print(f"{what}: {len(ids)}")


def _missing(name: str) -> int:
    complain(PROG, f"there is no dead letter {printable(name[:80])!r}; see `{PROG} list`")
    return EXIT_FAILED


def _as_json(letter: "Letter") -> dict[str, Any]:
    import json

    return {
        "id": letter.id,
        "at_s": letter.at_s,
        "kind": letter.kind,
        "reason": letter.reason,
        "uid": letter.uid or None,
        "ref": letter.reference,
        "list": letter.list_name or None,
        "retry_into": letter.goes_back_to,
        "raw": base64.b64encode(letter.raw).decode(),
        "content": json.loads(json_field(letter.raw)) if as_text(letter.raw) is not None else None,
    }


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text[:20]!r}: expected seconds, 0 or more")
    return seconds
