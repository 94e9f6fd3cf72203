"""The test data of Bao: vectors, input patterns, and small trees that are easy to damage."""

import json
import os
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from rmb_peer.protocol.bao import OutboardStore, bytes_reader, encode_outboard
from rmb_peer.protocol.bao.engines import ENGINE_NAMES, Engine, engine_named

ROOT = Path(__file__).parents[2]
EXTRA: dict[str, Any] = json.loads((ROOT / "tests" / "vectors" / "bao_extra.json").read_text(encoding="utf-8"))

FAST_ENGINES = [name for name in ENGINE_NAMES if name != "pure"]


@cache
def upstream() -> dict[str, Any]:
    """Upstream's own vectors, which are not part of this repository; tests that need them skip without them."""
    shared = Path(os.environ.get("RMB_SHARED", ROOT.parent / "shared"))
    path = shared / "vectors" / "bao_test_vectors.json"
    if not path.is_file():
        pytest.skip(f"upstream's test vectors are not at {path}; set RMB_SHARED to the folder that holds vectors/")
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


@cache
def pattern(size: int) -> bytes:
    """The input of `bao_extra.json`, as its `about` defines it."""
    if size > 2**16:  # long ones by rows of 256 bytes: the last two terms are constant in each
        row = [bytes((7 * i + 5 + shift) % 256 for i in range(256)) for shift in range(256)]
        rows = (row[(13 * high + 31 * (high >> 8)) % 256] for high in range(-(-size // 256)))
        return b"".join(rows)[:size]
    return bytes((7 * i + 13 * (i >> 8) + 31 * (i >> 16) + 5) % 256 for i in range(size))


@cache
def upstream_input(size: int) -> bytes:
    """The input of upstream's vectors: counters of four bytes from 1 on."""
    numbers = count(1)
    return b"".join(next(numbers).to_bytes(4, "little") for _ in range(-(-size // 4)))[:size]


def flipped(data: bytes, offset: int, mask: int = 1) -> bytes:
    """The data with some bits of one byte turned."""
    changed = bytearray(data)
    changed[offset] ^= mask
    return bytes(changed)


def engine_of(name: str) -> Engine:
    """An engine; tests with all of them need `rmb-peer[test]`."""
    return engine_named(name)


def stored(content: bytes, chunk_log: int, order: Any = "pre") -> tuple[bytes, bytes, OutboardStore]:
    """Root, outboard and store of content."""
    root, outboard = encode_outboard(content, chunk_log, order)
    return root, outboard, OutboardStore(bytes_reader(content), bytes_reader(outboard), len(content), chunk_log, order)
