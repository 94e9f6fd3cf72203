"""Where everything is: arithmetic on sizes, chunks, groups and nodes (spec bao, A5, B1, C1 to C4).

It refuses to know any bytes.

Subtrees are named by their first chunk and their number of chunks, or by groups `[first, end)`, as each function says.
"""

from rmb_peer.protocol.bao.engines.constants import CHUNK_BYTES, CV_BYTES, PAIR_BYTES
from rmb_peer.protocol.bao.errors import WrongArgument

HEADER_BYTES = 8

SIZE_MAX = 2**64 - 1
"""What a header can say (B1)."""

CHUNK_LOG_MAX = 10
"""Groups of 1 MiB: beyond them an outboard is no longer worth its name (the issue's limit)."""

CHUNK_LOG_DEFAULT = 4
"""iroh-blobs and rhio use groups of 16 KiB everywhere (C1)."""


def checked_size(size: int) -> int:
    """The size itself.

    Raises:
        WrongArgument: no content can have it.
    """
    if not 0 <= size <= SIZE_MAX:
        raise WrongArgument(f"size {size} is not between 0 and 2^64 - 1")
    return size


def checked_chunk_log(chunk_log: int) -> int:
    """The group exponent itself.

    Raises:
        WrongArgument: outside of 0 to 10.
    """
    if not 0 <= chunk_log <= CHUNK_LOG_MAX:
        raise WrongArgument(f"chunk log {chunk_log} is not between 0 and {CHUNK_LOG_MAX}")
    return chunk_log


def checked_root(root: bytes) -> bytes:
    """The root hash itself.

    Raises:
        WrongArgument: it has another length than 32 bytes.
    """
    if len(root) != CV_BYTES:
        raise WrongArgument(f"a root hash has {CV_BYTES} bytes, not {len(root)}")
    return bytes(root)


def chunk_count(size: int) -> int:
    """Number of chunks; empty content has one empty chunk (A3)."""
    return max(1, -(-size // CHUNK_BYTES))


def group_bytes(chunk_log: int) -> int:
    """Bytes of a whole group (C1)."""
    return CHUNK_BYTES << chunk_log


def group_count(size: int, chunk_log: int) -> int:
    """Number of groups, at least one (C1)."""
    return max(1, -(-size // group_bytes(chunk_log)))


def pairs_bytes(size: int, chunk_log: int) -> int:
    """Length of an outboard without header (C1)."""
    return PAIR_BYTES * (group_count(size, chunk_log) - 1)


def combined_bytes(size: int, chunk_log: int = 0) -> int:
    """Length of a combined encoding with header (B1)."""
    return HEADER_BYTES + subtree_bytes(size, chunk_log)


def subtree_bytes(length: int, chunk_log: int) -> int:
    """Length of the encoding of a fully selected subtree over so many bytes of content, without header (B1)."""
    return length + pairs_bytes(length, chunk_log)


def left_count(count: int) -> int:
    """How many of two or more chunks, or groups, the left child covers (A5)."""
    return 1 << ((count - 1).bit_length() - 1)


def is_complete(count: int) -> bool:
    """Whether a subtree over so many chunks, or groups, is a complete binary tree."""
    return count & (count - 1) == 0


def span(first_chunk: int, count: int, size: int) -> tuple[int, int]:
    """Start and length in bytes of the content below a subtree."""
    start = first_chunk * CHUNK_BYTES
    return start, min(count * CHUNK_BYTES, size - start)


def node_number(first_chunk: int, count: int) -> int:
    """bao-tree's number of the node over these two or more chunks (C2)."""
    return first_chunk + left_count(count) - 1


def depth(first: int, end: int, groups: int) -> int:
    """How many nodes stand above the node over groups `[first, end)` of so many (C3).

    A tree over `groups` is a row of complete subtrees, one for each one bit of that number, the largest first; nodes
    of the right edge join them. So depth follows from bits, without a walk.

    Raises:
        WrongArgument: the tree has no such node.
    """
    count = end - first
    if 0 <= first < end <= groups:
        top = (first ^ groups).bit_length() - 1  # exponent of the complete subtree that holds `first`
        before = (groups >> (top + 1)).bit_count()  # complete subtrees to the left of it
        if end == groups and count > 1 << top and first % (1 << (top + 1)) == 0:
            return before  # a node of the right edge
        if is_complete(count) and count <= 1 << top and first % count == 0:
            is_last = before == groups.bit_count() - 1
            return before + (not is_last) + top - (count.bit_length() - 1)
    raise WrongArgument(f"a tree of {groups} groups has no node over groups {first} to {end}")


def pre_position(first: int, end: int, groups: int) -> int:
    """Index of a node's pair in the pre-order outboard (C3)."""
    return first - first.bit_count() + depth(first, end, groups)


def post_position(first: int, end: int) -> int:
    """Index of a node's pair in the post-order outboard (C4)."""
    return end - 2 - first.bit_count()


def is_stable(first: int, end: int, size: int, chunk_log: int) -> bool:
    """Whether the pair of this node stays as it is when content is appended (C4)."""
    return is_complete(end - first) and end * group_bytes(chunk_log) <= size
