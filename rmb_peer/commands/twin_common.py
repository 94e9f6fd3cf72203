"""What the actions of `rmb-peer twin` share: which registry, how a twin is shown, how failures are told."""

import argparse
import json
import os
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from rmb_peer.commands.common import EXIT_FAILED, EXIT_TIMEOUT, EXIT_USAGE, complain, print_fields
from rmb_peer.commands.payload_text import printable

if TYPE_CHECKING:
    from rmb_peer.protocol.twin import Twin
    from rmb_peer.registry.base import Registry

PROG = "rmb-peer twin"

RELAY_DEFAULT = "ws://localhost:8080"
"""The default of the gateway's flag."""

RELAY_VARIABLE, REGISTRY_VARIABLE, SUBSTRATE_VARIABLE = "RMB_RELAY", "RMB_REGISTRY", "RMB_SUBSTRATE"
"""Environment variables with the same meaning as the flags."""


def add_registry_flags(parser: argparse.ArgumentParser) -> None:
    """Add `--registry` and `-s/--substrate`, which exclude each other."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--registry",
        metavar="URL",
        help=f"https://HOST or file:PATH; also the variable {REGISTRY_VARIABLE} (default: what the relay offers)",
    )
    which.add_argument(
        "-s",
        "--substrate",
        action="append",
        metavar="URL",
        help=f"node of tfchain, wss://HOST; repeatable; also the variable {SUBSTRATE_VARIABLE}",
    )


def chain_urls(arguments: argparse.Namespace) -> tuple[str, ...]:
    """Nodes of tfchain, by flag or environment; none when another registry is meant. A flag wins."""
    if arguments.substrate or arguments.registry:
        return tuple(arguments.substrate or ())
    substrate = os.environ.get(SUBSTRATE_VARIABLE)
    return (substrate,) if substrate else ()


def default_relay() -> str:
    """The relay to ask for its registry when no flag names one."""
    return os.environ.get(RELAY_VARIABLE) or RELAY_DEFAULT


def open_named(arguments: argparse.Namespace, relays: list[str]) -> "Registry":
    """The registry that the flags name.

    Raises:
        BadRequest: it cannot be one.
    """
    from rmb_peer.registry.opening import open_registry, open_tfchain

    nodes = chain_urls(arguments)
    if nodes:
        return open_tfchain(*nodes)
    return open_registry(arguments.registry or os.environ.get(REGISTRY_VARIABLE) or "relay:", relays=relays)


def told_failures(action: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Run an action and turn its failures into one line and an exit code."""
    import asyncio
    import logging

    from rmb_peer.protocol.errors import BadRequest, BadSecret
    from rmb_peer.registry.base import RegistryRefused, RegistryUnavailable
    from rmb_peer.registry.tfchain.errors import OutcomeUnknown

    log = logging.getLogger("rmb.chain")
    level = log.level
    log.setLevel(logging.ERROR)  # what matters is in the one line below
    try:
        return asyncio.run(action())
    except BadSecret as error:
        complain(PROG, str(error))
        return EXIT_FAILED
    except BadRequest as error:
        complain(PROG, str(error))
        return EXIT_USAGE
    except RegistryRefused as error:
        complain(PROG, printable(error.detail))
        return EXIT_FAILED
    except OutcomeUnknown as error:
        complain(PROG, printable(error.detail))
        return EXIT_TIMEOUT
    except RegistryUnavailable as error:
        reason = printable(error.detail)
        hint = "Name another with --registry, --substrate or --relay"
        complain(PROG, f"the registry does not answer: {reason.rstrip('.')}. {hint}")
        return EXIT_TIMEOUT
    finally:
        log.setLevel(level)


def twin_fields(twin: "Twin") -> dict[str, Any]:
    """A twin as JSON shows it."""
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


def print_twin(twin: "Twin", as_json: bool) -> None:
    """One twin, as an object or as lines."""
    fields = twin_fields(twin)
    if as_json:
        print(json.dumps(fields))
        return
    shown = fields | {
        "relays": printable(" ".join(fields["relays"])) or "none",
        "public_key": fields["public_key"] or "none: it receives plain payloads",
    }
    print_fields({_LABELS[name]: str(value) for name, value in shown.items()})
