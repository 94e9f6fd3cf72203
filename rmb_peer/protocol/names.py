"""Names that decide where something lands: commands, which become Redis keys, and relays (spec rmb 7.2, 10.6)."""

import re
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
_RELAY = re.compile(r"(?:[a-z0-9_]([a-z0-9_.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")


def check_command(command: str) -> None:
    """Refuse commands that must not become the list `msgbus.<command>`.

    Raises:
        CommandRefused: empty, too long, with control characters, or naming a gateway's own queues.
    """
    if not command:
        raise CommandRefused("command refused: it is empty")
    if len(command) > COMMAND_CHARS_MAX:
        raise CommandRefused(f"command refused: longer than {COMMAND_CHARS_MAX} characters")
    if any(ord(c) < 0x20 or ord(c) == 0x7F for c in command):
        raise CommandRefused("command refused: it contains control characters")
    if command.split(".", 1)[0] in _RESERVED:
        raise CommandRefused(f"command refused: '{command}' names a queue of the gateway itself")


def normalize_relay(name: str) -> str:
    """A relay's name as records hold it: lower case `host` or `host:port`.

    Raises:
        BadRequest: it is neither.
    """
    text = name.strip().lower()
    if len(text) > RELAY_CHARS_MAX or not _RELAY.fullmatch(text) or ".." in text:
        raise BadRequest(f"{name[:80]!r} is not a relay: expected host or host:port")
    return text


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
        BadRequest: no `ws://` or `wss://` URL with a host.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadRequest(f"{url!r} is not a relay URL: expected ws://host[:port] or wss://host[:port]") from None
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise BadRequest(f"{url!r} is not a relay URL: expected ws://host[:port] or wss://host[:port]")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    own_port = 443 if parts.scheme == "wss" else 80
    return normalize_relay(host if port in (None, own_port) else f"{host}:{port}")


def join_relays(relays: frozenset[str]) -> str:
    """The text form on tfchain: lower case, sorted, without repeats, joined by `_` (spec rmb 7.2)."""
    return "_".join(sorted(relays))


def split_relays(text: str) -> frozenset[str]:
    """Read the text form of a record; order, case and repeats do not count."""
    return frozenset(part for part in text.lower().split("_") if part)
