"""Counts what is dropped after it was stored, and tells whoever sent it. It refuses to know where it was stored."""

from relay.mailboxes import Why
from relay.metrics import Metrics
from relay.switch import EXPIRED
from relay.telling import Telling
from rmb_peer.protocol.envelope import Envelope, parse_envelope
from rmb_peer.protocol.errors import InvalidPayloadData


class Dropping:
    """What hears of everything that is dropped."""

    def __init__(self, telling: Telling, metrics: Metrics, retain_age_s: int) -> None:
        """Set up.

        Args:
            telling: tells requesters.
            metrics: counts.
            retain_age_s: longest time that anything waits.
        """
        self._telling = telling
        self._metrics = metrics
        self._texts: dict[Why, str] = {
            "expired": EXPIRED.text,
            "age": f"message dropped: no message waits for more than {retain_age_s} s at this relay",
            "cap": "message dropped: the mailbox of its receiver was full, and newer messages came",
        }

    def gone(self, envelope: Envelope, why: Why) -> None:
        """An envelope was dropped."""
        self._metrics.dropped[why] += 1
        self._telling.tell_soon(envelope, self._texts[why])

    def made_room(self, data: bytes) -> None:
        """An entry was dropped for a newer one; see `mailboxes.OnDropped`."""
        try:
            envelope = parse_envelope(data)
        except InvalidPayloadData:
            envelope = Envelope()  # somebody else put it there: nobody can be told
        self.gone(envelope, "cap")
