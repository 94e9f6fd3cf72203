"""Pairs and groups of a complete subtree in the order of a combined encoding, and apart (spec bao, B1, C7).

It refuses to check anything.
"""

from functools import cache

from rmb_peer.protocol.bao.engines import Bytes
from rmb_peer.protocol.bao.engines.constants import PAIR_BYTES


@cache
def _kinds(groups: int) -> tuple[bool, ...]:
    """For each item, in pre-order, whether it is a pair."""
    if groups == 1:
        return (False,)
    half = _kinds(groups // 2)
    return (True, *half, *half)


@cache
def _cuts(groups: int, group_bytes: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where the pairs, and where the groups, stand in the encoding."""
    pairs: list[slice] = []
    leaves: list[slice] = []
    position = 0
    for is_pair in _kinds(groups):
        length = PAIR_BYTES if is_pair else group_bytes
        (pairs if is_pair else leaves).append(slice(position, position + length))
        position += length
    return tuple(pairs), tuple(leaves)


def parted(encoding: memoryview, groups: int, group_bytes: int) -> tuple[bytes, bytes]:
    """The pairs, in pre-order, and the content of an encoded complete subtree."""
    pairs, leaves = _cuts(groups, group_bytes)
    return b"".join([encoding[cut] for cut in pairs]), b"".join([encoding[cut] for cut in leaves])


def interleaved(pairs: Bytes, content: Bytes, groups: int, group_bytes: int) -> bytes:
    """The encoding of a complete subtree.

    Args:
        pairs: in pre-order.
        content: all of it.
        groups: how many, a power of two.
        group_bytes: length of each.
    """
    pair_view, content_view = memoryview(pairs), memoryview(content)
    items, pair_at, leaf_at = [], 0, 0
    for is_pair in _kinds(groups):
        if is_pair:
            items.append(pair_view[pair_at : pair_at + PAIR_BYTES])
            pair_at += PAIR_BYTES
        else:
            items.append(content_view[leaf_at : leaf_at + group_bytes])
            leaf_at += group_bytes
    return b"".join(items)
