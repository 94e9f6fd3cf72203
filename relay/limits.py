"""The rate limit of other relays: fixed windows, one pair of counters per twin (spec rmb 6.9). Pure; the time comes in.

All sessions of a twin share its counters, which outlive its connections (`lasting`). The limits that hold without any
flag are `twin_rates`.
"""

from dataclasses import dataclass
from math import inf
from typing import Protocol

from relay.lasting import Lasting

WINDOW_S = 60
"""Windows start at multiples of this (spec rmb 6.9)."""


class Limit(Protocol):
    """What a twin may send per window."""

    @property
    def frames(self) -> int:
        """Number of frames."""
        ...

    @property
    def bytes(self) -> int:
        """Their bytes together."""
        ...


@dataclass(slots=True)
class _Counters:
    window: int = -1
    frames: int = 0
    bytes: int = 0


class RateLimiter:
    """Counts frames of twins.

    Attributes:
        unlimited: whether everything is allowed, and need not be asked.
    """

    def __init__(self, frames_max: float, bytes_max: float, absent_twins_max: int) -> None:
        """Start with fresh windows.

        Args:
            frames_max: frames of a twin per window; infinite for no limit.
            bytes_max: bytes of a twin per window; no single frame may be larger either.
            absent_twins_max: twins without connection whose counters are kept.
        """
        self._frames_max = frames_max
        self._bytes_max = bytes_max
        self.unlimited = frames_max == bytes_max == inf
        self._counters = Lasting(_Counters, absent_twins_max)

    @classmethod
    def of(cls, limit: Limit | None, absent_twins_max: int) -> "RateLimiter":
        """Begin with a limit, or with none."""
        limiter = cls(inf, inf, absent_twins_max)
        limiter.change(limit)
        return limiter

    def change(self, limit: Limit | None) -> None:
        """Have other limits from now on; what was counted in this window still counts."""
        self._frames_max, self._bytes_max = (inf, inf) if limit is None else (limit.frames, limit.bytes)
        self.unlimited = self._frames_max == self._bytes_max == inf

    def __len__(self) -> int:
        """Twins whose counters are held."""
        return len(self._counters)

    def connect(self, twin: int) -> None:
        """A session of this twin has begun."""
        self._counters.connect(twin)

    def disconnect(self, twin: int) -> None:
        """A session of this twin has ended."""
        self._counters.disconnect(twin, keep=not self.unlimited)

    def allow(self, twin: int, size: int, now_s: float) -> bool:
        """Count a frame of a connected twin.

        Args:
            twin: who sent it.
            size: its length in bytes.
            now_s: Unix seconds.

        Returns:
            whether it is within the limits. Refused frames count, except those that are too large by themselves.
        """
        if size > self._bytes_max:
            return False
        counters = self._counters[twin]
        window = int(now_s // WINDOW_S)
        if window != counters.window:
            counters.window, counters.frames, counters.bytes = window, 0, 0
        counters.frames += 1
        counters.bytes += size
        return counters.frames <= self._frames_max and counters.bytes <= self._bytes_max
