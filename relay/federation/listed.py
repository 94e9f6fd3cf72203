"""Relays that cannot sign and are let in all the same, because the operator says so: recognised by their address.

`--federation-from NAME` means the addresses that DNS has for the name; `NAME=NETWORK` means these networks and no DNS,
for relays that post from other addresses than they listen on. An address is a weaker proof than a signature: whoever
can post from it is believed.

This module refuses to know what a listed relay may do.
"""

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from relay.client_address import IpAddress, Network, read_address
from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.names import normalize_relay

Resolve = Callable[[str], Awaitable[Iterable[str]]]
"""The addresses of a host; raises `OSError` when it has none, or nobody answers."""

RESOLVED_S = 300.0
"""How long an answer of DNS counts; common for records of servers."""

AGAIN_S = 30.0
"""An address that fits no name may be the new one of a listed relay: names are asked for again, this often at most."""

RESOLVE_S_MAX = 5.0
"""How long an answer is waited for; the default of resolvers."""

_LOG = get_logger("relay.federation")


@dataclass(frozen=True, slots=True)
class Listed:
    """One relay of the list.

    Attributes:
        name: normalised.
        networks: where it posts from; none means the addresses of its name.
    """

    name: str
    networks: tuple[Network, ...] = ()


def parse_listed(text: str) -> Listed:
    """Read `NAME` or `NAME=NETWORK[,NETWORK...]`; a network is an address or has the form 192.0.2.0/24.

    Raises:
        BadRequest: the name is none.
        ValueError: a network is none; the text says what is expected.
    """
    name, equals, networks = text.partition("=")
    return Listed(normalize_relay(name), tuple(map(_network, networks.split(","))) if equals else ())


async def resolve(host: str) -> list[str]:
    """The addresses of a host, by the system's resolver.

    Raises:
        OSError: it has none, or nobody answers.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label that DNS cannot hold
        raise OSError(str(error)) from error
    return [str(sockaddr[0]) for *_, sockaddr in found]


class ListedRelays:
    """Finds the listed relay that an address belongs to."""

    def __init__(self, listed: Sequence[Listed], clock: Callable[[], float], find: Resolve = resolve) -> None:
        """Set up; nothing is asked before an address has to be recognised.

        Args:
            listed: what the operator gave.
            clock: seconds of a monotonic clock.
            find: the addresses of a host.
        """
        self._networks = [(relay.name, network) for relay in listed for network in relay.networks]
        self._names = [relay.name for relay in listed if not relay.networks]
        self._clock = clock
        self._find = find
        self._addresses: dict[str, frozenset[IpAddress]] = {}
        self._asked_at: float | None = None
        self._asking = asyncio.Lock()

    async def named(self, address: str) -> str | None:
        """The name of the listed relay that posts from this address; `None` if there is none."""
        ip = read_address(address)
        if ip is None:
            return None
        for name, network in self._networks:
            if ip in network:
                return name
        if not self._names:
            return None
        async with self._asking:  # one question at a time, whatever posts meanwhile
            found = self._by_dns(ip)
            if self._asked_at is None or self._clock() - self._asked_at >= (RESOLVED_S if found else AGAIN_S):
                await asyncio.gather(*map(self._ask, self._names))
                self._asked_at = self._clock()
                found = self._by_dns(ip)
            return found

    def _by_dns(self, ip: IpAddress) -> str | None:
        return next((name for name in self._names if ip in self._addresses.get(name, ())), None)

    async def _ask(self, name: str) -> None:
        """What was known stays known while nobody answers: an outage of DNS must not become one of the relay."""
        try:
            async with asyncio.timeout(RESOLVE_S_MAX):
                found = await self._find(urlsplit(f"//{name}").hostname or name)
        except OSError as error:  # TimeoutError is one
            text = str(error) or f"no answer within {RESOLVE_S_MAX:g} s"
            event(_LOG, logging.WARNING, "the address of a listed relay is not known", relay=name, reason=text)
            return
        self._addresses[name] = frozenset(ip for text in found if (ip := read_address(text)) is not None)


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text.strip())
    except ValueError as error:
        raise ValueError(
            f"{text[:80]!r} is no network: expected for example 192.0.2.7, 10.0.0.0/8 or fd00::/8 ({error})"
        ) from None
