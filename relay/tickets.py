"""Where a client puts its token and its ticket. Pure but for the request that it reads.

The ticket comes in the header `RMB-Ticket`; a client that cannot set headers, such as a browser, appends `&ticket=…`
to the token in the query, where proxies may log it. A token holds no `&`, so that other queries mean what they always
meant.
"""

from urllib.parse import unquote

from aiohttp import web

from relay.admission import TICKET_CHARS_MAX
from rmb_peer.transport.refused import TICKET_HEADER

_IN_QUERY = "&ticket="


def token_of(request: web.Request) -> str:
    """The token in the query: all of it, but for a ticket."""
    return _query(request).partition(_IN_QUERY)[0]


def ticket_of(request: web.Request) -> str | None:
    """The ticket that a client presents; the header wins. One that is too long is none."""
    ticket = request.headers.get(TICKET_HEADER, "").strip() or unquote(_query(request).partition(_IN_QUERY)[2])
    return ticket if 0 < len(ticket) <= TICKET_CHARS_MAX else None


def _query(request: web.Request) -> str:
    return request.raw_path.partition("?")[2]
