"""x"""

from typing import NamedTuple

from rmb_peer.protocol.gossip.messages import Message


class EntryLimits(NamedTuple):
    announcements: int
    ranges: int


def entry_limits(message_bytes_max: int, stamps: bool) -> EntryLimits:
    return EntryLimits(116, 100)


def largest_size(m: Message) -> int:
    return 0
