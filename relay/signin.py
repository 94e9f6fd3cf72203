"""Who may open a connection: the token in the query string (spec rmb 4.2, 4.3), or in a header.

It refuses to know WebSockets.
"""

from collections.abc import Collection

from rmb_peer.protocol.address import Address
from rmb_peer.protocol.token import InvalidToken, parse_token
from rmb_peer.registry.base import RegistryUnavailable
from rmb_peer.registry.lookup import TwinLookup


class SignInRefused(Exception):
    """No.

    Attributes:
        status: of the HTTP answer.
        text: its body.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


_NAMES_SHOWN_MAX = 5


async def sign_in(query: str, lookup: TwinLookup, now_s: int, names: Collection[str] = ()) -> Address:
    """Rows 1 to 7 of spec rmb 4.3, in that order.

    Args:
        query: the raw query string, which is the whole token.
        lookup: gives the account that the token's signature is checked with.
        now_s: Unix seconds.
        names: of this relay; a token that is made out to another one opens nothing here.

    Returns:
        twin and session that may be connected.

    Raises:
        SignInRefused: with status and body.
    """
    if not query:
        raise SignInRefused(400, "missing jwt")
    try:
        token = parse_token(query)
        token.check_time(now_s)
        if token.audience is not None and token.audience not in names:
            shown = ", ".join(sorted(names)[:_NAMES_SHOWN_MAX]) or "no name at all"
            raise InvalidToken(f" is made out to another relay; this one is known as {shown}")
        twin_id = token.owner.twin
        try:
            twin = await lookup.get(twin_id)
        except RegistryUnavailable as error:
            raise SignInRefused(500, f"failed to get twin: {error.detail}") from None
        if twin is None:
            raise SignInRefused(401, f"twin not found {twin_id}")
        token.verify(twin.account)
    except InvalidToken as error:
        raise SignInRefused(401, str(error)) from None
    return token.owner


async def sign_in_by_header(token: str, lookup: TwinLookup, now_s: int, names: Collection[str]) -> Address:
    """The same for a token in `Authorization: Bearer`; it has to be made out to this relay.

    The header is new, so nobody needs it to be lax: a relay that gets such a token cannot use it at another one (spec
    rmb 10.12).

    Raises:
        SignInRefused: with status and body.
    """
    try:
        if token and parse_token(token).audience is None:
            raise InvalidToken(" in a header must name the relay it is for, as `aud`")
    except InvalidToken as error:
        raise SignInRefused(401, str(error)) from None
    return await sign_in(token, lookup, now_s, names)
