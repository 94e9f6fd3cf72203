"""Commands that a gateway answers itself (spec rmb 5.8). It refuses to know how answers travel."""

import orjson

from rmb_peer import __version__
from rmb_peer.protocol.envelope import Envelope
from rmb_peer.protocol.errors import UnknownBuiltin
from rmb_peer.protocol.names import BUILTIN_PREFIX

VERSION_LIFETIME_S = 300
"""Lifetime of the answer to rmb.version (spec rmb 5.8)."""


def is_built_in(command: str) -> bool:
    """Whether the text before the first dot of a command is `rmb`."""
    return command.startswith(BUILTIN_PREFIX) or command == BUILTIN_PREFIX[:-1]


def answer(request: Envelope) -> Envelope:
    """The response to a built-in command.

    Raises:
        UnknownBuiltin: there is no such command; its sender is told, unlike in the Rust gateway (spec rmb 10.13).
    """
    command = request.request.command
    if command != "rmb.version":
        raise UnknownBuiltin(command)
    response = Envelope(uid=request.uid, expiration=VERSION_LIFETIME_S, schema="application/json")
    response.destination.CopyFrom(request.source)
    response.response.SetInParent()
    response.plain = orjson.dumps(__version__)
    return response
