"""When a ping may be answered: once every message that came before it has been dealt with.

A relay of ours forgets what it delivered when a ping that it sent afterwards is answered (`heartbeat`), and a gateway
of ours what it sent. Answered at once, as WebSocket libraries do, the pong says "read from the socket"; whoever is
killed then loses what it had read. Held back until the messages are in the lists of the local programs, or in
mailboxes, it says "safe". Other programs do not mind.

Pure: the driver reports messages and pings in the order in which they came, and sends the pongs.
"""

PINGS_HELD_MAX = 16
"""Pings kept; of more only the latest are answered, as RFC 6455, 5.5.3, allows. Ours come one at a time."""


class HeldPongs:
    """The pings of one connection that wait for an answer. Messages are numbered from 1."""

    def __init__(self) -> None:
        """Begin with a connection that was just made."""
        self._done_up_to = 0
        self._done_beyond: set[int] = set()
        self._held_up_to = 0
        self._pings: list[tuple[int, bytes]] = []

    def pinged(self, messages_before: int, payload: bytes) -> None:
        """A ping came, after this many messages."""
        if len(self._pings) == PINGS_HELD_MAX:
            del self._pings[0]
        self._pings.append((messages_before, payload))

    def dealt_with(self, number: int) -> None:
        """A message has been delivered, or it is settled that it will not be. Any order; each number once."""
        self._done_beyond.add(number)
        while self._done_up_to + 1 in self._done_beyond:
            self._done_up_to += 1
            self._done_beyond.remove(self._done_up_to)

    def hold_no_longer(self, messages_before: int) -> None:
        """Answer pings that came after so many messages, or fewer, whatever has become of those."""
        self._held_up_to = max(self._held_up_to, messages_before)

    def answerable(self) -> bool:
        """Whether `take_answerable` would return anything."""
        return bool(self._pings) and self._pings[0][0] <= max(self._done_up_to, self._held_up_to)

    def take_answerable(self) -> list[bytes]:
        """The payloads of the pings that may be answered now, oldest first; each is returned once."""
        payloads = []
        while self.answerable():
            payloads.append(self._pings.pop(0)[1])
        return payloads
