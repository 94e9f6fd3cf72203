"""Which chunks somebody wants: sets of chunk indices given by boundaries (spec bao, C6).

It refuses to know any tree: what a selection means for a tree is in `walk`.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from rmb_peer.protocol.bao.engines.constants import CHUNK_BYTES
from rmb_peer.protocol.bao.errors import WrongArgument
from rmb_peer.protocol.bao.geometry import chunk_count

BOUNDARY_MAX = 2**64 - 1
"""Boundaries are 64-bit numbers on the wire (C10)."""


@dataclass(frozen=True, slots=True)
class ChunkRanges:
    """A set of chunk indices. Each boundary toggles between unselected, the state before the first, and selected.

    Attributes:
        boundaries: strictly increasing; a list of odd length ends in an unbounded range.

    Raises:
        WrongArgument: the boundaries are not strictly increasing, or do not fit into 64 bits.
    """

    boundaries: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if any(low >= high for low, high in pairwise(self.boundaries)):
            raise WrongArgument("boundaries of chunk ranges must increase strictly")
        if self.boundaries and not (self.boundaries[0] >= 0 and self.boundaries[-1] <= BOUNDARY_MAX):
            raise WrongArgument("boundaries of chunk ranges must be between 0 and 2^64 - 1")

    @classmethod
    def of(cls, ranges: Iterable[tuple[int, int | None]]) -> "ChunkRanges":
        """The union of ranges `[start, end)` in any order; an end of `None` is unbounded, empty ranges are ignored."""
        merged: list[tuple[int, int | None]] = []
        for start, end in sorted((r for r in ranges if r[1] is None or r[0] < r[1]), key=lambda r: r[0]):
            if merged and (merged[-1][1] is None or start <= merged[-1][1]):
                last_start, last_end = merged[-1]
                merged[-1] = (last_start, None if last_end is None or end is None else max(last_end, end))
            else:
                merged.append((start, end))
        flat = [boundary for pair in merged for boundary in pair if boundary is not None]
        return cls(tuple(flat))

    @classmethod
    def of_bytes(cls, start: int, length: int) -> "ChunkRanges":
        """The chunks that a slice of content covers; no bytes at all are treated as one (B5).

        Raises:
            WrongArgument: start or length is negative.
        """
        if start < 0 or length < 0:
            raise WrongArgument("start and length of a slice must not be negative")
        end = -(-(start + max(length, 1)) // CHUNK_BYTES)
        return cls.of([(start // CHUNK_BYTES, end)])

    def ranges(self) -> list[tuple[int, int | None]]:
        """The ranges `[start, end)`; only the last end can be `None`, for unbounded."""
        b = self.boundaries
        return [(b[i], b[i + 1] if i + 1 < len(b) else None) for i in range(0, len(b), 2)]

    def __bool__(self) -> bool:
        return bool(self.boundaries)

    def __contains__(self, chunk: int) -> bool:
        return bool(bisect_right(self.boundaries, chunk) % 2)

    def touches(self, start: int, end: int) -> bool:
        """Whether any chunk of the non-empty range `[start, end)` is selected."""
        place = bisect_right(self.boundaries, start)
        return bool(place % 2) or (place < len(self.boundaries) and self.boundaries[place] < end)

    def covers(self, start: int, end: int) -> bool:
        """Whether every chunk of the non-empty range `[start, end)` is selected."""
        place = bisect_right(self.boundaries, start)
        return bool(place % 2) and (place == len(self.boundaries) or self.boundaries[place] >= end)

    def clipped(self, size: int) -> "ChunkRanges":
        """What is selected of content of this size: a selection beyond the end selects the last chunk (C6)."""
        chunks = chunk_count(size)
        if not self.touches(chunks, BOUNDARY_MAX + 1):
            return self
        below = [(start, chunks if end is None else min(end, chunks)) for start, end in self.ranges()]
        return ChunkRanges.of([*below, (chunks - 1, chunks)])

    def union(self, other: "ChunkRanges") -> "ChunkRanges":
        """What either of two selections selects."""
        return ChunkRanges.of([*self.ranges(), *other.ranges()])

    def covering_groups(self, chunk_log: int) -> "ChunkRanges":
        """Rounded outwards to whole groups (C6)."""
        group = 1 << chunk_log
        return ChunkRanges.of(
            (start // group * group, None if end is None else -(-end // group) * group) for start, end in self.ranges()
        )

    def contained_groups(self, chunk_log: int) -> "ChunkRanges":
        """Rounded inwards to whole groups: those that who holds these chunks can prove (C6)."""
        group = 1 << chunk_log
        return ChunkRanges.of(
            (-(-start // group) * group, None if end is None else end // group * group) for start, end in self.ranges()
        )


EVERYTHING = ChunkRanges((0,))
NOTHING = ChunkRanges()
