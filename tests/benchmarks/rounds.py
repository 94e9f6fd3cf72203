"""Measurements that take turns: round after round through all of them, then the median of each figure.

What disturbs the machine for a while falls on all of them alike. This module refuses to know what is measured.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

Figures = Mapping[str, float]


@dataclass
class Case:
    """One measurement.

    Attributes:
        name: what it is called in tables.
        run: measures once.
        seen: the figures of each round.
    """

    name: str
    run: Callable[[], Awaitable[Figures]]
    seen: list[Figures] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """The median of each figure."""
        return {name: median(figures[name] for figures in self.seen) for name in self.seen[0]}


async def interleave(cases: Sequence[Case], rounds: int, step: Callable[[str], None]) -> None:
    """Run every case once in each round.

    Args:
        cases: in this order.
        rounds: at least one.
        step: hears the name of each case before it runs.
    """
    for _ in range(rounds):
        for case in cases:
            step(case.name)
            case.seen.append(await case.run())
