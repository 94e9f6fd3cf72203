"""How long, and how much, the relay keeps for those who are away: what the operator decides, and the flags for it.

The defaults are on, and an ordinary gateway never meets them: it takes what waits for it within seconds of connecting,
and its messages live half an hour at most (spec rmb 5.2). They bound what a stranger can make the relay hold (spec
rmb 10.5). This module refuses to know how anything is counted.
"""

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

RETAIN_AGE_S = 7 * 24 * 3600
"""Nothing waits longer, whatever lifetime its sender wrote. A guess: gateways give half an hour at most."""

RETAIN_COUNT = 10_000
"""Envelopes of one mailbox. Other relays trim to about this number (spec rmb 6.7)."""

RETAIN_BYTES = 128 * 1024 * 1024
"""Bytes of one mailbox; a guess: eight of the largest envelopes, or 10,000 of 13 kB."""

TWIN_COUNT = 100_000
"""Envelopes of all mailboxes of a twin; a guess: ten full ones."""

TWIN_BYTES = 512 * 1024 * 1024
"""Bytes of all mailboxes of a twin; a guess: four full ones."""

TWIN_MAILBOXES = 1000
"""Mailboxes of a twin in which something waits; a guess: browsers sign in with a new session id each time."""

STORED_BYTES = 4 * 1024 * 1024 * 1024
"""Bytes of the whole store; a guess: what a machine with 8 GB can keep in memory."""

WhenFull = Literal["refuse", "drop-oldest"]
"""What happens to what does not fit: it is refused, or older envelopes of the same mailbox make room."""


@dataclass(frozen=True, slots=True)
class Retention:
    """What is kept. All caps are inclusive: at the cap everything is kept, one more is too much.

    Attributes:
        age_s: longest time an envelope waits.
        count: envelopes of one mailbox.
        bytes: bytes of one mailbox.
        twin_count: envelopes of all mailboxes of a twin.
        twin_bytes: bytes of all mailboxes of a twin.
        twin_mailboxes: mailboxes of a twin in which something waits.
        stored_bytes: bytes of the whole store.
        when_full: what happens to an envelope that does not fit.
    """

    age_s: int = RETAIN_AGE_S
    count: int = RETAIN_COUNT
    bytes: int = RETAIN_BYTES
    twin_count: int = TWIN_COUNT
    twin_bytes: int = TWIN_BYTES
    twin_mailboxes: int = TWIN_MAILBOXES
    stored_bytes: int = STORED_BYTES
    when_full: WhenFull = "refuse"

    def value(self, limit: str) -> int:
        """How much a limit of `mailboxes.Limit` allows."""
        limits = {
            "count": self.count,
            "bytes": self.bytes,
            "twin_count": self.twin_count,
            "twin_bytes": self.twin_bytes,
            "mailboxes": self.twin_mailboxes,
            "store": self.stored_bytes,
        }
        return limits[limit]

    def well_known(self) -> dict[str, Any]:
        """What `/.well-known/rmb` tells of it."""
        return asdict(self)


def add_retention_flags(parser: argparse.ArgumentParser, positive: Callable[[str], int]) -> None:
    """The flags, as a group of their own.

    Args:
        parser: gets them.
        positive: reads a whole number above 0.
    """
    group = parser.add_argument_group("what is kept for those who are away")

    def add(flag: str, metavar: str, default: int, text: str) -> None:
        group.add_argument(flag, type=positive, metavar=metavar, default=default, help=f"{text} (default: %(default)s)")

    add("--retain-age", "SECONDS", RETAIN_AGE_S, "longest time a message waits, whatever lifetime it has")
    add("--retain-count", "COUNT", RETAIN_COUNT, "most messages that wait for one session")
    add("--retain-bytes", "BYTES", RETAIN_BYTES, "most bytes that wait for one session")
    add("--stored-count-per-twin", "COUNT", TWIN_COUNT, "most messages that wait for all sessions of a twin")
    add("--stored-bytes-per-twin", "BYTES", TWIN_BYTES, "most bytes that wait for all sessions of a twin")
    add("--mailboxes-per-twin", "COUNT", TWIN_MAILBOXES, "most sessions of a twin for which something waits")
    add("--stored-bytes", "BYTES", STORED_BYTES, "most bytes that wait for anybody")
    group.add_argument(
        "--when-full",
        choices=("refuse", "drop-oldest"),
        default="refuse",
        help="a message for which there is no room is refused, or the oldest of the same session are dropped for it; "
        "whoever sent the one that is lost is told (default: %(default)s)",
    )


def retention_of(flags: argparse.Namespace) -> Retention:
    """What the flags say."""
    return Retention(
        age_s=flags.retain_age,
        count=flags.retain_count,
        bytes=flags.retain_bytes,
        twin_count=flags.stored_count_per_twin,
        twin_bytes=flags.stored_bytes_per_twin,
        twin_mailboxes=flags.mailboxes_per_twin,
        stored_bytes=flags.stored_bytes,
        when_full=flags.when_full,
    )
