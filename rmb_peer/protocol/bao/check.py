"""Checking stored content against its outboard: which ranges are proven, which are damaged, and how (spec bao, C9).

The check walks down from the root. It is cut into units of one batch each, which may run in any thread, in any order:
a unit knows what its CV must be. It refuses to read by itself: that is the store's.
"""

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass

from rmb_peer.protocol.bao.engines import Engine, best_engine
from rmb_peer.protocol.bao.engines.constants import CHUNK_BYTES, CV_BYTES, PAIR_BYTES
from rmb_peer.protocol.bao.errors import Damage, Kind
from rmb_peer.protocol.bao.geometry import (
    checked_root,
    chunk_count,
    group_bytes,
    is_complete,
    left_count,
    node_number,
    span,
)
from rmb_peer.protocol.bao.hashing import subtree_cv
from rmb_peer.protocol.bao.layout import reordered
from rmb_peer.protocol.bao.selection import ChunkRanges
from rmb_peer.protocol.bao.store import Store

BAD_RANGES_MAX = 2**16
"""Of one report. A guess: who finds more has no use for a list, and memory shall not grow with the damage."""


@dataclass(frozen=True, slots=True)
class Subtree:
    """A subtree whose CV is known.

    Attributes:
        first: its first group.
        end: the group behind its last one.
        cv: what its CV must be.
    """

    first: int
    end: int
    cv: bytes


@dataclass(frozen=True, slots=True)
class Finding:
    """What is known of a subtree now.

    Attributes:
        subtree: which.
        damage: `None` if all of it is proven; else what failed: its pair, or its content if it is a group.
    """

    subtree: Subtree
    damage: Damage | None


class Check:
    """Checks a store.

    Args:
        store: content and pairs.
        root: trusted hash.
        engine: computes; the fastest one by default.

    Raises:
        WrongArgument: the root hash has a wrong length.
    """

    def __init__(self, store: Store, root: bytes, engine: Engine | None = None) -> None:
        self.store = store
        self.engine = engine or best_engine()
        self.whole = Subtree(0, store.groups, checked_root(root))
        self._batch_groups = max(1, self.engine.levels_chunks_max >> store.chunk_log)

    def units(self, start: Subtree | None = None) -> Iterator[Subtree | Finding]:
        """The pieces of work, in the order of content.

        Args:
            start: where to begin, the whole tree by default.

        Yields:
            a subtree for `run`, or a finding about a pair above all units.
        """
        stack = [start or self.whole]
        while stack:
            subtree = stack.pop()
            if subtree.end - subtree.first <= self._batch_groups:
                yield subtree
                continue
            pair = self.right_pair(subtree)
            if isinstance(pair, Damage):
                yield Finding(subtree, pair)
            else:
                stack += reversed(children(subtree, pair))

    def run(self, unit: Subtree) -> list[Finding]:
        """Check a subtree of at most one batch.

        Returns:
            findings in the order of content; neighbours that are proven are joined as long as they are a subtree.
        """
        groups = unit.end - unit.first
        if groups == 1:
            return [Finding(unit, self._leaf_damage(unit))]
        if self._is_proven_at_once(unit):
            return [Finding(unit, None)]
        pair = self.right_pair(unit)
        if isinstance(pair, Damage):
            return [Finding(unit, pair)]
        left, right = children(unit, pair)
        findings = self.run(left) + self.run(right)
        return [Finding(unit, None)] if all(finding.damage is None for finding in findings) else findings

    def findings(self, start: Subtree | None = None) -> Iterator[Finding]:
        """All findings, in the order of content."""
        for unit in self.units(start):
            if isinstance(unit, Finding):
                yield unit
            else:
                yield from self.run(unit)

    def is_root(self, subtree: Subtree) -> bool:
        """Whether this is the whole tree."""
        return subtree.end - subtree.first == self.store.groups

    def span(self, subtree: Subtree) -> tuple[int, int]:
        """Start and length of its content."""
        first, count = self._chunks(subtree)
        return span(first, count, self.store.size)

    def _chunks(self, subtree: Subtree) -> tuple[int, int]:
        first = subtree.first << self.store.chunk_log
        end = min(subtree.end << self.store.chunk_log, chunk_count(self.store.size))
        return first, end - first

    def right_pair(self, subtree: Subtree) -> bytes | Damage:
        """The stored pair of a subtree if it is right, else what is wrong with it."""
        pair = self.store.pair(subtree.first, subtree.end)
        if len(pair) == PAIR_BYTES and self.engine.parent(pair, self.is_root(subtree)) == subtree.cv:
            return pair
        first, count = self._chunks(subtree)
        start, length = span(first, count, self.store.size)
        kind: Kind = "truncated" if len(pair) < PAIR_BYTES else "hash mismatch"
        return Damage(kind, "parent", start, length, node_number(first, count))

    def _leaf_damage(self, group: Subtree) -> Damage | None:
        start, length = self.span(group)
        content = self.store.content(start, length)
        first = group.first << self.store.chunk_log
        if len(content) < length:
            return Damage("truncated", "leaf", start, length, first)
        if subtree_cv(self.engine, content, first, self.is_root(group)) != group.cv:
            return Damage("hash mismatch", "leaf", start, length, first)
        return None

    def _is_proven_at_once(self, unit: Subtree) -> bool:
        """Whether content and pairs of a complete subtree are right; `False` if that is not so, or not known."""
        groups, log = unit.end - unit.first, self.store.chunk_log
        size = group_bytes(log)
        if self.is_root(unit) or not is_complete(groups) or unit.end * size > self.store.size:
            return False
        pairs, content = self.store.block(unit.first, groups)
        if len(content) < groups * size:
            return False
        levels = self.engine.levels(content, unit.first << log, log)
        return levels[-CV_BYTES:] == unit.cv and reordered(levels[:-CV_BYTES], "level", "pre") == pairs


