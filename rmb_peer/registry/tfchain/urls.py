"""URLs of nodes: which are ones, and how they are shown. Pure."""

from urllib.parse import urlsplit

from rmb_peer.protocol.errors import BadRequest

NODES_MAX = 16
"""Nodes of one list. A guess: going through them takes minutes already when all are silent."""


def check_node_urls(urls: tuple[str, ...]) -> tuple[str, ...]:
    """Return these URLs, without repeats, if each can be one of a node.

    Raises:
        BadRequest: one cannot, or there are none or too many.
    """
    if not 1 <= len(urls) <= NODES_MAX:
        raise BadRequest(f"--substrate: give 1 to {NODES_MAX} URLs")
    for url in urls:
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("ws", "wss") and parts.hostname and parts.port != 0 and "@" not in parts.netloc
            usable = usable and url.isascii() and url.isprintable() and " " not in url and not parts.fragment
        except ValueError:
            usable = False
        if not usable:
            shown = repr(url[:80]) if "@" not in url else "what was given"  # it may hold a password
            raise BadRequest(
                f"--substrate: {shown} is no URL of a node: expected ws://host[:port] or wss://host[:port]"
            )
    return tuple(dict.fromkeys(urls))


def shown_url(url: str) -> str:
    """Scheme, host and port; path and query may hold somebody's key for a hosted node."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
