"""Orders of pairs: level by level as an engine computes them, and in pre-order or post-order as outboards keep them.

The pairs of a complete subtree stand together in either order, so whole blocks of them move at once (spec bao, C3, C4).
It refuses to compute or check any hash.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from struct import Struct
from typing import Literal

from rmb_peer.protocol.bao.engines.base import Bytes
from rmb_peer.protocol.bao.engines.constants import PAIR_BYTES
from rmb_peer.protocol.bao.errors import WrongArgument
from rmb_peer.protocol.bao.geometry import group_count, left_count, pairs_bytes, post_position, pre_position

Order = Literal["pre", "post"]
Layout = Literal["level", "pre", "post"]

BLOCK_GROUPS_MAX = 1024
"""Of a block that is moved at once (a guess; more of them save nothing)."""


@cache
def _split(count: int) -> Struct:
    return Struct(f"{PAIR_BYTES}s" * count)


@cache
def _sequence(groups: int, layout: Layout) -> tuple[int, ...]:
    """For each pair of a complete subtree in this layout, its index in the layout level by level."""
    if layout == "level" or groups == 1:
        return tuple(range(groups - 1))
    found: list[int] = []

    def visit(first: int, count: int) -> None:
        if count == 1:
            return
        # Level by level: pairs over two groups first. Those over `count` groups begin where narrower ones end.
        own = groups - 2 * groups // count + first // count
        if layout == "pre":
            found.append(own)
        visit(first, count // 2)
        visit(first + count // 2, count // 2)
        if layout == "post":
            found.append(own)

    visit(0, groups)
    return tuple(found)


@cache
def _mover(groups: int, source: Layout, target: Layout) -> Callable[[tuple[bytes, ...]], tuple[bytes, ...]]:
    place = {index: position for position, index in enumerate(_sequence(groups, source))}
    return itemgetter(*(place[index] for index in _sequence(groups, target)))


def reordered(pairs: Bytes, source: Layout, target: Layout) -> bytes:
    """The pairs of a complete subtree in another order.

    Args:
        pairs: `2^n - 1` pairs.
        source: their order.
        target: the order wanted.
    """
    count = len(pairs) // PAIR_BYTES
    if count < 2 or source == target:
        return bytes(pairs)
    return b"".join(_mover(count + 1, source, target)(_split(count).unpack(pairs)))


@dataclass(frozen=True, slots=True)
class PairBlock:
    """Pairs with their place: all of a complete subtree, or the one on top of any.

    Attributes:
        first: first group of the subtree.
        end: the group behind its last one.
        pairs: level by level if there are several.
    """

    first: int
    end: int
    pairs: bytes

    def in_order(self, order: Order) -> bytes:
        """The pairs as an outboard of this order keeps them."""
        return reordered(self.pairs, "level", order)

    def offset(self, order: Order, groups: int) -> int:
        """Where they begin in an outboard without header over so many groups."""
        if order == "pre":
            return PAIR_BYTES * pre_position(self.first, self.end, groups)
        return PAIR_BYTES * (post_position(self.first, self.end) + 1) - len(self.pairs)


def blocks(groups: int) -> Iterator[tuple[int, int, bool]]:
    """A tree over so many groups cut into blocks, in pre-order.

    Yields:
        first group, end group, and whether it is a complete subtree as a whole; else only the pair on top is meant.
    """
    stack = [(0, groups)]
    while stack:
        first, end = stack.pop()
        count = end - first
        whole = count & (count - 1) == 0 and count <= BLOCK_GROUPS_MAX
        if count > 1:
            yield first, end, whole
        if not whole:
            middle = first + left_count(count)
            stack += [(middle, end), (first, middle)]


def converted(pairs: Bytes, size: int, chunk_log: int, source: Order, target: Order) -> bytearray:
    """An outboard without header in the other order.

    Args:
        pairs: the outboard.
        size: bytes of the content.
        chunk_log: group exponent.
        source: its order.
        target: the order wanted.

    Returns:
        a new outboard; not copied into `bytes` again, because it can be large.

    Raises:
        WrongArgument: an outboard for content of this size has another length.
    """
    if len(pairs) != pairs_bytes(size, chunk_log):
        raise WrongArgument(f"an outboard for {size} bytes has {pairs_bytes(size, chunk_log)} bytes, not {len(pairs)}")
    groups = group_count(size, chunk_log)
    view, result = memoryview(pairs), bytearray(len(pairs))
    for first, end, whole in blocks(groups):
        length = PAIR_BYTES * (end - first - 1 if whole else 1)
        place = PairBlock(first, end, bytes(length))
        start = place.offset(source, groups)
        moved = reordered(view[start : start + length], source, target)
        start = place.offset(target, groups)
        result[start : start + length] = moved
    return result
