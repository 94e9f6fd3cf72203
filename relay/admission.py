"""Who may sign in besides having a twin: everybody, those on a list, or whoever has a ticket.

A ticket is a text that the operator hands out; only its SHA-256 is kept here, so that a stolen file opens nothing. That
is enough because tickets are to be random (`openssl rand -hex 32`), unlike passwords. This module reads the files, and
refuses to know HTTP.
"""

import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from relay.switch import Refusal
from rmb_peer.protocol.address import TWIN_ID_MAX
from rmb_peer.protocol.errors import LocalError

Mode = Literal["open", "list", "ticket"]
MODES: tuple[Mode, ...] = ("open", "list", "ticket")

FILE_BYTES_MAX = 16 * 1024 * 1024
"""Of a file of twins or tickets; a guess: a million twins."""

TICKETS_MAX = 10_000
"""Each is compared at every sign-in; a guess: some milliseconds."""

TICKET_CHARS_MAX = 512
"""Longest ticket; a guess."""

RETRY_S = 60
"""When somebody who is not admitted may ask again; a guess: an operator has to act first."""

_HASH_CHARS = 64


class AdmissionFileBad(LocalError):
    """A file of twins or tickets cannot be used; the text says which line."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """Why somebody was let in.

    Attributes:
        ticket: the hash of the ticket; `None` when none was needed.
    """

    ticket: bytes | None = None


@dataclass(frozen=True, slots=True)
class Admission:
    """The rule, as it was last read.

    Attributes:
        mode: which rule.
        twins: those on the list; with tickets, those that need none.
        tickets: SHA-256 of each.
    """

    mode: Mode = "open"
    twins: frozenset[int] = frozenset()
    tickets: tuple[bytes, ...] = ()

    def admit(self, twin: int, ticket: str | None) -> Admitted | Refusal:
        """Decide on a twin that has signed in.

        Args:
            twin: who.
            ticket: what it presented.

        Returns:
            why it may stay, or why not.
        """
        if self.mode == "open" or twin in self.twins:
            return Admitted()
        if self.mode == "list":
            return not_admitted(f"twin {twin} is not on the list of this relay: ask its operator to be added")
        if ticket is None:
            return not_admitted(
                f"twin {twin} needs a ticket for this relay: ask its operator for one and give it to the gateway with "
                "--relay-ticket-file"
            )
        digest = hash_of(ticket)
        known = [hmac.compare_digest(digest, other) for other in self.tickets]  # all of them: no early end to measure
        if any(known):
            return Admitted(digest)
        return not_admitted("this ticket is not known to the relay: ask its operator for another")

    def still(self, twin: int, admitted: Admitted) -> bool:
        """Whether somebody who was let in earlier would be let in now."""
        if self.mode == "open" or twin in self.twins:
            return True
        return self.mode == "ticket" and admitted.ticket in self.tickets


def hash_of(ticket: str) -> bytes:
    """What the file holds for a ticket."""
    return hashlib.sha256(ticket.encode("utf-8", "surrogateescape")).digest()  # as headers are decoded


def not_admitted(text: str) -> Refusal:
    """The operator has not let this twin in."""
    return Refusal("not_admitted", text, 403, retry_after_ms=RETRY_S * 1000)


def read_admission(mode: Mode, twins: frozenset[int], twins_file: Path | None, ticket_file: Path | None) -> Admission:
    """Read the files and put the rule together.

    Raises:
        AdmissionFileBad: a file cannot be read, or a line of it makes no sense.
    """
    listed = _read_twins(twins_file) if twins_file else frozenset()
    return Admission(mode, twins | listed, _read_tickets(ticket_file) if ticket_file else ())


def parse_twin(text: str) -> int:
    """A twin id.

    Raises:
        ValueError: it is none.
    """
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or not 0 < int(text) <= TWIN_ID_MAX:
        raise ValueError(f"{text[:40]!r} is no twin id")
    return int(text)


def _read_twins(path: Path) -> frozenset[int]:
    twins = set()
    for number, words in _lines(path):
        try:
            twins.add(parse_twin(words[0]))
        except ValueError as error:
            raise AdmissionFileBad(f"{path}, line {number}: {error}: expected one per line") from None
    return frozenset(twins)


def _read_tickets(path: Path) -> tuple[bytes, ...]:
    tickets = []
    for number, words in _lines(path):
        try:
            tickets.append(bytes.fromhex(words[0]) if len(words[0]) == _HASH_CHARS else b"")
        except ValueError:
            tickets.append(b"")
        if not tickets[-1]:  # the line is not shown: it may be the ticket itself
            raise AdmissionFileBad(
                f"{path}, line {number} does not begin with the SHA-256 of a ticket (64 hex digits): make it with "
                "`printf %s TICKET | sha256sum`"
            )
    if len(tickets) > TICKETS_MAX:
        raise AdmissionFileBad(f"{path} has {len(tickets)} tickets: at most {TICKETS_MAX} are possible")
    return tuple(dict.fromkeys(tickets))


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Number and words of each line that says something; `#` begins a comment."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        text = data.decode()
    except OSError as error:
        raise AdmissionFileBad(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise AdmissionFileBad(f"{path} is not text") from None
    if len(data) > FILE_BYTES_MAX:
        raise AdmissionFileBad(f"{path} is larger than {FILE_BYTES_MAX} bytes")
    lines = ((number, line.partition("#")[0].split()) for number, line in enumerate(text.splitlines(), 1))
    return [(number, words) for number, words in lines if words]
