"""How long a message travels between two nodes: models that a scenario names.

A model knows node numbers and a random source, nothing of messages or time of day. Fixed parts of a latency are drawn
once per unordered pair on first use and hold for the whole run, the same both ways (spec gossip, 15.1). With jitter of
zero, messages of one pair therefore never overtake each other.
"""

import random
from dataclasses import dataclass
from typing import Protocol

PAIR_SHIFT = 32  # two node numbers in one integer: a cheaper key than a tuple, and nodes stay far below 2**32


class Latency(Protocol):
    """One-way latency between two nodes, in seconds."""

    @property
    def longest_s(self) -> float:
        """The largest latency that can occur; "one trip" of spec gossip 15.1."""
        ...

    def between(self, sender: int, receiver: int) -> float:
        """The latency of one message."""
        ...


@dataclass(frozen=True, slots=True)
class LatencySpec:
    """A latency model as a scenario file states it."""

    kind: str = "pair"  # "pair", or "regions": pairs inside a region and pairs between regions differ
    min_ms: float = 10.0  # spec gossip 15.1, scenario file
    max_ms: float = 50.0
    jitter_ms: float = 0.0  # added to each message anew, uniform from zero; messages overtake each other
    regions: int = 1
    far_min_ms: float = 0.0
    far_max_ms: float = 0.0

    def problem(self) -> str | None:
        """What is wrong with these figures, in words; None when nothing is."""
        if self.kind not in ("pair", "regions"):
            return f"latency kind {self.kind!r} is unknown; use 'pair' or 'regions'"
        if not 0 <= self.min_ms <= self.max_ms or self.jitter_ms < 0:
            return "latency needs 0 <= min_ms <= max_ms and jitter_ms >= 0"
        if self.kind == "regions" and (self.regions < 2 or not 0 <= self.far_min_ms <= self.far_max_ms):
            return "latency of kind 'regions' needs regions >= 2 and 0 <= far_min_ms <= far_max_ms"
        return None

    def build(self, rng: random.Random) -> "PairLatency":
        """The model itself, drawing from `rng`."""
        return PairLatency(self, rng)


class PairLatency:
    """Uniform per unordered pair, drawn on first use, with optional regions and per-message jitter."""

    def __init__(self, spec: LatencySpec, rng: random.Random) -> None:
        self._near = (spec.min_ms / 1000, (spec.max_ms - spec.min_ms) / 1000)
        self._far = (spec.far_min_ms / 1000, (spec.far_max_ms - spec.far_min_ms) / 1000)
        self._regions = spec.regions if spec.kind == "regions" else 1
        self._jitter_s = spec.jitter_ms / 1000
        self._random = rng.random
        self._pairs: dict[int, float] = {}
        longest_ms = max(spec.max_ms, spec.far_max_ms if self._regions > 1 else 0.0)
        self.longest_s = (longest_ms + spec.jitter_ms) / 1000

    def between(self, sender: int, receiver: int) -> float:
        """The latency of one message, in seconds."""
        key = sender << PAIR_SHIFT | receiver if sender < receiver else receiver << PAIR_SHIFT | sender
        latency_s = self._pairs.get(key)
        if latency_s is None:
            least_s, span_s = self._near if sender % self._regions == receiver % self._regions else self._far
            latency_s = self._pairs[key] = least_s + span_s * self._random()
        if self._jitter_s:
            return latency_s + self._jitter_s * self._random()
        return latency_s
