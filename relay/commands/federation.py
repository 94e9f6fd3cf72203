"""`rmb-relay federation ...`: what waits for other relays, and what the operator wants done about it.

It reads and writes the store; the relay that runs on it obeys within a second. So it works whichever process empties an
outbox, and on any machine that reaches the store.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson

from relay.federation.health import read_health
from relay.federation.outbox import Outboxes, OutboxFailed, View
from relay.federation.redis_outbox import RedisOutboxes
from relay.federation.settings import FederationSettings
from relay.store import connect, detect_cluster
from rmb_peer.embedded.valkey import url_in
from rmb_peer.protocol.errors import BadRequest
from rmb_peer.protocol.names import normalize_relay

ANSWER_S_MAX = 30.0
"""Longest wait for one answer of the store; a guess, generous for a slow disk."""


EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2

_COLUMNS = ("relay", "waiting", "bytes", "oldest", "state", "next try", "last error")
_NUMBERS = ("waiting", "bytes", "oldest")

_EXAMPLES = """\
examples:
  rmb-relay federation list --data /var/lib/rmb-relay
  rmb-relay federation pause relay.example.org --redis redis://10.0.0.5:6379

With none of --data and --redis it looks into ./rmb-relay-data, like the relay itself."""

_HELP = {
    "list": "what waits for which relay, and how that relay is doing",
    "retry": "try relays at once, without waiting for the end of a pause",
    "pause": "send nothing to relays; what comes waits, or goes by another relay of its receiver",
    "resume": "end a pause",
    "drain": "empty outboxes now: what waits goes by another relay of its receiver, or its sender gets an error",
}
_DONE = {"retry": "is tried at once", "pause": "is paused", "resume": "is resumed", "drain": "is drained"}


def main(argv: Sequence[str]) -> int:
    """Run one command.

    Args:
        argv: the words after `federation`.

    Returns:
        0 when done, 1 if the store cannot be used, 2 for wrong arguments.
    """
    try:
        flags = build_parser().parse_args(argv)
    except SystemExit as ended:  # argparse has said why
        return int(ended.code or 0)
    url = flags.redis or url_in(flags.data)
    try:
        return asyncio.run(_run(flags, url))
    except (OutboxFailed, ValueError) as error:
        where = "the store given by --redis" if flags.redis else f"the store in {flags.data}: does a relay run there?"
        sys.stderr.write(f"rmb-relay federation: cannot use {where} ({error})\n")
        return EXIT_FAILED


def build_parser() -> argparse.ArgumentParser:
    """The commands and their flags."""
    parser = argparse.ArgumentParser(
        prog="rmb-relay federation",
        description="What waits for other relays, and what shall be done about it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in _HELP.items():
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name != "list":
            command.add_argument("relay", nargs="*", type=_relay, help="names of relays")
            command.add_argument("--all", action="store_true", help="all relays in the list")
        command.add_argument("-r", "--redis", metavar="URL", help="the relay's store")
        command.add_argument(
            "--data", type=Path, default=Path("rmb-relay-data"), metavar="FOLDER", help="the relay's data folder"
        )
        command.add_argument("--json", action="store_true", help="machine-readable, nothing else on standard output")
    return parser


def _relay(text: str) -> str:
    try:
        return normalize_relay(text)
    except BadRequest as error:
        raise argparse.ArgumentTypeError(str(error)) from None


async def _run(flags: argparse.Namespace, url: str) -> int:
    client = connect([url], cluster=await detect_cluster(url, ANSWER_S_MAX), timeout_s=ANSWER_S_MAX, once=True)
    try:
        outboxes = RedisOutboxes(client, process="command", entries_max=0, bytes_max=0)
        return await (_list(flags, outboxes) if flags.command == "list" else _order(flags, outboxes))
    finally:
        await client.aclose()


async def _order(flags: argparse.Namespace, outboxes: Outboxes) -> int:
    known = await outboxes.names()
    if not flags.relay and not flags.all:
        sys.stderr.write(f"rmb-relay federation {flags.command}: name a relay, or give --all\n")
        return EXIT_USAGE
    unknown = [name for name in flags.relay if name not in known]
    if unknown and flags.command != "pause":  # a relay may be paused before anything waits for it
        sys.stderr.write(f"rmb-relay federation {flags.command}: nothing waits for {', '.join(unknown)}\n")
        return EXIT_FAILED
    names = known if flags.all else list(dict.fromkeys(flags.relay))
    orders: dict[str, Callable[[str], Any]] = {
        "retry": lambda name: outboxes.order(name, retry=True),
        "pause": lambda name: outboxes.order(name, paused=True),
        "resume": lambda name: outboxes.order(name, paused=False, retry=True),
        "drain": lambda name: outboxes.order(name, drain=True),
    }
    for name in names:
        await orders[flags.command](name)
    views = await outboxes.look(names)
    if flags.json:
        _write(orjson.dumps({"command": flags.command, "relays": names}).decode())
        return EXIT_OK
    for name, view in zip(names, views, strict=True):
        idle = not view.count or view.owner
        _write(f"{name} {_DONE[flags.command]}" + ("" if idle else ", as soon as a relay runs on this store"))
    return EXIT_OK


async def _list(flags: argparse.Namespace, outboxes: Outboxes) -> int:
    names = await outboxes.names()
    rows = [fields_of(name, view, time.time()) for name, view in zip(names, await outboxes.look(names), strict=True)]
    if flags.json:
        _write(orjson.dumps(rows).decode())
    elif sys.stdout.isatty():
        _show_table(rows)
    else:
        for row in ([*_COLUMNS], *(_texts(row) for row in rows)):
            _write("\t".join(row))
    return EXIT_OK


def fields_of(name: str, view: View, now_s: float) -> dict[str, Any]:
    """One relay, for machines. Pure.

    Args:
        name: of the relay.
        view: what the store says.
        now_s: Unix seconds.
    """
    settings = FederationSettings()
    health = read_health(view.health, now_s, settings.retry_s_max)
    return {
        "relay": name,
        "waiting": view.count,
        "bytes": view.size_bytes,
        "oldest_s": round(max(0.0, now_s - view.oldest_at_s), 3) if view.count else None,
        "state": "paused" if view.orders.paused else str(health.state(now_s, settings.open_after)),
        "failures": health.failures,
        "retry_in_s": round(max(0.0, health.retry_at_s - now_s), 3) if health.failures else None,
        "last_error": health.error or None,
        "last_error_at_s": health.failed_at_s or None,
        "process": view.owner or None,
    }


def _texts(row: dict[str, Any]) -> list[str]:
    """One relay, for people; nothing in it can move a cursor."""
    oldest, retry = row["oldest_s"], row["retry_in_s"]
    cells = [
        row["relay"],
        str(row["waiting"]),
        str(row["bytes"]),
        "-" if oldest is None else f"{oldest:.0f} s",
        row["state"],
        "-" if retry is None else f"in {retry:.0f} s",
        row["last_error"] or "-",
    ]
    return ["".join(c if c.isprintable() else "?" for c in cell) for cell in cells]


def _show_table(rows: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        _write("nothing waits for other relays")
        return
    table = Table(box=box.SIMPLE_HEAD)
    for column in _COLUMNS:
        table.add_column(column, justify="right" if column in _NUMBERS else "left")
    for row in rows:
        table.add_row(*map(Text, _texts(row)))
    Console().print(table)


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")
