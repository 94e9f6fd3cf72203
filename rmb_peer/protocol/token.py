"""The token that opens a connection to a relay: a JWT whose `RS512` is only a label (spec rmb 4).

Built and parsed by hand: no JWT library allows a numeric `sub` together with this "algorithm".
"""

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

import orjson

from rmb_peer.protocol.address import TWIN_ID_MAX, Address
from rmb_peer.protocol.errors import InvalidSignature, PeerError
from rmb_peer.protocol.signatures import Signer, verify

TOKEN_LIFETIME_S = 60
"""What our gateway asks for; the shortest that existing clients use (Go SDK, spec rmb 4.2)."""

TOKEN_LIFETIME_S_MAX = 1200
"""Longest remaining lifetime a relay of ours accepts; the TypeScript SDK uses 1000 (spec rmb 10.12)."""

TOKEN_CHARS_MAX = 4096
"""A guess with room: the longest session id worth having needs a quarter of this."""

_ALGORITHM = "RS512"
_HEADER = b'{"alg":"RS512"}'
_U64_MAX = 2**64 - 1


class InvalidToken(PeerError):
    """A token that opens nothing. `str()` is the body of the 401 answer (spec rmb 4.3)."""

    code = 401

    def __init__(self, detail: str) -> None:
        super().__init__(f"invalid jwt: jwt{detail}")


@dataclass(frozen=True, slots=True)
class Token:
    """A parsed, not yet verified token. Its `repr` opens nothing.

    Attributes:
        owner: twin and session that it opens a connection for.
        issued_at_s, expires_at_s: Unix seconds.
        algorithm: the `alg` of the header.
        audience: the relay that it is made out to, `host[:port]`; `None` for any, as in tokens of other makes.
    """

    owner: Address
    issued_at_s: int
    expires_at_s: int
    algorithm: str
    audience: str | None
    _signed: bytes = field(repr=False)
    _signature: bytes = field(repr=False)

    def check_time(self, now_s: int) -> None:
        """Refuse an expired token, or one that would be valid for longer than anybody needs.

        Raises:
            InvalidToken: `now_s > expires_at_s`, or the rest of its life exceeds `TOKEN_LIFETIME_S_MAX`.
        """
        if now_s > self.expires_at_s:
            raise InvalidToken(" has expired")
        if self.expires_at_s - now_s > TOKEN_LIFETIME_S_MAX:
            raise InvalidToken(f" is valid for too long: at most {TOKEN_LIFETIME_S_MAX} seconds are accepted")

    def verify(self, account: bytes) -> None:
        """Check label and signature against the account of the twin it names.

        Raises:
            InvalidToken: rows 6 and 7 of spec rmb 4.3.
        """
        if self.algorithm != _ALGORITHM:
            found = self.algorithm.capitalize()
            raise InvalidToken(f": Expected algorithm type {found} but found Rs512")
        try:
            verify(self._signature, self._signed, account)
        except InvalidSignature:
            raise InvalidToken(": Invalid signature") from None


def make_token(
    signer: Signer, owner: Address, now_s: int, lifetime_s: int = TOKEN_LIFETIME_S, audience: str | None = None
) -> str:
    """A token for one connection of `owner`.

    Args:
        signer: key of the twin.
        owner: twin and session.
        now_s: Unix seconds.
        lifetime_s: seconds until it expires.
        audience: name of the only relay that shall accept it (RFC 7519, 4.1.3); others ignore unknown claims.
    """
    fields = {"sub": owner.twin, "sid": owner.session, "iat": now_s, "exp": now_s + lifetime_s}
    claims = orjson.dumps(fields if audience is None else {**fields, "aud": audience})
    signed = f"{_encode(_HEADER)}.{_encode(claims)}"
    return f"{signed}.{_encode(signer.sign(signed.encode()))}"


def parse_token(text: str) -> Token:
    """Take a token apart without trusting it.

    Raises:
        InvalidToken: row 2 of spec rmb 4.3, with its detail.
    """
    if len(text) > TOKEN_CHARS_MAX:
        raise InvalidToken(f": token is longer than {TOKEN_CHARS_MAX} characters")
    parts = text.split(".")
    for position, name in enumerate(("header", "claims", "signature")):
        if position >= len(parts) or (position == 0 and not parts[0]):
            raise InvalidToken(f": No {name} component found in token string")
    if len(parts) > 3:
        raise InvalidToken(": Too many components found in token string")
    header = _json_object(parts[0], "header")
    claims = _json_object(parts[1], "claims")
    algorithm = header.get("alg")
    session = claims.get("sid")
    if not isinstance(algorithm, str):
        raise InvalidToken(": invalid header: `alg` must be a string")
    if session is not None and not isinstance(session, str):
        raise InvalidToken(": invalid claims: `sid` must be a string or null")
    audience = claims.get("aud")
    if audience is not None and not isinstance(audience, str):
        raise InvalidToken(": invalid claims: `aud` must be a string")
    return Token(
        owner=Address(_integer(claims, "sub", TWIN_ID_MAX), session),
        issued_at_s=_integer(claims, "iat", _U64_MAX),
        expires_at_s=_integer(claims, "exp", _U64_MAX),
        algorithm=algorithm,
        audience=audience,
        _signed=f"{parts[0]}.{parts[1]}".encode(),
        _signature=_base64(parts[2], "signature"),
    )


def _integer(claims: dict[str, Any], name: str, most: int) -> int:
    value = claims.get(name)
    if type(value) is not int or not 0 <= value <= most:  # bool is an int to isinstance
        raise InvalidToken(f": invalid claims: `{name}` must be an integer from 0 to {most}")
    return value


def _json_object(part: str, name: str) -> dict[str, Any]:
    try:
        value = orjson.loads(_base64(part, name))
    except orjson.JSONDecodeError as error:
        raise InvalidToken(f": invalid {name}: {error}") from None
    if not isinstance(value, dict):
        raise InvalidToken(f": invalid {name}: expected a JSON object")
    return value


def _base64(part: str, name: str) -> bytes:
    try:
        return _decode(part)
    except binascii.Error as error:
        raise InvalidToken(f": invalid {name}: {error}") from None


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    """URL-safe base64 without padding.

    Raises:
        binascii.Error: any other character, a length that cannot be, or bits left over.
    """
    if not text.isascii() or "+" in text or "/" in text or "=" in text:
        raise binascii.Error("invalid base64 character")
    standard = text.replace("-", "+").replace("_", "/")
    raw = binascii.a2b_base64(standard + "=" * (-len(standard) % 4), strict_mode=True)
    if _encode(raw) != text:
        raise binascii.Error("invalid last base64 symbol")
    return raw
