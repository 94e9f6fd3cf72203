"""For tests of the chain's client: the vectors, identities, and a registry that gives up soon."""

import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

from rmb_peer.protocol.identity import Identity
from rmb_peer.protocol.signatures import KeyType
from rmb_peer.registry.tfchain.connection import ChainConnection
from rmb_peer.registry.tfchain.reading import ChainCheck
from rmb_peer.registry.tfchain.registry import TfchainRegistry
from rmb_peer.registry.tfchain.terms import Terms
from tests.support.chain import StandIn

TERMS = Terms("https://example.org/t", "ab12")
PATIENCE_S = 60.0
"""For everything that has to succeed: loading metadata takes seconds on a busy machine."""


@cache
def vectors() -> Any:
    """Those of the specification."""
    return json.loads((Path(__file__).parents[1] / "vectors" / "tfchain.json").read_text())


def new_identity(key_type: KeyType = "sr25519") -> Identity:
    """A random identity."""
    return Identity.from_secret("0x" + os.urandom(32).hex(), key_type, os.urandom)


def patient(urls: Sequence[str], check: ChainCheck, **options: Any) -> ChainConnection:
    """A connection that waits long for what works, and not between attempts."""
    limits: dict[str, Any] = dict.fromkeys(("connect_s_max", "check_s_max", "grace_s"), PATIENCE_S)
    given = limits | {"pause_s": (0.0, 0.0)} | options
    return ChainConnection(urls, check=check, **given)


@asynccontextmanager
async def chain_registry(*urls: str, **options: Any) -> AsyncIterator[TfchainRegistry]:
    """A registry on these nodes."""
    check = ChainCheck()
    limits = {name: options.pop(name, PATIENCE_S) for name in ("read_s_max", "write_s_max")}
    registry = TfchainRegistry(urls, connect=lambda nodes: patient(nodes, check, **options), **limits)
    try:
        yield registry
    finally:
        await registry.close()


def have_twin(node: StandIn, identity: Identity, relays: str | None = "localhost") -> int:
    """Put the twin of an identity on the chain; the account has funds."""
    node.fund(identity.account)
    return node.put_twin(identity.account, relay=relays, pk=identity.public_key).id
