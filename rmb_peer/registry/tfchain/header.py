"""A block's header as JSON-RPC gives it, and its hash, which the header itself does not hold (spec tfchain 9). Pure."""

import hashlib
from dataclasses import dataclass
from typing import Any

_HASH_CHARS = 2 + 2 * 32
_NUMBER_MAX = 2**32 - 1
"""Block numbers are u32 on this chain (`System.Number`)."""

_LOGS_MAX = 1000
"""Entries of a digest; a guess: two or three are usual."""


class BadHeader(ValueError):
    """It is no header; the text says why."""


@dataclass(frozen=True, slots=True)
class Header:
    """Where a block stands in the chain.

    Attributes:
        number: its height.
        hash: its own, as `0x…`.
        parent: that of the block before it.
    """

    number: int
    hash: str
    parent: str


def read_header(value: Any) -> Header:
    """Check a header and compute its hash: blake2b-256 of its encoded form.

    Raises:
        BadHeader: it is none.
    """
    if not isinstance(value, dict) or not isinstance(value.get("digest"), dict):
        raise BadHeader("it is no object with a digest")
    parent, state, extrinsics = (_hash(value.get(name)) for name in ("parentHash", "stateRoot", "extrinsicsRoot"))
    number = _number(value.get("number"))
    logs = value["digest"].get("logs")
    if not isinstance(logs, list) or len(logs) > _LOGS_MAX:
        raise BadHeader("its digest is no list")
    digest = _compact(len(logs)) + b"".join(map(_hex, logs))
    raw = parent + _compact(number) + state + extrinsics + digest
    return Header(number, "0x" + hashlib.blake2b(raw, digest_size=32).hexdigest(), "0x" + parent.hex())


def _number(text: Any) -> int:
    raw = _hex("0x" + text[2:].zfill(8)) if isinstance(text, str) and text.startswith("0x") and len(text) > 2 else b""
    if not raw or int.from_bytes(raw) > _NUMBER_MAX:
        raise BadHeader("its number is none")
    return int.from_bytes(raw)


def _hash(text: Any) -> bytes:
    if not isinstance(text, str) or len(text) != _HASH_CHARS:
        raise BadHeader("one of its hashes is none")
    return _hex(text)


def _hex(text: Any) -> bytes:
    if isinstance(text, str) and text.startswith("0x") and text.isascii() and " " not in text:
        try:
            return bytes.fromhex(text[2:])
        except ValueError:
            pass
    raise BadHeader("a part of it is no hex text")


def _compact(number: int) -> bytes:
    """SCALE's compact form, as far as 32 bits need it."""
    if number < 1 << 6:
        return bytes([number << 2])
    if number < 1 << 14:
        return (number << 2 | 1).to_bytes(2, "little")
    if number < 1 << 30:
        return (number << 2 | 2).to_bytes(4, "little")
    return b"\3" + number.to_bytes(4, "little")
