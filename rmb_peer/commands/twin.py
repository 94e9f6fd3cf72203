"""`rmb-peer twin`: look up, make, change and list twins, in the registry that a gateway would use."""

import argparse
from typing import TYPE_CHECKING

from rmb_peer.commands.common import EXIT_FAILED, EXIT_OK, complain, make_parser
from rmb_peer.commands.twin_common import (
    PROG,
    RELAY_VARIABLE,
    add_registry_flags,
    default_relay,
    open_named,
    print_twin,
    told_failures,
)

if TYPE_CHECKING:
    from rmb_peer.protocol.twin import Twin

LOOK_UP_S_MAX = 60.0
"""Longest wait for a registry. A guess: longer than any of them waits by itself, so that its own words are shown,
unless many nodes of a chain are silent."""

_TWIN_ID_MAX = 2**32 - 1  # u32 (spec rmb 1)

_EPILOG = """\
examples:
  rmb-peer twin show 7
  rmb-peer twin show --account 5EWpy8kzz8ZjnevdVo1aL6fpm3DBRCBzrunjq97gzuhKW2AX
  rmb-peer twin show 7 --registry https://relay.example.org --json
  rmb-peer twin show 7 --registry file:twins.toml
  rmb-peer twin show 7 --substrate wss://tfchain.dev.grid.tf
  rmb-peer twin create --substrate wss://tfchain.dev.grid.tf --relay wss://relay.dev.grid.tf --mnemonic-file me.mnemonic
  rmb-peer twin update --substrate wss://tfchain.dev.grid.tf --mnemonic-file me.mnemonic
  rmb-peer twin list --substrate wss://tfchain.dev.grid.tf --relay relay.dev.grid.tf --json

Writing to tfchain costs a fee of about 0.001 TFT, whether it succeeds or not. An equal record is not written.

--json: one object: id, account (SS58), account_hex, relays (list), public_key (hex; null when the twin receives plain
payloads), version; or null when there is no such twin. `list`: one such object per line.

exit codes:
  0  found, or done
  1  there is no such twin, or the registry refused
  2  wrong usage
  3  the registry does not answer
"""


def build_parser() -> argparse.ArgumentParser:
    """The flags of this command."""
    from rmb_peer.commands import twin_list, twin_write

    parser = make_parser(PROG, "Look up, make, change and list twins.", _EPILOG)
    actions = parser.add_subparsers(dest="action", required=True, metavar="show|create|update|list")
    show = actions.add_parser("show", help="show the record of a twin", allow_abbrev=False)
    _add_show(show)
    show.set_defaults(act=_show)
    create = actions.add_parser("create", help="make a twin for an account", allow_abbrev=False)
    twin_write.add_create(create)
    create.set_defaults(act=twin_write.create)
    update = actions.add_parser("update", help="change the record of a twin", allow_abbrev=False)
    twin_write.add_update(update)
    update.set_defaults(act=twin_write.update)
    listing = actions.add_parser("list", help="list the twins of tfchain", allow_abbrev=False)
    twin_list.add_list(listing)
    listing.set_defaults(act=twin_list.list_twins)
    return parser


def main(argv: list[str]) -> int:
    """Run the command; see the help for exit codes."""
    arguments = build_parser().parse_args(argv)
    return int(arguments.act(arguments))


def _add_show(show: argparse.ArgumentParser) -> None:
    who = show.add_mutually_exclusive_group(required=True)
    who.add_argument("id", metavar="ID", type=_twin_id, nargs="?", help="twin id")
    who.add_argument("--account", metavar="ACCOUNT", type=_account, help="account as SS58 text or 64 hex digits")
    add_registry_flags(show)
    show.add_argument(
        "--relay",
        metavar="URL",
        default=default_relay(),
        help=f"relay to ask for its registry; also the variable {RELAY_VARIABLE} (default %(default)s)",
    )
    show.add_argument("--json", action="store_true", help="print one JSON object")


def _show(arguments: argparse.Namespace) -> int:
    return told_failures(lambda: _show_found(arguments))


async def _show_found(arguments: argparse.Namespace) -> int:
    twin = await _look_up(arguments)
    if twin is not None:
        print_twin(twin, arguments.json)
        return EXIT_OK
    if arguments.json:
        print("null")
    else:
        what = f"id {arguments.id}" if arguments.id else "this account"
        complain(PROG, f"there is no twin with {what}")
    return EXIT_FAILED


async def _look_up(arguments: argparse.Namespace) -> "Twin | None":
    import asyncio

    from rmb_peer.registry.base import RegistryUnavailable

    registry = open_named(arguments, [arguments.relay])
    try:
        async with asyncio.timeout(LOOK_UP_S_MAX):
            if arguments.id is not None:
                return await registry.get(arguments.id)
            return await registry.get_by_account(arguments.account)
    except TimeoutError:
        raise RegistryUnavailable(f"no answer within {LOOK_UP_S_MAX:g} s") from None
    finally:
        await registry.close()


def _twin_id(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or not 1 <= int(text) <= _TWIN_ID_MAX:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is no twin id: expected a number from 1 to {_TWIN_ID_MAX}")
    return int(text)


def _account(text: str) -> bytes:
    from rmb_peer.protocol.ss58 import decode_account

    try:
        return decode_account(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
