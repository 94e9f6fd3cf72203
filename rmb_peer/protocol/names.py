"""Names that decide where something lands: commands, which become Redis keys, and relays (spec rmb 7.2, 10.6)."""

import re
from ipaddress import IPv6Address
from urllib.parse import urlsplit

from rmb_peer.protocol.errors import BadRequest, CommandRefused

COMMAND_CHARS_MAX = 255
"""A guess: several times the longest command of the existing network."""

RELAYS_MAX = 4
"""Relays of one gateway (spec rmb 7.3)."""

RELAY_CHARS_MAX = 253
"""A DNS name has at most 253 characters (RFC 1035)."""

BUILTIN_PREFIX = "rmb."
"""Commands that a gateway answers itself (spec rmb 5.8)."""

_RESERVED = ("system", "backlog")
_UNUSABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # controls, and what cannot be written as UTF-8
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"  # RFC 1123, and `_` as in names of containers
_RELAY = re.compile(rf"(?P<host>{_LABEL}(?:\.{_LABEL})*|\[(?P<ipv6>[0-9a-f:]+)\])(?P<port>:[1-9][0-9]{{0,4}})?")
_PORT_MAX = 65535
_ON_TFCHAIN = re.compile(r"[a-z0-9.-]+")


def check_command(command: str) -> None:
    """Refuse commands that must not become the list `msgbus.<command>`.

    Raises:
        CommandRefused: empty, too long, with control characters or lone surrogates, or naming a gateway's own queues.
    """
    if not command:
        raise CommandRefused("command refused: it is empty")
    if len(command) > COMMAND_CHARS_MAX:
        raise CommandRefused(f"command refused: longer than {COMMAND_CHARS_MAX} characters")
    if _UNUSABLE.search(command):
        raise CommandRefused("command refused: it contains control characters")
    if command.split(".", 1)[0] in _RESERVED:
        raise CommandRefused(f"command refused: '{command}' names a queue of the gateway itself")


def normalize_relay(name: str) -> str:
    """A relay's name as records hold it: lower case `host` or `host:port`, so that one relay has one name.

    International names are wanted in their ASCII form (`xn--…`), without the dot at the end that DNS allows; IPv6
    addresses stand in brackets.

    Raises:
        BadRequest: it is neither.
    """
    text = name.strip()
    # ASCII first: `lower()` turns some other letters, such as the Kelvin sign, into ASCII ones.
    match = _RELAY.fullmatch(text.lower()) if len(text) <= RELAY_CHARS_MAX and text.isascii() else None
    try:
        if match is None or int((match["port"] or ":1")[1:]) > _PORT_MAX:
            raise ValueError
        host = match["host"] if match["ipv6"] is None else f"[{_ipv6(match['ipv6'])}]"
    except ValueError:
        raise BadRequest(
            f"{name[:80]!r} is not a relay: expected host or host:port (ASCII, no dot at the end)"
        ) from None
    return host + (match["port"] or "")


def _ipv6(text: str) -> str:
    address = IPv6Address(text)
    if address.ipv4_mapped is not None:  # Python versions write these differently, and records are signed as written
        raise ValueError
    return str(address)


def relay_set(names: list[str] | tuple[str, ...]) -> frozenset[str]:
    """`normalize_relay` for each, without repeats.

    Raises:
        BadRequest: one of them is no relay name, or there are too many.
    """
    relays = frozenset(normalize_relay(name) for name in names)
    if len(relays) > RELAYS_MAX:
        raise BadRequest("the number of relays should not exceed 4")
    return relays


def relay_of_url(url: str) -> str:
    """The name under which a record lists the relay behind a WebSocket URL: its host, and the port unless it is the
    scheme's own.

    Raises:
        BadRequest: no `ws://` or `wss://` URL with a host, or one with a user's name or password in it.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts = None
    if parts is None or parts.scheme not in ("ws", "wss") or not parts.hostname or "@" in parts.netloc:
        shown = repr(url[:80]) if "@" not in url else "what was given"  # it may hold a password
        raise BadRequest(f"{shown} is not a relay URL: expected ws://host[:port] or wss://host[:port]")
    host = f"[{parts.hostname}]" if "[" in parts.netloc else parts.hostname
    own_port = 443 if parts.scheme == "wss" else 80
    return normalize_relay(host if port in (None, own_port) else f"{host}:{port}")


def join_relays(relays: frozenset[str]) -> str:
    """The text form on tfchain: lower case, sorted, without repeats, joined by `_` (spec rmb 7.2).

    Raises:
        BadRequest: a name that the chain refuses, or that would be read back as another: with a port or a `_`.
    """
    for relay in sorted(relays):
        if not _ON_TFCHAIN.fullmatch(relay):
            raise BadRequest(f"{relay!r} cannot be stored on tfchain: expected a host of letters, digits, - and dots")
    return "_".join(sorted(relays))


def split_relays(text: str) -> frozenset[str]:
    """Read the text form of a record; order, case and repeats do not count."""
    return frozenset(part for part in text.lower().split("_") if part)
