"""Who is at the other end, by address: of a connection, or as a trusted proxy tells it. Pure.

`X-Forwarded-For` is a list that each proxy appends to, so its right end was written by the proxy nearest to us and its
left end by anybody. It is read from the right, as long as whoever wrote an entry is trusted, as real_ip_recursive of
nginx does it; without trusted proxies it is not read at all.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

IPV6_SITE_BITS = 64
"""One subscriber commonly holds all addresses of a /64 (RFC 6177)."""

LOOPBACK: tuple[Network, ...] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))

HOPS_MAX = 16
"""Entries of `X-Forwarded-For` that are read; a guess: nobody has as many proxies."""


def parse_network(text: str) -> Network:
    """An address or a network in CIDR form.

    Raises:
        ValueError: it is neither; the text says what is expected.
    """
    try:
        return ipaddress.ip_network(text.strip())
    except ValueError as error:
        raise ValueError(
            f"{text[:80]!r} is no network: expected for example 10.0.0.0/8, 192.0.2.7 or fd00::/8 ({error})"
        ) from None


def read_address(text: str) -> IpAddress | None:
    """An IP address as text, with or without port, brackets or zone; IPv4 within IPv6 becomes IPv4."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def site_of(address: str) -> str:
    """Whom an address stands for: itself, with IPv6 all of its /64; any other text stands for itself."""
    ip = read_address(address)
    if ip is None:
        return address
    if ip.version == 6:
        return str(ipaddress.ip_network((ip, IPV6_SITE_BITS), strict=False))
    return str(ip)


def within(address: IpAddress | None, networks: Iterable[Network]) -> bool:
    """Whether an address is in one of these networks."""
    return address is not None and any(address in network for network in networks)


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks.

    Attributes:
        address: an IP address; what the transport says when it is none.
        secure: whether it asks over TLS.
        proxied: whether a trusted proxy said so.
    """

    address: str
    secure: bool
    proxied: bool


def client_of(
    peer: str, secure: bool, forwarded_for: Sequence[str], forwarded_proto: Sequence[str], trusted: Sequence[Network]
) -> Client:
    """Who asks.

    Args:
        peer: address at the other end of the connection.
        secure: whether the connection itself is TLS.
        forwarded_for: values of the headers `X-Forwarded-For`, in order.
        forwarded_proto: values of the headers `X-Forwarded-Proto`, in order.
        trusted: proxies that are believed.
    """
    if not within(read_address(peer), trusted):
        return Client(peer, secure, proxied=False)
    protocols = [part.strip().lower() for text in forwarded_proto for part in text.split(",")]
    if protocols:
        secure = protocols[-1] in ("https", "wss")
    hops = [part.strip() for text in forwarded_for for part in text.split(",")]
    farthest = peer
    for hop in reversed(hops[-HOPS_MAX:]):
        address = read_address(hop)
        if address is None:  # a trusted proxy wrote something that is no address, such as `unknown`
            break
        farthest = str(address)
        if not within(address, trusted):
            break
    return Client(farthest, secure, proxied=farthest is not peer)
