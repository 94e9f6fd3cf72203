"""How a relay proves its name when it opens a lasting link. Pure: randomness and time come in.

The upgrade carries the `Authorization` header of a post (`signature`) and

    RMB-Nonce: <32 hex digits>

What is signed is the nonce instead of a body, for another purpose. Without it, two links that one relay opens within a
second would have the same signature, and the second would be taken for a replay of the first. The nonce is ours, rather
than `Sec-WebSocket-Key`, because web servers between two relays may make a WebSocket of their own.
"""

import re
from collections.abc import Mapping

from relay.federation.signature import LINK, BadPostSignature, sign_post
from relay.identity import RelayIdentity

NONCE_HEADER = "RMB-Nonce"
NONCE_BYTES = 16
"""Two of them are never the same (2^64 links from one relay within two minutes)."""

_NONCE = re.compile(r"[0-9a-f]{32}")


def sign_link(
    identity: RelayIdentity, from_domain: str, to_domain: str, nonce: bytes, now_s: float
) -> Mapping[str, str]:
    """The headers that make an upgrade ours.

    Args:
        identity: our key.
        from_domain: the name that we go by, normalised.
        to_domain: the relay that the link goes to, under the name by which records list it, normalised.
        nonce: `NONCE_BYTES` random bytes.
        now_s: Unix seconds.
    """
    assert len(nonce) == NONCE_BYTES
    return {**sign_post(identity, from_domain, to_domain, nonce, now_s, LINK), NONCE_HEADER: nonce.hex()}


def parse_nonce(header: str | None) -> bytes:
    """Read the nonce of an upgrade.

    Raises:
        BadPostSignature: it is missing or malformed.
    """
    text = (header or "").strip(" \t")
    if not _NONCE.fullmatch(text):
        raise BadPostSignature(f"{NONCE_HEADER} must be {2 * NONCE_BYTES} hex digits in lower case")
    return bytes.fromhex(text)
