"""Which messages a receiver handles (spec remaphore 11), and the name by which one was addressed (section 12)."""

from dataclasses import dataclass

from rmb_peer.remaphore.core.wildcards import matches
from rmb_peer.remaphore.core.wire import Message


@dataclass(frozen=True, slots=True)
class Filter:
    """All conditions must hold; an empty one is none.

    Attributes:
        uuid: `-u`, after the rule of section 3.
        verbs: `-v`; any of them. `*` is a literal.
        sender: `-p`.
        own_name: the configured destination.
        other_name: `-D`.
        any_destination: `-d`.
    """

    own_name: bytes
    uuid: bytes = b""
    verbs: tuple[bytes, ...] = ()
    sender: bytes = b""
    other_name: bytes = b""
    any_destination: bool = False

    def passes(self, message: Message) -> bool:
        """Whether the message is for us."""
        return (
            (not self.uuid or message.uuid == self.uuid)
            and (not self.verbs or message.verb in self.verbs)
            and (not self.sender or message.sender == self.sender)
            and self._addressed(message.destination)
        )

    def _addressed(self, destination: bytes) -> bool:
        if self.any_destination:
            return True
        if self.other_name:
            return destination == self.other_name or matches(destination, self.other_name)  # R7: code and README
        return matches(destination, self.own_name)

    def matched_name(self, destination: bytes) -> bytes | None:
        """The value of `REMAPHORE_DESTMATCH`, if it is set."""
        if matches(destination, self.own_name):
            return self.own_name
        if self.other_name and self._addressed(destination):
            return self.other_name
        return None
