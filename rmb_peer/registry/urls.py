"""The URL of a relay-hosted registry, and the name that claims are made out to. It refuses to open connections."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from rmb_peer.protocol.errors import BadRequest
from rmb_peer.protocol.names import relay_of_url

REGISTRY_PATH = "/registry/v1"
"""Where a relay serves its registry."""

_WS_SCHEMES = {"http": "ws", "https": "wss"}
_HTTP_SCHEMES = {"ws": "http", "wss": "https"}


@dataclass(frozen=True, slots=True)
class RegistryUrl:
    """Where a relay-hosted registry is.

    Attributes:
        base: URL in front of `/twins`, without a slash at its end.
        audience: `host` or `host:port`, the port only when it is not the scheme's own.
    """

    base: str
    audience: str


def parse_registry_url(url: str) -> RegistryUrl:
    """Read `http(s)://host[:port][/registry/v1]`; a reverse proxy may put a folder in front of `/registry/v1`.

    Raises:
        BadRequest: it has another form; the text says which is expected.
    """
    expected = BadRequest(f"{url[:200]!r} is not a registry URL: expected http(s)://host[:port], file:PATH or relay:")
    try:
        parts = urlsplit(url)
        scheme = _WS_SCHEMES[parts.scheme]
        audience = relay_of_url(f"{scheme}://{parts.netloc}")
    except (ValueError, KeyError, BadRequest):
        raise expected from None
    if "@" in parts.netloc or parts.query or parts.fragment or not parts.path.isascii():
        raise expected
    path = parts.path.rstrip("/") or REGISTRY_PATH
    if not path.endswith(REGISTRY_PATH):
        raise expected
    return RegistryUrl(f"{parts.scheme}://{audience}{path}", audience)


def http_of_relay(relay_url: str) -> str:
    """The HTTP side of a relay's WebSocket URL: `http://host[:port]` for `ws://`, `https://` for `wss://`.

    Raises:
        BadRequest: no `ws://` or `wss://` URL with a host.
    """
    name = relay_of_url(relay_url)
    return f"{_HTTP_SCHEMES[urlsplit(relay_url).scheme]}://{name}"
