"""Whether a pattern addresses a node (spec remaphore 8). Total: no pair of byte strings fails (W1)."""


def matches(pattern: bytes, name: bytes) -> bool:
    """Compare the destination of a message with the name of a node.

    Args:
        pattern: dot-separated; `*` within a segment, `**` as the last segment.
        name: the node's own name. One that contains `*` is never matched.
    """
    if b"*" in name:
        return False
    wanted, given = pattern.split(b"."), name.split(b".")
    if len(given) < len(wanted):
        return False
    for position, segment in enumerate(wanted):
        if segment == b"**":
            return position == len(wanted) - 1
        if not _segment_matches(segment, given[position]):
            return False
    return len(wanted) == len(given)


def _segment_matches(pattern: bytes, segment: bytes) -> bool:
    before, star, after = pattern.partition(b"*")
    if not star:
        return pattern == segment
    # The two parts may overlap in the segment: the Go code has it so, and nodes must agree about who is meant.
    return segment.startswith(before) and segment.endswith(after)
