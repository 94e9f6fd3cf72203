"""Judges messages the moment they arrive (W7), so that a long-running command does not let the others grow too old."""

import time
from collections.abc import Callable

from rmb_peer.remaphore.core import wire
from rmb_peer.remaphore.core.envelopes import Refused, open_message
from rmb_peer.remaphore.core.filters import Filter
from rmb_peer.remaphore.core.seen import Full, SeenSet
from rmb_peer.remaphore.core.settings import Settings
from rmb_peer.remaphore.core.wire import Message
from rmb_peer.remaphore.notes import Notes

CLOCK_DESTINATION = b"**.remaphore-clock"
"""Addresses nobody, by section 8. Receivers of this program answer such a request with their time, and that is all."""

Accept = Callable[[Message, bytes], None]


class Intake:
    """From received bytes to messages that passed everything: signature, clock, filter, memory."""

    def __init__(
        self, settings: Settings, passing: Filter, notes: Notes, accept: Accept, asked_for_time: Accept | None = None
    ) -> None:
        """Nothing happens before `arrived` or `kept` is called.

        Args:
            settings: who the peers are.
            passing: which messages are wanted.
            notes: where refusals are told.
            accept: gets each wanted message once.
            asked_for_time: gets requests of `remaphore check`; they are ignored without it.
        """
        self._settings = settings
        self._passing = passing
        self._notes = notes
        self._accept = accept
        self._asked_for_time = asked_for_time
        self._seen = SeenSet()

    def arrived(self, encoded: bytes) -> None:
        """A message from the subject."""
        now_ns = time.time_ns()
        try:
            message = open_message(self._settings, encoded, now_ns)
            if message.verb == wire.REPLY_VERB:
                raise Refused("a reply is not a message")  # W15
            self._admit(message, encoded, message.time_ns + self._settings.allow_skew_ns, now_ns)
        except Refused as error:
            self._notes.log(f"Message error: {error}")

    def kept(self, encoded: bytes, stored_ns: int, retention_ns: int) -> None:
        """A message from the store; what the subject has brought already is not news.

        Args:
            encoded: the bytes.
            stored_ns: when the server stored them; the message must have been fresh then.
            retention_ns: how long ago that may be.
        """
        now_ns = time.time_ns()
        try:
            message = open_message(self._settings, encoded, stored_ns)
            if message.verb == wire.REPLY_VERB:
                raise Refused("a reply is not a message")
            until_ns = message.time_ns + retention_ns + self._settings.allow_skew_ns
            if now_ns <= until_ns:
                self._admit(message, encoded, until_ns, now_ns, quiet=True)
        except Refused as error:
            self._notes.log(f"Message error (kept): {error}")

    def _admit(self, message: Message, encoded: bytes, until_ns: int, now_ns: int, quiet: bool = False) -> None:
        clock = self._asked_for_time
        for_clock = message.wants_reply and message.destination == CLOCK_DESTINATION and not quiet
        if not (for_clock or self._passing.passes(message)):
            return
        try:
            new = self._seen.first_time(message.sender, message.signed_bytes(), until_ns, now_ns)
        except Full as error:
            raise Refused(str(error)) from None
        if not new:
            if not quiet:
                raise Refused("replay")
        elif for_clock:
            if clock is not None:
                clock(message, encoded)
        else:
            self._accept(message, encoded)
