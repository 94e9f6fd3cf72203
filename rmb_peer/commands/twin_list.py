"""`rmb-peer twin list`: all twins of the chain, or those of one relay."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rmb_peer.commands.common import EXIT_OK, print_table
from rmb_peer.commands.payload_text import printable
from rmb_peer.commands.twin_common import add_registry_flags, chain_urls, told_failures, twin_fields

if TYPE_CHECKING:
    from rmb_peer.protocol.twin import Twin

Advance = Callable[[int, int], None]
"""Takes how many ids have been looked at, and how many there are."""


def add_list(parser: argparse.ArgumentParser) -> None:
    """The flags of `list`."""
    add_registry_flags(parser)
    parser.add_argument("--relay", metavar="DOMAIN", help="only twins that list this relay")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")


def list_twins(arguments: argparse.Namespace) -> int:
    """Print them; returns the exit code."""
    return told_failures(lambda: _list(arguments))


async def _list(arguments: argparse.Namespace) -> int:
    from rmb_peer.protocol.errors import BadRequest
    from rmb_peer.protocol.names import normalize_relay
    from rmb_peer.registry.opening import open_tfchain

    urls = chain_urls(arguments)
    if not urls:
        raise BadRequest("only tfchain can list its twins: give a node with --substrate wss://HOST")
    relay = None if arguments.relay is None else normalize_relay(arguments.relay)
    registry = open_tfchain(*urls)
    found: list[Twin] = []
    try:
        with _progress() as advance:
            async for page in registry.pages():
                wanted = [twin for twin in page.twins if relay is None or relay in twin.relays]
                advance(page.done, page.total)
                if arguments.json:
                    for twin in wanted:
                        print(json.dumps(twin_fields(twin)), flush=True)
                else:
                    found += wanted
    finally:
        await registry.close()
    if not arguments.json:
        print_table(("twin", "account", "key", "relays"), [_row(twin) for twin in found], numbers=(0,))
    return EXIT_OK


def _row(twin: "Twin") -> tuple[str, str, str, str]:
    fields = twin_fields(twin)
    key = "plain" if twin.public_key is None else "sealed"
    return str(twin.id), fields["account"], key, printable(" ".join(fields["relays"])) or "none"


@contextmanager
def _progress() -> Iterator[Advance]:
    """A bar on standard error if somebody looks at it; gone when the list is complete."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("reading twins"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("twins", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
