"""The part of `random.Random` that gossip uses. The core may not import a random source: one is passed in, seeded."""

from collections.abc import MutableSequence, Sequence
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Rng(Protocol):
    """A source of randomness."""

    def random(self) -> float:
        """A number from [0, 1)."""
        ...

    def shuffle(self, x: MutableSequence[Any]) -> None:
        """Bring into random order."""
        ...

    def sample(self, population: Sequence[T], k: int) -> list[T]:
        """Choose `k` different members."""
        ...

    def choice(self, seq: Sequence[T]) -> T:
        """Choose one member."""
        ...


def up_to(rng: Rng, population: Sequence[T], k: int) -> list[T]:
    """A random sample of `k` members, or all of them in random order."""
    return rng.sample(population, min(k, len(population)))
