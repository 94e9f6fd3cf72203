"""Whether a feed has looked into its mailbox since a sender came: what direct handover needs with several processes.

A sender may have been connected to another process a moment ago, and have been told there that an envelope is safe in
a mailbox. This process may not have heard of that entry yet. If it handed the sender's next envelope over from memory,
the two would change places. So every sender that comes while other processes are or may have been around gets a
number, and envelopes of his go past the mailbox only to feeds that have read it to its end after that number was given.

This module refuses to know who comes, and who reads.
"""

UNKNOWN = 2**62
"""The number of a sender about whom the store has not answered: no feed is as new."""


class Horizon:
    """Numbers in the order in which senders came.

    Attributes:
        now: the newest number; a feed takes it when it begins to read.
        floor: what a sender gets while this process is alone, as no other process has written since.
    """

    __slots__ = ("floor", "now")

    def __init__(self) -> None:
        """Begin where nobody else ever was."""
        self.now = 0
        self.floor = 0

    def next(self) -> int:
        """For a sender that may have been elsewhere."""
        self.now += 1
        return self.now

    def became_alone(self) -> None:
        """Others were here, and may have written; from now on nobody does."""
        self.floor = self.next()
