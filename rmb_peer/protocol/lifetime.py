"""The time fields of an envelope: stamp, remaining lifetime, cap (spec rmb 2.4). All values are whole Unix seconds."""

from rmb_peer.protocol.pb.envelope_pb2 import Envelope

LIFETIME_S_DEFAULT = 300
"""Used where a sender gave no lifetime (spec rmb 5.2)."""

LIFETIME_S_MAX = 1800
"""Longest lifetime a gateway gives to what it sends (spec rmb 5.2); receivers and relays do not enforce it."""

RESPONSE_LIFETIME_S = 3600
"""What a response starts with before the cap (spec rmb 5.4)."""

ERROR_LIFETIME_S = 300
"""Lifetime of errors that relays and gateways make themselves (spec rmb 6.3, 5.9)."""

_U64_END = 2**64


def stamp(timestamp: int, expiration: int, now_s: int) -> tuple[int, int]:
    """Move the start of a lifetime to now without moving its end, except that a future start is pulled back.

    Returns:
        the new (timestamp, expiration).
    """
    if timestamp == 0 or timestamp > now_s:
        return now_s, expiration
    return now_s, max(0, expiration - (now_s - timestamp))


def stamp_envelope(envelope: Envelope, now_s: int) -> int | None:
    """`stamp`, applied to the fields of `envelope`.

    Returns:
        seconds that are left, see `ttl_s`.
    """
    expiration = envelope.expiration
    timestamp = envelope.timestamp
    if timestamp != now_s:
        timestamp, expiration = stamp(timestamp, expiration, now_s)
        envelope.timestamp, envelope.expiration = timestamp, expiration
    return ttl_s(timestamp, expiration, now_s)


def ttl_s(timestamp: int, expiration: int, now_s: int) -> int | None:
    """Seconds that are left, or `None` when the message has expired.

    A sum beyond 64 bits counts as expired: the Rust gateway wraps there (spec rmb 2.4).
    """
    end_s = timestamp + expiration
    if end_s >= _U64_END or end_s <= now_s:
        return None
    return end_s - now_s


def envelope_ttl_s(envelope: Envelope, now_s: int) -> int | None:
    """`ttl_s` of the fields of `envelope`."""
    return ttl_s(envelope.timestamp, envelope.expiration, now_s)


def cap(expiration: int) -> int:
    """The lifetime a gateway puts on what it sends: 0 becomes the default, more than the maximum the maximum."""
    return min(expiration or LIFETIME_S_DEFAULT, LIFETIME_S_MAX)
