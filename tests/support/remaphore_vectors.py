"""The vectors of remaphore as Python values. What counts is `recommended` where a case has it, else what Go does."""

import json
from pathlib import Path
from typing import Any

from rmb_peer.remaphore.core.configuration import parse
from rmb_peer.remaphore.core.settings import Identity, Settings

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "remaphore.json").read_text())


def settings(name: str) -> Settings:
    """One of the configurations `alpha`, `bravo`, `charlie`."""
    return parse(VECTORS["configs"][name].encode())[0]


def public(name: str) -> bytes:
    """A public key by its label."""
    return bytes.fromhex(VECTORS["keys"][name]["public_hex"])


def identity(name: str, *verbs: bytes) -> Identity:
    """A key pair by its label."""
    key = VECTORS["keys"][name]
    return Identity(public(name), bytes.fromhex(key["seed_hex"]) + public(name), verbs or (b"*",))


def ids(case: dict[str, Any]) -> str:
    """A readable id of a case."""
    return str(case.get("name") or case.get("text") or case.get("pattern") or case.get("input") or "")
