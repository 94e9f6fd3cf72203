"""What of an arriving frame can be decided without asking anybody: is it an envelope, alive, of a kind we take, for us.

Pure: bytes and the time come in. The checks are those of spec rmb 2.5, and those that spec rmb 10.1 to 10.3 asks for in
addition.
"""

import hashlib
from typing import NamedTuple

from rmb_peer.protocol.address import Address
from rmb_peer.protocol.envelope import Envelope, destination_of, parse_envelope, source_of
from rmb_peer.protocol.errors import ClockSkew, MessageExpired, NotForUs, UnsignedMessage
from rmb_peer.protocol.lifetime import ttl_s
from rmb_peer.uids import ONCE_BYTES

CLOCK_SKEW_S_MAX = 600
"""How far ahead a sender's clock may be. A guess: a machine without time service drifts minutes, not hours."""

LIFETIME_S_ACCEPTED = 24 * 3600
"""Longest remaining life that is accepted, because repeats are remembered that long. Rust gateways give at most 1800 s;
the Go SDK sets no limit (spec rmb 2.4)."""

_MARK_BYTES = 16
_KINDS = ("request", "response", "error")


class Arrival(NamedTuple):
    """An envelope worth looking at.

    Attributes:
        envelope: parsed.
        source: who claims to have sent it; twin 0 for a relay.
        kind: "request", "response" or "error".
        ttl_s: seconds it has left.
        marks: names that make a repeat recognisable.
        size_bytes: of the frame.
    """

    envelope: Envelope
    source: Address
    kind: str
    ttl_s: int
    marks: tuple[str, ...]
    size_bytes: int


def examine(frame: bytes, own_twin: int, now_s: int, session: str | None = None) -> Arrival:
    """Look at a frame.

    Args:
        frame: as it came.
        own_twin: who we are.
        now_s: Unix time.
        session: of our connection; gateways have none.

    Raises:
        InvalidPayloadData: it is no envelope.
        NotForUs: it is addressed to somebody else, answers nothing, or is of a kind that only relays handle.
        UnsignedMessage: it claims to come from a relay, but is no error.
        MessageExpired: it has no lifetime left.
        ClockSkew: its time lies too far ahead.
        The last two carry the envelope as `about`, so that a request can be answered.
    """
    envelope = parse_envelope(frame)
    kind = envelope.WhichOneof("message")
    source = source_of(envelope)
    if kind not in _KINDS:
        raise NotForUs(f"{kind or 'an envelope without a kind'} is nothing that a gateway handles")
    if not envelope.uid:
        raise NotForUs(f"{kind} without a uid: nothing can be matched with it")
    if source.twin == 0:
        if kind != "error" or envelope.HasField("signature"):
            raise UnsignedMessage(kind)
    elif destination_of(envelope) != (own_twin, session):
        raise NotForUs(f"addressed to {destination_of(envelope)}, this is twin {own_twin}")
    timestamp = envelope.timestamp
    left_s = ttl_s(timestamp, envelope.expiration, now_s)
    if left_s is None:
        raise MessageExpired(envelope)
    if timestamp > now_s + CLOCK_SKEW_S_MAX:
        raise ClockSkew(f"timestamp is {timestamp - now_s} s in the future", envelope)
    if left_s > LIFETIME_S_ACCEPTED:
        raise ClockSkew(f"lifetime of {left_s} s exceeds {LIFETIME_S_ACCEPTED} s", envelope)
    return Arrival(envelope, source, kind, left_s, _marks(envelope, source, frame), len(frame))


def _marks(envelope: Envelope, source: Address, frame: bytes) -> tuple[str, ...]:
    """The signature refuses replays by anyone; `once` recognises an honest repeat that was signed anew.

    The uid is no mark: several messages may share it (spec rmb 10.3).
    """
    if not source.twin:
        return (_digest(frame),)
    once, signature = envelope.once, _digest(b"%d:%s" % (source.twin, envelope.signature))
    return (signature, f"{source.twin}:{once.hex()}") if len(once) == ONCE_BYTES else (signature,)


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=_MARK_BYTES).hexdigest()
