"""What to do about damage: pairs that can be computed again, and content that must be fetched again.

An outboard is redundant: a pair is also what its children's pairs hash to, and what its content hashes to. So a damaged
pair mostly heals without any help; only content has to come from elsewhere. Everything that the plan calls right was
proven against the root hash. It refuses to write, and to fetch.
"""

from dataclasses import dataclass, field
from itertools import product

from rmb_peer.protocol.bao.check import Check, Finding, Subtree, children
from rmb_peer.protocol.bao.encoder import OutboardEncoder
from rmb_peer.protocol.bao.engines.constants import CHUNK_BYTES, PAIR_BYTES
from rmb_peer.protocol.bao.geometry import chunk_count
from rmb_peer.protocol.bao.hashing import subtree_cv
from rmb_peer.protocol.bao.layout import PairBlock
from rmb_peer.protocol.bao.selection import ChunkRanges
from rmb_peer.protocol.bao.store import Read

_FIT = 2**20
"""Content of a damaged subtree is read in pieces of this size."""


@dataclass(slots=True)
class Plan:
    """What a repair has to do.

    Attributes:
        pairs: right pairs to write into the outboard.
        missing: subtrees whose content must be fetched again, with their right CVs.
    """

    pairs: list[PairBlock] = field(default_factory=list)
    missing: list[Subtree] = field(default_factory=list)

    def selection(self, check: Check) -> ChunkRanges:
        """The chunks to fetch."""
        ranges = []
        for subtree in self.missing:
            start, length = check.span(subtree)
            ranges.append((start // CHUNK_BYTES, start // CHUNK_BYTES + chunk_count(length)))
        return ChunkRanges.of(ranges)

    def fetch_bytes(self, check: Check) -> int:
        """How much content that is."""
        return sum(check.span(subtree)[1] for subtree in self.missing)


class Planner:
    """Turns findings into a plan.

    Args:
        check: whose findings; its store is read again where something is damaged.
    """

    def __init__(self, check: Check) -> None:
        self._check = check
        self.plan = Plan()

    def add(self, finding: Finding) -> None:
        """Take one finding, in any order."""
        todo = [finding]
        while todo:
            found = todo.pop()
            if found.damage is None:
                continue
            if found.damage.item == "leaf":
                self.plan.missing.append(found.subtree)
            else:
                todo += reversed(self._heal(found.subtree))

    def _heal(self, subtree: Subtree) -> list[Finding]:
        """Find the right pair of a subtree; the answer is what is known of its children then."""
        pair = self._guessed_pair(subtree)
        if pair is not None:
            self.plan.pairs.append(PairBlock(subtree.first, subtree.end, pair))
            return [finding for child in children(subtree, pair) for finding in self._check.findings(child)]
        blocks = proven_blocks(self._check, subtree, self._check.store.content)
        if blocks is None:
            self.plan.missing.append(subtree)
        else:
            self.plan.pairs += [block for block in blocks if self._differs(block)]
        return []

    def _guessed_pair(self, subtree: Subtree) -> bytes | None:
        """The pair, if each half is either as stored or what the child's own pair, or content, says."""
        stored = self._check.store.pair(subtree.first, subtree.end)
        if len(stored) < PAIR_BYTES:
            stored = bytes(PAIR_BYTES)
        candidates = [{child.cv, self._own_cv(child) or child.cv} for child in children(subtree, stored)]
        for left, right in product(*candidates):
            if self._check.engine.parent(left + right, self._check.is_root(subtree)) == subtree.cv:
                return left + right
        return None

    def _own_cv(self, child: Subtree) -> bytes | None:
        """The CV of a subtree by what is stored right below it, right or wrong."""
        store, engine = self._check.store, self._check.engine
        if child.end - child.first > 1:
            pair = store.pair(child.first, child.end)
            return engine.parent(pair, root=False) if len(pair) == PAIR_BYTES else None
        start, length = self._check.span(child)
        content = store.content(start, length)
        return subtree_cv(engine, content, start // CHUNK_BYTES, root=False) if len(content) == length else None

    def _differs(self, block: PairBlock) -> bool:
        """Whether the store has other pairs there."""
        store = self._check.store
        if len(block.pairs) == PAIR_BYTES:
            return store.pair(block.first, block.end) != block.pairs
        return store.block_pairs(block.first, block.end - block.first) != block.in_order("pre")


def proven_blocks(check: Check, subtree: Subtree, content: Read) -> list[PairBlock] | None:
    """All pairs of a subtree computed from content, if that content is right.

    Args:
        check: knows store and engine.
        subtree: which, with its right CV.
        content: reads the content, at its place in the whole.

    Returns:
        the pairs; `None` if this is not the content of the subtree.
    """
    start, length = check.span(subtree)
    encoder = OutboardEncoder(check.store.chunk_log, check.engine, start // CHUNK_BYTES)
    blocks: list[PairBlock] = []
    for position in range(start, start + length, _FIT):
        wanted = min(_FIT, start + length - position)
        piece = content(position, wanted)
        if len(piece) < wanted:
            return None
        blocks += encoder.update(piece)
    end = encoder.finish(root=check.is_root(subtree))
    return blocks + end.blocks if end.root == subtree.cv else None
