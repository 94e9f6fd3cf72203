"""`rmb-peer twin`: look up who a twin is, in the registry that a gateway would use."""

import argparse
import asyncio
import json
import os
from typing import TYPE_CHECKING, Any

from rmb_peer.commands.common import EXIT_FAILED, EXIT_OK, EXIT_TIMEOUT, EXIT_USAGE, complain, make_parser, print_fields
from rmb_peer.commands.payload_text import printable

if TYPE_CHECKING:
    from rmb_peer.protocol.twin import Twin

PROG = "rmb-peer twin"

RELAY_DEFAULT = "ws://localhost:8080"
"""The default of the gateway's flag."""

RELAY_VARIABLE, REGISTRY_VARIABLE = "RMB_RELAY", "RMB_REGISTRY"
"""Environment variables with the same meaning as the flags."""

LOOK_UP_S_MAX = 20.0
"""Longest wait for the registry; a guess."""

_TWIN_ID_MAX = 2**32 - 1  # u32 (spec rmb 1)

_EPILOG = """\
examples:
  rmb-peer twin show 7
  rmb-peer twin show --account 5EWpy8kzz8ZjnevdVo1aL6fpm3DBRCBzrunjq97gzuhKW2AX
  rmb-peer twin show 7 --registry https://relay.example.org --json
  rmb-peer twin show 7 --registry file:twins.toml

--json: one object: id, account (SS58), account_hex, relays (list), public_key (hex; null when the twin receives plain
payloads), version; or null when there is no such twin.

exit codes:
  0  found
  1  there is no such twin
  2  wrong usage
  3  the registry does not answer
"""


def build_parser() -> argparse.ArgumentParser:
    """The flags of this command."""
    parser = make_parser(PROG, "Look up a twin.", _EPILOG)
    actions = parser.add_subparsers(dest="action", required=True, metavar="show")
    show = actions.add_parser("show", help="show the record of a twin", allow_abbrev=False)
    who = show.add_mutually_exclusive_group(required=True)
    who.add_argument("id", metavar="ID", type=_twin_id, nargs="?", help="twin id")
    who.add_argument("--account", metavar="ACCOUNT", type=_account, help="account as SS58 text or 64 hex digits")
    show.add_argument(
        "--registry",
        metavar="URL",
        default=os.environ.get(REGISTRY_VARIABLE) or None,
        help=f"https://HOST or file:PATH; also the variable {REGISTRY_VARIABLE} (default: what the relay offers)",
    )
    show.add_argument(
        "--relay",
        metavar="URL",
        default=os.environ.get(RELAY_VARIABLE) or RELAY_DEFAULT,
        help=f"relay to ask for its registry; also the variable {RELAY_VARIABLE} (default {RELAY_DEFAULT})",
    )
    show.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def main(argv: list[str]) -> int:
    """Run the command; see the help for exit codes."""
    arguments = build_parser().parse_args(argv)
    from rmb_peer.protocol.errors import BadRequest
    from rmb_peer.registry.base import RegistryUnavailable

    try:
        twin = asyncio.run(_look_up(arguments))
    except BadRequest as error:
        complain(PROG, str(error))
        return EXIT_USAGE
    except (RegistryUnavailable, TimeoutError) as error:
        reason = getattr(error, "detail", None) or f"no answer within {LOOK_UP_S_MAX:g} s"
        complain(PROG, f"the registry does not answer: {printable(reason)}. Name another with --registry or --relay")
        return EXIT_TIMEOUT
    if twin is None and not arguments.json:
        what = f"id {arguments.id}" if arguments.id else "this account"
        complain(PROG, f"there is no twin with {what}")
    elif arguments.json:
        print(json.dumps(None if twin is None else _fields(twin)))
    elif twin is not None:
        _print(_fields(twin))
    return EXIT_FAILED if twin is None else EXIT_OK


async def _look_up(arguments: argparse.Namespace) -> "Twin | None":
    from rmb_peer.registry.opening import open_registry

    registry = open_registry(arguments.registry or "relay:", relays=[arguments.relay])
    try:
        async with asyncio.timeout(LOOK_UP_S_MAX):
            if arguments.id is not None:
                return await registry.get(arguments.id)
            return await registry.get_by_account(arguments.account)
    finally:
        await registry.close()


def _fields(twin: "Twin") -> dict[str, Any]:
    from rmb_peer.protocol.ss58 import encode_account

    return {
        "id": twin.id,
        "account": encode_account(twin.account),
        "account_hex": twin.account.hex(),
        "relays": sorted(twin.relays),
        "public_key": None if twin.public_key is None else twin.public_key.hex(),
        "version": twin.version,
    }


_LABELS = {
    "id": "twin",
    "account": "account (SS58)",
    "account_hex": "account (hex)",
    "relays": "relays",
    "public_key": "encryption key (hex)",
    "version": "version",
}


def _print(fields: dict[str, Any]) -> None:
    shown = fields | {
        "relays": printable(" ".join(fields["relays"])) or "none",
        "public_key": fields["public_key"] or "none: it receives plain payloads",
    }
    print_fields({_LABELS[name]: str(value) for name, value in shown.items()})


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
