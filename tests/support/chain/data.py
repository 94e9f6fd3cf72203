"""Where the chain's data lies: outside the repository, in the folder of shared material. Tests skip without it."""

import json
import os
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
METADATA = "metadata-spec149.scale"
GENESIS = "genesis-spec144-without-code.json"


def folder() -> Path | None:
    """The folder `data/tfchain` of the shared material, from `RMB_SHARED` or beside the checkout; `None` without."""
    named = os.environ.get("RMB_SHARED")
    places = [Path(named)] if named else [parent / "shared" for parent in ROOT.parents[:2]]
    for place in places:
        if (place / "data" / "tfchain" / METADATA).is_file():
            return place / "data" / "tfchain"
    return None


def why_not() -> str | None:
    """Why nothing that needs the data can run; `None` when it can."""
    if folder() is None:
        return f"no data/tfchain/{METADATA}: set RMB_SHARED to the folder of shared material"
    return None


needs_chain_data = pytest.mark.skipif(why_not() is not None, reason=why_not() or "")
"""Marks tests that need the stand-in."""


@cache
def metadata() -> bytes:
    """The true metadata of spec version 149."""
    return _read(METADATA)


@cache
def genesis() -> dict[bytes, bytes]:
    """The storage of a fresh chain: development accounts with balances, no twins, no code."""
    top = json.loads(_read(GENESIS))["genesis"]["raw"]["top"]
    return {bytes.fromhex(key[2:]): bytes.fromhex(value[2:]) for key, value in top.items()}


def _read(name: str) -> bytes:
    place = folder()
    assert place is not None, why_not()
    return (place / name).read_bytes()