def children(subtree: Subtree, pair: bytes) -> tuple[Subtree, Subtree]:
    """The two subtrees below one whose pair is right."""
    middle = subtree.first + left_count(subtree.end - subtree.first)
    return Subtree(subtree.first, middle, pair[:CV_BYTES]), Subtree(middle, subtree.end, pair[CV_BYTES:])


@dataclass(frozen=True, slots=True)
class BadRange:
    """Neighbouring chunks that are not proven.

    Attributes:
        first: first chunk.
        end: the chunk behind the last one.
        damage: the first thing found wrong there.
    """

    first: int
    end: int
    damage: Damage


class Report:
    """Findings, put together. They may come in any order.

    Args:
        check: whose findings.
        bad_ranges_max: when there are more, the report is full, and further findings are not taken.
    """

    def __init__(self, check: Check, bad_ranges_max: int = BAD_RANGES_MAX) -> None:
        self._check = check
        self._limit = bad_ranges_max
        self._bad: list[BadRange] = []
        self._taken = 0

    def add(self, finding: Finding) -> None:
        """Take one more, unless the report is full."""
        if self.is_full:
            return
        start, length = self._check.span(finding.subtree)
        self._taken += length
        if finding.damage is None:
            return
        first = start // CHUNK_BYTES
        bad = BadRange(first, first + chunk_count(length), finding.damage)
        last = self._bad[-1] if self._bad else None
        if last is not None and last.end == bad.first:
            self._bad[-1] = BadRange(last.first, bad.end, last.damage)
        else:
            insort(self._bad, bad, key=lambda r: r.first)

    @property
    def is_full(self) -> bool:
        """Whether there is too much damage to list."""
        return len(self._bad) >= self._limit

    @property
    def is_good(self) -> bool:
        """Whether everything is proven, the size included (the last chunk is part of everything)."""
        return not self._bad and self._taken == self._check.store.size

    @property
    def bad(self) -> list[BadRange]:
        """What is damaged, in order."""
        return list(self._bad)

    @property
    def good(self) -> ChunkRanges:
        """The chunks that are proven; meaningful when all findings were taken (C9)."""
        chunks = chunk_count(self._check.store.size)
        edges = [0, *(edge for bad in self._bad for edge in (bad.first, bad.end)), chunks]
        return ChunkRanges.of(zip(edges[::2], edges[1::2], strict=True))


def check_store(store: Store, root: bytes, engine: Engine | None = None) -> Report:
    """Check everything, in this thread."""
    check = Check(store, root, engine)
    report = Report(check)
    for finding in check.findings():
        report.add(finding)
        if report.is_full:
            break
    return report
