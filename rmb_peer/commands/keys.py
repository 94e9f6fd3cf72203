"""`rmb-peer keys`: make a new identity, or show the public parts of one (spec rmb 3).

Secrets are printed where they are asked for by name, and nowhere else.
"""

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from rmb_peer.commands.common import EXIT_FAILED, EXIT_OK, complain, make_parser, print_fields
from rmb_peer.protocol.signatures import KEY_TYPES, KeyType
from rmb_peer.secret_source import add_secret_flags, read_secret

if TYPE_CHECKING:
    from rmb_peer.protocol.identity import Identity

PROG = "rmb-peer keys"

ENTROPY_BYTES = {12: 16, 24: 32}
"""Bytes of randomness per number of words (BIP-39)."""

_EPILOG = """\
examples:
  rmb-peer keys new                         print a new identity, its mnemonic included
  rmb-peer keys new --out gateway.mnemonic  keep the mnemonic in a file that only you can read
  rmb-peer keys show --mnemonic-file gateway.mnemonic
  RMB_MNEMONIC="word word ..." rmb-peer keys show -k ed25519 --json
  rmb-peer keys show                        ask for the mnemonic

Whoever has the mnemonic is you: keep a copy where only you can find it. There is no way to change it later and keep the
twin id.

--json: one object: key_type, account (SS58), account_hex, public_key (hex; the encryption key that the gateway
publishes); with `new` mnemonic or mnemonic_file; with `show --secret` mnemonic (null for a seed) and seed.

exit codes:
  0  done
  1  the secret cannot be used, or the file cannot be written
  2  wrong usage
"""


def build_parser() -> argparse.ArgumentParser:
    """The flags of this command."""
    parser = make_parser(PROG, "Make a new identity, or show the public parts of one.", _EPILOG)
    actions = parser.add_subparsers(dest="action", required=True, metavar="new|show")
    new = actions.add_parser("new", help="make a new identity", allow_abbrev=False)
    new.add_argument("--words", type=int, choices=tuple(ENTROPY_BYTES), default=12, help="words (default 12)")
    new.add_argument("--out", type=Path, metavar="FILE", help="write the mnemonic to a new file instead of printing it")
    show = actions.add_parser("show", help="show the public parts of an identity", allow_abbrev=False)
    add_secret_flags(show)
    show.add_argument("--secret", action="store_true", help="show the secret parts, too")
    for action in (new, show):
        action.add_argument(
            "-k", "--key-type", type=str.lower, choices=KEY_TYPES, default=KEY_TYPES[0], help="(default sr25519)"
        )
        action.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def main(argv: list[str]) -> int:
    """Run the command; see the help for exit codes."""
    arguments = build_parser().parse_args(argv)
    from rmb_peer.protocol.errors import BadSecret

    try:
        fields = _new(arguments) if arguments.action == "new" else _show(arguments)
    except BadSecret as error:
        complain(PROG, str(error))
        return EXIT_FAILED
    except OSError as error:
        complain(PROG, f"cannot write {error.filename}: {error.strerror}")
        return EXIT_FAILED
    _print(fields, as_json=arguments.json)
    return EXIT_OK


def _new(arguments: argparse.Namespace) -> dict[str, str | None]:
    from rmb_peer.protocol.secret import mnemonic_of

    mnemonic = mnemonic_of(os.urandom(ENTROPY_BYTES[arguments.words]))
    fields = _public(_identity(mnemonic, arguments.key_type))
    if arguments.out is None:
        return fields | {"mnemonic": mnemonic}
    write_secret(arguments.out, mnemonic)
    return fields | {"mnemonic_file": str(arguments.out)}


def _show(arguments: argparse.Namespace) -> dict[str, str | None]:
    from rmb_peer.protocol.secret import mini_secret

    secret = read_secret(arguments.mnemonic, arguments.mnemonic_file)
    fields = _public(_identity(secret, arguments.key_type))
    if not arguments.secret:
        return fields
    return fields | {
        "mnemonic": None if secret.startswith("0x") else " ".join(secret.split()),
        "seed": "0x" + mini_secret(secret).hex(),
    }


def write_secret(path: Path, secret: str) -> None:
    """Write a secret to a file that did not exist and that only we can read.

    Raises:
        OSError: it exists already, or cannot be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret + "\n")


def _identity(secret: str, key_type: KeyType) -> "Identity":
    from rmb_peer.protocol.identity import Identity

    return Identity.from_secret(secret, key_type, os.urandom)


def _public(identity: "Identity") -> dict[str, str | None]:
    from rmb_peer.protocol.ss58 import encode_account

    return {
        "key_type": identity.signer.key_type,
        "account": encode_account(identity.account),
        "account_hex": identity.account.hex(),
        "public_key": identity.public_key.hex(),
    }


_LABELS = {
    "key_type": "key type",
    "account": "account (SS58)",
    "account_hex": "account (hex)",
    "public_key": "encryption key (hex)",
    "mnemonic": "mnemonic",
    "mnemonic_file": "mnemonic is in",
    "seed": "seed",
}


def _print(fields: dict[str, str | None], as_json: bool) -> None:
    if as_json:
        print(json.dumps(fields))
    else:
        print_fields({_LABELS[name]: value or "-" for name, value in fields.items()})
