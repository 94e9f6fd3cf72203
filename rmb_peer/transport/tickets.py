"""Tickets for relays that admit only who has one: from a file or the environment to what each relay is shown.

A ticket is shown to the relay that it is for and to no other. It goes out in a header (`refused.TICKET_HEADER`), over
rmb.1 and rmb.2 alike, and is in no log line and no error text.
"""

import logging
import os
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.errors import BadRequest
from rmb_peer.protocol.names import relay_of_url

TICKET_VARIABLE = "RMB_RELAY_TICKET"
"""Environment variable that may hold a ticket, or what the file would hold."""

FILE_BYTES_MAX = 64 * 1024
"""A guess; four relays need less than 3 KiB."""

TICKET_CHARS_MAX = 512
"""What relays of ours read."""

_LOG = get_logger("link")


class Tickets:
    """The ticket for each relay. The file is read again for each attempt to connect, so that a new ticket is used."""

    def __init__(self, file: Path | None, relays: Sequence[str]) -> None:
        """Read what there is.

        Args:
            file: lines of a relay's name and its ticket, or with one relay the ticket alone; `None` means that the
                environment variable holds it, or that there is none.
            relays: URLs of all relays.

        Raises:
            BadRequest: the file cannot be used; says why, and never shows a ticket.
        """
        self._file = file
        self._relays = tuple(relays)
        self._tickets = self._read()
        for url in self._relays:
            if relay_of_url(url) in self._tickets and not _is_private(url):
                event(_LOG, logging.WARNING, "the ticket goes to this relay without TLS: use wss://", relay=url)

    def of(self, url: str) -> str | None:
        """The ticket for the relay with this URL."""
        if self._file is not None:
            try:
                self._tickets = self._read()
            except BadRequest as error:
                event(_LOG, logging.WARNING, "ticket cannot be read again, the last one is used", reason=str(error))
        return self._tickets.get(relay_of_url(url))

    def _read(self) -> dict[str, str]:
        if self._file is None:
            return _parse(os.environ.get(TICKET_VARIABLE, ""), TICKET_VARIABLE, self._relays)
        try:
            with self._file.open("rb") as file:
                data = file.read(FILE_BYTES_MAX + 1)
        except OSError as error:
            raise BadRequest(f"cannot read the ticket file {self._file}: {error.strerror}") from None
        if len(data) > FILE_BYTES_MAX:
            raise BadRequest(f"the ticket file {self._file} is larger than {FILE_BYTES_MAX} bytes")
        try:
            return _parse(data.decode(), str(self._file), self._relays)
        except UnicodeDecodeError:
            raise BadRequest(f"the ticket file {self._file} is not text") from None


def check_ticket(ticket: str) -> str:
    """A ticket, if it can be one.

    Raises:
        BadRequest: it has characters that no header can carry, or too many.
    """
    if not (ticket.isascii() and ticket.isprintable()) or not 0 < len(ticket) <= TICKET_CHARS_MAX:
        raise BadRequest(f"a ticket is at most {TICKET_CHARS_MAX} ASCII characters")
    return ticket


def _parse(text: str, origin: str, relays: Sequence[str]) -> dict[str, str]:
    tickets = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) == 1 and len(relays) == 1:
            words = [relay_of_url(relays[0]), *words]
        if len(words) != 2:
            raise BadRequest(
                f"{origin}, line {number}: expected the name of a relay and its ticket, as HOST[:PORT] TICKET"
            )
        try:
            tickets[words[0].lower()] = check_ticket(words[1])
        except BadRequest as error:
            raise BadRequest(f"{origin}, line {number}: {error}") from None
    return tickets


def _is_private(url: str) -> bool:
    """Whether nobody else can read what goes there: TLS, or this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        return parts.scheme == "wss" or ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
