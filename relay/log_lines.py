"""Log lines about envelopes and sessions, made safe: strangers choose what is in them."""

import logging

from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.envelope import Envelope, destination_of, source_of

UID_CHARS_LOGGED_MAX = 64
"""Senders choose their uids; a log line need not hold more of one."""

_LOG = get_logger("relay")


def log_routed(envelope: Envelope, how: str, reason: str | None = None) -> None:
    """The line that tracing follows: where an envelope went."""
    if not _LOG.isEnabledFor(logging.DEBUG):
        return
    event(
        _LOG,
        logging.DEBUG,
        "routed",
        uid=envelope.uid[:UID_CHARS_LOGGED_MAX],
        source=printable(source_of(envelope)),
        destination=printable(destination_of(envelope)),
        kind=envelope.WhichOneof("message") or "none",
        how=how,
        reason=reason,
    )


def printable(address: Address) -> str:
    """An address for logs: session ids are chosen by strangers and may hold line breaks, or be long."""
    text = str(address)[:UID_CHARS_LOGGED_MAX]
    return text if text.isprintable() else ascii(text)
