"""What can go wrong with verified data, and how it is reported (spec bao, part D).

Two kinds of failure that the data can cause, and a third for mistakes of the caller. Errors of whoever reads the bytes
pass through as they are.
"""

from dataclasses import dataclass
from typing import Literal

from rmb_peer.protocol.errors import BadRequest, PeerError

Item = Literal["header", "parent", "leaf"]
Kind = Literal["hash mismatch", "truncated"]


@dataclass(frozen=True, slots=True)
class Damage:
    """The first item that failed.

    Attributes:
        kind: an item was complete and wrong, or the source ended before it was complete.
        item: a header, a pair of CVs, or content.
        start: where the subtree of the item begins in the content, under the claimed size; `None` for a header.
        length: how many bytes of content it covers; `None` for a header.
        number: node number of a parent (C2), index of the first chunk of a leaf; `None` for a header.
    """

    kind: Kind
    item: Item
    start: int | None = None
    length: int | None = None
    number: int | None = None

    def __str__(self) -> str:
        if self.item == "header" or self.start is None or self.length is None:
            return f"{self.kind} at the header"
        name = "node" if self.item == "parent" else "chunk"
        return (
            f"{self.kind} at {self.item} ({name} {self.number}), which covers bytes {self.start} to "
            f"{self.start + self.length}"
        )


class VerificationFailed(PeerError):
    """Data is not what the root hash promises.

    Attributes:
        damage: what failed, and where.
    """

    code = 422

    def __init__(self, damage: Damage) -> None:
        super().__init__(str(damage))
        self.damage = damage


class HashMismatch(VerificationFailed):
    """An item was read completely, and its CV differs from the expected one."""


class Truncated(VerificationFailed):
    """The source ended before an item was complete."""


class BadRangeSpec(PeerError):
    """The bytes are no range spec or request (C10)."""

    code = 400


class WrongArgument(BadRequest):
    """A mistake of the caller: reported before anything is read; the text says what is allowed."""


def failure(damage: Damage) -> VerificationFailed:
    """The exception for a report."""
    return (HashMismatch if damage.kind == "hash mismatch" else Truncated)(damage)
