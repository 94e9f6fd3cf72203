"""The rendezvous value of `-u`, which the wire calls uuid (spec remaphore 3). It has nothing to do with RFC 4122."""

import hashlib

UUID_BYTES_MAX = 12
"""Longer names are hashed; also the length of a random value."""


def from_name(name: bytes) -> bytes:
    """The uuid bytes of a name that is not empty; applying it twice changes nothing.

    Args:
        name: the argument of `-u`, in bytes. Hexadecimal is not decoded.
    """
    return name if len(name) <= UUID_BYTES_MAX else hashlib.sha256(name).digest()[:UUID_BYTES_MAX]
