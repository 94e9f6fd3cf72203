"""Whether a message is of now (spec remaphore 5), in exact arithmetic.

The Go code wraps at 64 bits and so accepts some times for ever (W12); Python's integers do not wrap.
"""

DEFAULT_SKEW_NS = 3_000_000_000
"""`allow_skew` when the file has none, or zero (section 9)."""


def within(now_ns: int, time_ns: int, allow_skew_ns: int) -> bool:
    """Whether the distance is at most the skew, both limits inclusive; a negative skew allows nothing."""
    return abs(now_ns - time_ns) <= allow_skew_ns
