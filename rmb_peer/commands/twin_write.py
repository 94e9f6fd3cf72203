"""`rmb-peer twin create` and `update`: make a twin for an account, or change its record."""

import argparse
import os
from typing import TYPE_CHECKING

from rmb_peer.commands.common import EXIT_OK
from rmb_peer.commands.twin_common import (
    RELAY_DEFAULT,
    add_registry_flags,
    default_relay,
    open_named,
    print_twin,
    told_failures,
)
from rmb_peer.protocol.signatures import KEY_TYPES
from rmb_peer.secret_source import add_secret_flags, read_secret

if TYPE_CHECKING:
    from rmb_peer.protocol.identity import Identity
    from rmb_peer.protocol.twin import Twin
    from rmb_peer.registry.base import Registry


def add_create(parser: argparse.ArgumentParser) -> None:
    """The flags of `create`."""
    _add_common(parser, f"relay of the twin; repeatable, up to 4 (default {RELAY_DEFAULT})")
    parser.add_argument(
        "--accept-terms",
        nargs=2,
        metavar=("LINK", "HASH"),
        help="tfchain: accept the network's terms and conditions, which you have read there; HASH of the document, "
        "such as md5sum prints it",
    )


def add_update(parser: argparse.ArgumentParser) -> None:
    """The flags of `update`."""
    _add_common(parser, "relay of the twin; repeatable, up to 4 (default: those that the record lists)")


def create(arguments: argparse.Namespace) -> int:
    """Make a twin; returns the exit code."""
    return told_failures(lambda: _create(arguments))


def update(arguments: argparse.Namespace) -> int:
    """Change a twin; returns the exit code."""
    return told_failures(lambda: _update(arguments))


def _add_common(parser: argparse.ArgumentParser, relay_help: str) -> None:
    add_registry_flags(parser)
    parser.add_argument("--relay", action="append", metavar="URL", help=relay_help)
    add_secret_flags(parser)
    parser.add_argument(
        "-k", "--key-type", type=str.lower, choices=KEY_TYPES, default=KEY_TYPES[0], help="(default sr25519)"
    )
    parser.add_argument("--plain", action="store_true", help="publish no encryption key: receive plain payloads")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


async def _create(arguments: argparse.Namespace) -> int:
    from rmb_peer.protocol.errors import BadRequest
    from rmb_peer.registry.base import RegistryRefused
    from rmb_peer.registry.tfchain.registry import TfchainRegistry
    from rmb_peer.registry.tfchain.terms import Terms

    identity, relays = _identity(arguments), arguments.relay or [default_relay()]
    registry = open_named(arguments, relays)
    try:
        names = _names(registry, relays)
        key = None if arguments.plain else identity.public_key
        if isinstance(registry, TfchainRegistry):
            terms = None if arguments.accept_terms is None else Terms(*arguments.accept_terms).check()
            twin = await registry.create(identity.signer, names, key, terms)
        elif arguments.accept_terms is not None:
            raise BadRequest("--accept-terms is for tfchain only: give --substrate")
        else:
            known = await registry.get_by_account(identity.account)
            if known is not None:
                raise RegistryRefused(
                    f"this account has twin {known.id} already: change it with `rmb-peer twin update`"
                )
            twin = await registry.put(identity.signer, names, key)
    finally:
        await registry.close()
    return _written(twin, arguments)


async def _update(arguments: argparse.Namespace) -> int:
    from rmb_peer.registry.base import RegistryRefused

    identity = _identity(arguments)
    registry = open_named(arguments, arguments.relay or [default_relay()])
    try:
        known = await registry.get_by_account(identity.account)
        if known is None:
            raise RegistryRefused("this account has no twin: make one with `rmb-peer twin create`")
        names = _names(registry, arguments.relay) if arguments.relay else known.relays
        twin = await registry.put(identity.signer, names, None if arguments.plain else identity.public_key)
    finally:
        await registry.close()
    return _written(twin, arguments)


def _written(twin: "Twin", arguments: argparse.Namespace) -> int:
    print_twin(twin, arguments.json)
    return EXIT_OK


def _identity(arguments: argparse.Namespace) -> "Identity":
    from rmb_peer.protocol.identity import Identity

    secret = read_secret(arguments.mnemonic, arguments.mnemonic_file)
    return Identity.from_secret(secret, arguments.key_type, os.urandom)


def _names(registry: "Registry", relays: list[str]) -> frozenset[str]:
    """The names of relays as this registry holds them."""
    from rmb_peer.protocol.names import relay_of_url, relay_set
    from rmb_peer.registry.tfchain.records import chain_relays
    from rmb_peer.registry.tfchain.registry import TfchainRegistry

    names = relay_set([relay_of_url(url) for url in relays])
    return chain_relays(names) if isinstance(registry, TfchainRegistry) else names
