"""Argument list and environment of the command that a receiver runs (spec remaphore 12)."""

from collections.abc import Sequence

from rmb_peer.remaphore.core import base58
from rmb_peer.remaphore.core.durations import NS_PER_S
from rmb_peer.remaphore.core.text import without_controls
from rmb_peer.remaphore.core.wire import Message


def arguments(command: Sequence[bytes], message: Message) -> list[bytes]:
    """The command and its own arguments, then the verb, then the payload."""
    return [*command, message.verb, message.payload]


def environment(message: Message, matched_name: bytes | None) -> dict[bytes, bytes]:
    """All variables that the command sees; nothing is inherited."""
    whole_s = abs(message.time_ns) // NS_PER_S  # truncated toward zero, not floored
    variables = {
        b"REMAPHORE_SENDER": base58.encode(message.sender).encode(),
        b"REMAPHORE_VERB": message.verb,
        b"REMAPHORE_TIME": b"%d" % (whole_s if message.time_ns >= 0 else -whole_s),
        b"REMAPHORE_UUID": message.uuid.hex().encode(),
        b"REMAPHORE_MSG": message.payload,
    }
    if matched_name is not None:
        variables[b"REMAPHORE_DESTMATCH"] = matched_name
    return variables


def log_line(exit_code: int, argv: Sequence[bytes]) -> bytes:
    """The `Exec` line of section 16, with control characters escaped."""
    return b"Exec (%d): '%s'" % (exit_code, without_controls(b" ".join(argv)))
