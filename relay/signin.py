"""Who may open a connection: the token in the query string (spec rmb 4.2, 4.3). It refuses to know WebSockets."""

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


async def sign_in(query: str, lookup: TwinLookup, now_s: int) -> Address:
    """Rows 1 to 7 of spec rmb 4.3, in that order.

    Args:
        query: the raw query string, which is the whole token.
        lookup: gives the account that the token's signature is checked with.
        now_s: Unix seconds.

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
