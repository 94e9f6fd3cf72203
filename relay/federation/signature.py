"""How a relay signs what it posts to another one, and how that is checked. Pure: no I/O, the time comes in.

The request carries

    Authorization: RMB-Relay from="<domain>", to="<domain>", ts="<seconds>", sig="<base64>"

Relays that know nothing of it ignore it (spec rmb 6.8: posts are not authenticated there, which 10.9 lists as a
weakness). What is signed, with the ed25519 key of the relay that posts (`relay/identity.py`):

| Bytes | What |
|---|---|
| 15 | what it is for, `rmb-relay-post` and a zero byte, so that no other use of the key makes such a signature |
| 2 + n | length of `from` (unsigned, big-endian), then `from` in ASCII |
| 2 + n | the same for `to` |
| 8 | `ts`, Unix seconds (unsigned, big-endian) |
| 32 | BLAKE2b-256 (RFC 7693, without key) of the body |

`from` and `to` are names as records hold them (`normalize_relay`): lower case, `host` or `host:port`. `to` keeps a post
from being shown to a second relay; `ts` and the receiver's memory keep it from being shown twice.

The same header opens a lasting link (`link_signature`): another purpose of 15 bytes, so that neither signature can
stand in for the other.

Nothing here compares secrets: what is checked is public, and the library's signing takes the same time for every key.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from relay.identity import SIGNATURE_BYTES, RelayIdentity, signed_by
from rmb_peer.protocol.errors import BadRequest, PeerError
from rmb_peer.protocol.names import normalize_relay

HEADER = "Authorization"
SCHEME = "RMB-Relay"

CLOCK_S_MAX = 60
"""How far the clocks of two relays may be apart, either way; a guess: machines with NTP are apart by milliseconds."""

HEADER_CHARS_MAX = 1024
"""Two names of 253 characters, a time and a signature take 700."""

POST = b"rmb-relay-post\0"
LINK = b"rmb-relay-link\0"
"""What a signature is for."""

_NAMES = ("from", "to", "ts", "sig")
_PARAMETER = re.compile(r'[ \t]*([A-Za-z][A-Za-z0-9_-]{0,31})[ \t]*=[ \t]*"([^"\\\x00-\x1f\x7f]*)"[ \t]*(?:,|\Z)')
_TS = re.compile(r"0|[1-9][0-9]{0,11}")
_SIG_CHARS = 88  # base64 of 64 bytes


class BadPostSignature(PeerError):
    """A post whose signature cannot count. `str()` says why, in a form that may be shown to whoever sent it."""

    code = 401


@dataclass(frozen=True, slots=True)
class SignedPost:
    """What the header of a post claims; nothing of it is verified yet.

    Attributes:
        from_domain: the relay that posts, normalised.
        to_domain: the relay that it is for, normalised.
        ts_s: when it was signed, Unix seconds by the sender's clock.
        signature: 64 bytes.
    """

    from_domain: str
    to_domain: str
    ts_s: int
    signature: bytes

    def check_addressee(self, domains: frozenset[str]) -> None:
        """Refuse a post that is meant for another relay.

        Raises:
            BadPostSignature: it is.
        """
        if self.to_domain not in domains:
            names = ", ".join(sorted(domains))
            raise BadPostSignature(f"the signature is made out to {self.to_domain}; this relay is {names}")

    def check_time(self, now_s: float) -> None:
        """Refuse a post from another time.

        Args:
            now_s: Unix seconds by our clock.

        Raises:
            BadPostSignature: the clocks are more than `CLOCK_S_MAX` apart; the text names both times.
        """
        ours_s = int(now_s)
        apart_s = abs(self.ts_s - ours_s)
        if apart_s > CLOCK_S_MAX:
            side = "before" if self.ts_s < ours_s else "after"
            raise BadPostSignature(
                f"the signature's time, {_shown(self.ts_s)}, is {apart_s} s {side} this relay's, {_shown(ours_s)}; "
                f"at most {CLOCK_S_MAX} s are accepted: set the clock"
            )

    def is_signed_by(self, public_key: bytes, body: bytes, purpose: bytes = POST) -> bool:
        """Whether this relay's key signed this body under these names at this time.

        Args:
            public_key: of the relay that `from_domain` names.
            body: as it came.
            purpose: what the signature must be for.
        """
        message = signed_bytes(self.from_domain, self.to_domain, self.ts_s, body, purpose)
        return signed_by(public_key, message, self.signature)


def sign_post(
    identity: RelayIdentity, from_domain: str, to_domain: str, body: bytes, now_s: float, purpose: bytes = POST
) -> Mapping[str, str]:
    """The headers that make a post ours.

    Args:
        identity: our key.
        from_domain: the name that we go by: our first `--domain`, normalised.
        to_domain: the relay that the post goes to, under the name by which records list it, normalised.
        body: the envelope, exactly the bytes that will be sent.
        now_s: Unix seconds.
        purpose: what the signature is for.
    """
    ts_s = int(now_s)
    signature = base64.b64encode(identity.sign(signed_bytes(from_domain, to_domain, ts_s, body, purpose))).decode()
    return {HEADER: f'{SCHEME} from="{from_domain}", to="{to_domain}", ts="{ts_s}", sig="{signature}"'}


def signed_bytes(from_domain: str, to_domain: str, ts_s: int, body: bytes, purpose: bytes = POST) -> bytes:
    """What the signature covers; see the table above."""
    names = b"".join(len(name).to_bytes(2) + name.encode("ascii") for name in (from_domain, to_domain))
    return purpose + names + ts_s.to_bytes(8) + hashlib.blake2b(body, digest_size=32).digest()


def parse_header(header: str | None) -> SignedPost | None:
    """Read an `Authorization` header.

    Args:
        header: its value; `None` when there is none.

    Returns:
        what it claims; `None` when there is no header, or one of another scheme, which is none of our business.

    Raises:
        BadPostSignature: it is of our scheme and cannot be read.
    """
    scheme, _, rest = (header or "").strip(" \t").partition(" ")
    if scheme.lower() != SCHEME.lower():
        return None
    if len(rest) > HEADER_CHARS_MAX:
        raise BadPostSignature(f"the {SCHEME} header is longer than {HEADER_CHARS_MAX} characters")
    found = _parameters(rest)
    if missing := [name for name in _NAMES if name not in found]:
        raise BadPostSignature(f"the {SCHEME} header lacks {', '.join(missing)}")
    return SignedPost(
        _domain(found["from"], "from"), _domain(found["to"], "to"), _seconds(found["ts"]), _signature(found["sig"])
    )


def _parameters(text: str) -> dict[str, str]:
    """`name="value"` pairs (RFC 9110, 11.4, quoted and without escapes); names that we do not know are left alone."""
    found: dict[str, str] = {}
    position = 0
    while position < len(text):
        match = _PARAMETER.match(text, position)
        if match is None:
            raise BadPostSignature(f'the {SCHEME} header is malformed: expected name="value", ...')
        name = match[1].lower()
        if name in found:
            raise BadPostSignature(f"the {SCHEME} header gives {name} twice")
        found[name] = match[2]
        position = match.end()
    return found


def _domain(text: str, name: str) -> str:
    try:
        normal = normalize_relay(text)
    except BadRequest as error:
        raise BadPostSignature(f"{name} in the {SCHEME} header: {error}") from None
    if normal != text:
        raise BadPostSignature(f"{name} in the {SCHEME} header must be written as {normal!r}")
    return normal


def _seconds(text: str) -> int:
    if not _TS.fullmatch(text):
        raise BadPostSignature(f"ts in the {SCHEME} header is not a number of seconds")
    return int(text)


def _signature(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True) if len(text) == _SIG_CHARS else b""
    except (binascii.Error, ValueError):  # ValueError: not ASCII
        raw = b""
    if len(raw) != SIGNATURE_BYTES or base64.b64encode(raw).decode() != text:  # one spelling per signature
        raise BadPostSignature(f"sig in the {SCHEME} header is not the base64 of {SIGNATURE_BYTES} bytes")
    return raw


def _shown(seconds: int) -> str:
    """A time for people and for programs. A `ts` may be beyond the last year that a calendar here knows."""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ} ({seconds})"
    except (ValueError, OverflowError, OSError):
        return str(seconds)
