"""Sends a request and prints the answers (spec remaphore 7, 14): `-r`."""

import asyncio
import hashlib
import secrets
import sys
import time
from typing import Any

from rmb_peer.remaphore.core import replies, subjects
from rmb_peer.remaphore.core.envelopes import Refused, open_reply
from rmb_peer.remaphore.core.settings import Peer, Settings
from rmb_peer.remaphore.core.text import to_text
from rmb_peer.remaphore.links import Connection, Dialer, LinkError, Lost
from rmb_peer.remaphore.notes import Notes
from rmb_peer.remaphore.patience import Patience
from rmb_peer.remaphore.sending import Outgoing, Sending, timed_out

TELL_AFTER_S = 5.0
"""Without `-t`, when it is said whom we wait for (W5)."""

REPLIES_MAX = 100_000
"""Remembered answers, against repeats; a guess."""


class Printer:
    """Writes to standard output, one write for each answer, so that answers are never mixed."""

    def __init__(self) -> None:
        self._separator = secrets.token_hex(16)
        self._out = None if sys.stdout is None else sys.stdout.buffer  # none: closed by whoever started us
        self._terminal = sys.stdout is not None and sys.stdout.isatty()
        self.count = 0

    def reply(self, name: bytes, payload: bytes) -> None:
        """Print an answer."""
        self._write(replies.printed(name, payload, self._separator, self._terminal))

    def text(self, name: bytes, text: bytes) -> None:
        """Print a text in the form of an answer, as it is."""
        self._write(replies.block(name, text, self._separator, self._terminal))

    def _write(self, block: bytes) -> None:
        if self._out is not None:
            self._out.write(block)
            self._out.flush()
        self.count += 1


class Answers:
    """Who has answered, and who is still expected."""

    def __init__(self, settings: Settings, expected: list[Peer], printer: Printer, notes: Notes) -> None:
        self._settings = settings
        self.expected = expected
        self._printer = printer
        self._notes = notes
        self._seen: set[bytes] = set()
        self.complete = asyncio.Event()
        self.failure: OSError | None = None

    def arrived(self, encoded: bytes) -> None:
        """Something came on the subject of the answers."""
        if self.complete.is_set():
            return  # once the last expected one is in, later ones are lost (section 7)
        try:
            message = open_reply(self._settings, encoded, time.time_ns())
        except Refused as error:
            self._notes.log(f"Message error: {error}")
            return
        digest = hashlib.sha256(encoded).digest()
        if digest in self._seen or len(self._seen) >= REPLIES_MAX:
            return  # R4: repeats to the byte are dropped
        self._seen.add(digest)
        peer = self._settings.peer(message.sender)
        assert peer is not None  # open_reply looked it up
        try:
            self._printer.reply(peer.destination, message.payload)
        except OSError as error:  # the reader of our output has gone
            self.failure = error
            self.complete.set()
        entry = next((entry for entry in self.expected if entry.public == message.sender), None)
        if entry is not None:
            self.expected.remove(entry)
        if not self.expected:
            self.complete.set()


async def request(outgoing: Outgoing, dialer: Dialer, timeout_ns: int, expected: list[Peer], notes: Notes) -> int:
    """`-r`: publish and print answers.

    Returns:
        0 if there was an answer, else 1.

    Raises:
        LinkError: the request could not be published.
        BrokenPipeError: nobody reads our output.
    """
    patience = Patience(timeout_ns)
    sending, printer = Sending(outgoing), Printer()
    answers = Answers(outgoing.settings, expected, printer, notes)
    telling = asyncio.ensure_future(_tell(answers, notes)) if patience.end_s is None else None
    try:
        while not answers.complete.is_set():
            limit_s = patience.end_s if sending.published else patience.publish_s
            connection = None
            try:
                async with asyncio.timeout_at(limit_s) as limit:
                    connection = await dialer.dial()
                    await _ask(sending, connection, answers, outgoing.settings)
                    limit.reschedule(patience.end_s)
                    await _wait(connection, answers)
            except Lost as error:
                notes.log(f"Connection lost: {error}")
            except TimeoutError:
                break
            finally:
                if connection is not None:
                    await connection.close()
    finally:
        if telling is not None:
            telling.cancel()
    if answers.failure is not None:
        raise answers.failure
    if not sending.published:
        raise LinkError(timed_out(dialer))
    return 0 if printer.count else 1


async def _ask(sending: Sending, connection: Connection, answers: Answers, settings: Settings) -> None:
    encoded = sending.encoded or sending.sign()
    await connection.subscribe(subjects.reply_subject(settings.subject, encoded), answers.arrived)
    if sending.published:
        await connection.flush()
    else:
        await sending.publish(connection)


async def _wait(connection: Connection, answers: Answers) -> None:
    complete = asyncio.ensure_future(answers.complete.wait())
    try:
        both: list[asyncio.Future[Any]] = [complete, connection.lost]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        complete.cancel()
    if not answers.complete.is_set():
        raise Lost(connection.why_lost)


async def _tell(answers: Answers, notes: Notes) -> None:
    await asyncio.sleep(TELL_AFTER_S)
    names = ", ".join(to_text(peer.destination) for peer in answers.expected)
    notes.say(f"waiting without a limit (no -t) for: {names}")
