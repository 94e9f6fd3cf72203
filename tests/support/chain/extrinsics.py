"""Signed extrinsics of format 4: taking them apart, and whether their signature is good (spec tfchain 1, appendix B).

Signatures are verified with the libraries themselves, not with our code that signs. It refuses to know state.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import sr25519
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from tests.support.chain.codec import BadScale, Reader, u32
from tests.support.chain.runtime import Runtime

ED25519 = 0
SR25519 = 1
_SIGNED_V4 = 0x84
_PAYLOAD_BYTES_MAX = 256  # longer payloads are hashed before they are signed
_ERA_PERIOD_MIN = 4


@dataclass(frozen=True, slots=True)
class Era:
    """For which blocks a mortal extrinsic is good: `period` blocks from one whose number leaves `phase`."""

    period: int
    phase: int

    def first_block(self, current: int) -> int:
        """The first block of the era that `current` lies in."""
        return (max(current, self.phase) - self.phase) // self.period * self.period + self.phase


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed extrinsic, taken apart.

    Attributes:
        raw: all of it, its length in front.
        era: `None` when it never dies.
        signed_part: era, nonce and tip as they were encoded; what the signature covers between call and versions.
    """

    raw: bytes
    account: bytes
    signature_type: int
    signature: bytes
    era: Era | None
    nonce: int
    tip: int
    call: bytes
    signed_part: bytes


def parse(raw: bytes) -> Signed:
    """Take an extrinsic apart.

    Raises:
        BadScale: it is no signed extrinsic of this format.
    """
    reader = Reader(raw)
    if reader.compact() != len(raw) - reader.at:
        raise BadScale("the length in front is not the length")
    if reader.number(1) != _SIGNED_V4:
        raise BadScale("no signed extrinsic of format 4")
    if reader.number(1) != 0:
        raise BadScale("the address is no account id")
    account = reader.take(32)
    kind = reader.number(1)
    if kind > SR25519:
        raise BadScale("an ecdsa signature: its account cannot sign messages either (spec tfchain 1)")
    signature = reader.take(64)
    start = reader.at
    era = _read_era(reader)
    nonce, tip = reader.compact(), reader.compact()
    return Signed(raw, account, kind, signature, era, nonce, tip, raw[reader.at :], raw[start : reader.at])


def _read_era(reader: Reader) -> Era | None:
    first = reader.number(1)
    if first == 0:
        return None
    encoded = first | reader.number(1) << 8
    period = 2 << (encoded & 15)
    phase = (encoded >> 4) * max(period >> 12, 1)
    if period < _ERA_PERIOD_MIN or phase >= period:
        raise BadScale("no era")
    return Era(period, phase)


def has_good_signature(
    signed: Signed, runtime: Runtime, genesis: bytes, current: int, hash_of: Callable[[int], bytes | None]
) -> bool | None:
    """Whether the account has signed exactly this, for this chain, this version of it, and this stretch of blocks.

    Args:
        current: number of the block that it would come into.
        hash_of: the hash of a block by number.

    Returns:
        `None` when the first block of the era is not known any more, or not yet.
    """
    birth = genesis if signed.era is None else hash_of(signed.era.first_block(current))
    if birth is None:
        return None
    versions = u32(runtime.spec_version) + u32(runtime.transaction_version)
    payload = signed.call + signed.signed_part + versions + genesis + birth
    if len(payload) > _PAYLOAD_BYTES_MAX:
        payload = hashlib.blake2b(payload, digest_size=32).digest()
    if signed.signature_type == SR25519:
        try:
            return bool(sr25519.verify(signed.signature, payload, signed.account))
        except ValueError:  # no point of the curve
            return False
    try:
        VerifyKey(signed.account).verify(payload, signed.signature)
    except (BadSignatureError, ValueError):
        return False
    return True
