"""Where another relay is, and whether it may be spoken to at all. Pure.

Records of twins name relays, and anybody can write a record; so a name alone must not make this relay connect to
machines that only it can reach (spec rmb 10.9). What counts is the address in the end, so `check_address` is asked
again when a name has been resolved. This module refuses to know how names are resolved.
"""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from rmb_peer.protocol.errors import LocalError

LOOPBACK_NAMES = ("localhost", "localhost.localdomain")


class PlaceRefused(LocalError):
    """This relay is not spoken to. The text is fit for a remote requester."""


class Places:
    """Names into URLs."""

    def __init__(
        self,
        own: frozenset[str],
        *,
        places: Mapping[str, str] | None = None,
        allow: Iterable[str] = (),
        deny: Iterable[str] = (),
    ) -> None:
        """Set the rules.

        Args:
            own: the names of this relay, normalised. When one of them means "this very machine", it is a relay that
                somebody tries out, and it may speak to others like it.
            places: URLs of relays that are elsewhere than their name says; trusted.
            allow: patterns; when there are any, only names that match are spoken to, at any address.
            deny: patterns of names that are not.
        """
        self._own = own
        self._places = dict(places or {})
        self._allow = tuple(allow)
        self._deny = tuple(deny)
        self._trusted_hosts = {urlsplit(url).hostname for url in self._places.values()}
        self._at_home = any(_is_loopback(name) for name in own)

    def url(self, name: str) -> str:
        """The URL to post to: `https://<name>/`, or http on this machine (spec rmb 6.8).

        Args:
            name: of the relay, normalised.

        Raises:
            PlaceRefused: it must not be spoken to.
        """
        if name in self._own:
            raise PlaceRefused(f"{name} is this relay")
        if _matches(name, self._deny):
            raise PlaceRefused(f"this relay does not speak to {name}")
        if name in self._places:
            return self._places[name]
        if self._allow and not _matches(name, self._allow):
            raise PlaceRefused(f"this relay does not speak to {name}")
        host = host_of(name)
        address = _address(host)
        if address is not None:
            self.check_address(name, address)
        elif _is_loopback(name) and not (self._at_home or self._allow):
            raise PlaceRefused(f"{name} is no public relay")
        return f"http://{name}/" if _is_loopback(name) else f"https://{name}/"

    def check_address(self, name: str, address: IPv4Address | IPv6Address) -> None:
        """Refuse addresses that a public name has no business to have.

        Args:
            name: host, or host and port, that is connected to.
            address: what it was resolved to.

        Raises:
            PlaceRefused: loopback, private, link-local, multicast, reserved or unspecified, and nobody allowed it.
        """
        if host_of(name) in self._trusted_hosts or _matches(name, self._allow):
            return
        if self._at_home and address.is_loopback and _is_loopback(name):
            return
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        meant = _meant(mapped or address)
        if not meant.is_global or meant.is_multicast:
            raise PlaceRefused(f"{name} is at an address that is not public")


def host_of(name: str) -> str:
    """The host in a relay's name, without brackets."""
    return urlsplit(f"//{name}").hostname or ""


def _meant(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address inside one that a translator (NAT64, RFC 6052; 6to4, RFC 3056) takes apart."""
    if isinstance(address, IPv4Address):
        return address
    if address.sixtofour is not None:
        return address.sixtofour
    if int(address) >> 32 == 0x64FF9B << 64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _matches(name: str, patterns: Iterable[str]) -> bool:
    host = host_of(name)
    return any(fnmatchcase(name, pattern) or fnmatchcase(host, pattern) for pattern in patterns)


def _is_loopback(name: str) -> bool:
    host = host_of(name)
    if host in LOOPBACK_NAMES or host.endswith(".localhost"):  # RFC 6761, 6.3
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
